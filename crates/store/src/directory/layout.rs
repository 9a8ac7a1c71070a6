//! Which document a file is, told by its path alone.
//!
//! Answers: is `rules/x.yaml` a document, and if a file is none, how does its owner mend that?
//! Owns: extensions and depths of a document directory. Never: touches the disk.

use crate::strays::stray;
use graygate_rules::documents::{DocumentId, Format, Kind};
use graygate_rules::vocab::{Name, Problem, did_you_mean};

/// What a path stands for.
pub(super) enum Place {
    Document(DocumentId, Format),
    Stray(Problem),
}

/// The place of a file, given its path below the document directory, divided by slashes.
pub(super) fn place(path: &str) -> Place {
    match read(path) {
        Ok((id, format)) => Place::Document(id, format),
        Err((message, help)) => Place::Stray(stray(path, message, help)),
    }
}

/// The extensions of a kind, with the format each promises.
pub(crate) fn extensions(kind: Kind) -> &'static [(&'static str, Format)] {
    match kind {
        Kind::List => &[(".txt", Format::List)],
        _ => &[(".yaml", Format::Yaml), (".yml", Format::Yaml), (".json", Format::Json)],
    }
}

fn shape(kind: Kind) -> String {
    let extension = extensions(kind).first().map_or("", |(extension, _)| *extension);
    let shapes = kind.shapes().map(|shape| format!("`{}/{shape}{extension}`", kind.folder()));
    shapes.collect::<Vec<_>>().join(" or ")
}

fn read(path: &str) -> Result<(DocumentId, Format), (String, String)> {
    let Some((folder, rest)) = path.split_once('/') else {
        let message = "a file outside the folders of documents".to_owned();
        return Err((message, format!("move it into one of {}", folders())));
    };
    let kind = Kind::from_folder(folder).ok_or_else(|| unknown_folder(folder))?;
    let (stem, format) = extensions(kind)
        .iter()
        .find_map(|(extension, format)| Some((rest.strip_suffix(extension)?, *format)))
        .ok_or_else(|| bad_extension(kind))?;
    if let Some(bad) = stem.split('/').find(|name| !Name::is_name(name)) {
        let help = "names are 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`";
        return Err((format!("`{bad}` is not a name"), help.to_owned()));
    }
    let id = DocumentId::of(kind, stem).ok_or_else(|| {
        let message = format!("this is not where a document of `{folder}` lives");
        (message, format!("its path is {}", shape(kind)))
    })?;
    Ok((id, format))
}

fn unknown_folder(folder: &str) -> (String, String) {
    let help = match did_you_mean(folder, Kind::ALL.map(Kind::folder)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the folders are {}", folders()),
    };
    (format!("unknown folder `{folder}`"), help)
}

fn bad_extension(kind: Kind) -> (String, String) {
    let known: Vec<_> = extensions(kind).iter().map(|(extension, _)| format!("`{extension}`")).collect();
    let message = format!("unknown extension for a document of `{}`", kind.folder());
    (message, format!("use {}", known.join(", ")))
}

fn folders() -> String {
    Kind::ALL.map(|kind| format!("`{}`", kind.folder())).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_a_document_or_a_stray() {
        let long = format!("rules/{}.yaml", "x".repeat(129));
        for (path, expected) in [
            ("rules/x.yaml", Ok(("rules/x", Format::Yaml))),
            ("rules/x.yml", Ok(("rules/x", Format::Yaml))),
            ("routes/x.json", Ok(("routes/x", Format::Json))),
            ("rules/a.b.yaml", Ok(("rules/a.b", Format::Yaml))),
            ("lists/pilot.txt", Ok(("lists/pilot", Format::List))),
            ("lists/pilot/p1.txt", Ok(("lists/pilot/p1", Format::List))),
            ("instances/patient/p.yaml", Ok(("instances/patient/p", Format::Yaml))),
            ("readme.md", Err("outside")),
            ("rule/x.yaml", Err("did you mean `rules`")),
            ("stuff/x.yaml", Err("the folders are")),
            ("rules/x.txt", Err("use `.yaml`, `.yml`, `.json`")),
            ("rules/x.YAML", Err("use `.yaml`")),
            ("rules/x", Err("unknown extension")),
            ("rules/x.yaml~", Err("unknown extension")),
            ("lists/pilot.yaml", Err("use `.txt`")),
            ("rules/a b.yaml", Err("`a b` is not a name")),
            ("rules/用户.yaml", Err("is not a name")),
            (&long, Err("is not a name")),
            ("rules/deep/x.yaml", Err("its path is `rules/<name>.yaml`")),
            ("lists/a/b/c.txt", Err("its path is `lists/")),
            ("instances/patient.yaml", Err("its path is `instances/<service>")),
        ] {
            match (place(path), expected) {
                (Place::Document(id, format), Ok((name, kind))) => {
                    assert_eq!((id.to_string().as_str(), format), (name, kind), "{path}");
                }
                (Place::Stray(problem), Err(part)) => {
                    assert_eq!(problem.document(), path);
                    assert!(problem.sentence().contains(part), "{path}: {problem}");
                }
                (Place::Document(id, _), Err(_)) => panic!("{path} was taken as {id}"),
                (Place::Stray(problem), Ok(_)) => panic!("{path} was refused: {problem}"),
            }
        }
    }
}
