//! `graygate import`: other gateways' files as documents, and a report of what became of every rule.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::ImportArguments;
use graygate_rules::documents::{DocumentId, Kind};
use graygate_rules::import::{Imported, Input, import};

pub fn run(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    let texts = arguments.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<String> = arguments.files.iter().map(|file| file.display().to_string()).collect();
    let inputs: Vec<Input<'_>> = names.iter().zip(&texts).map(|(name, text)| Input { name, text }).collect();
    let imported = import(arguments.source.into(), &inputs);
    if let Some(directory) = &arguments.out {
        write(directory, &imported)?;
    }
    match arguments.json {
        true => println!("{}", imported.report.to_json()),
        false => print!("{}", imported.report),
    }
    match imported.documents.is_empty() {
        true => anyhow::bail!("nothing of it became a document"),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
        bytes
    } else {
        fs::read(file).with_context(|| format!("reading `{}`", file.display()))?
    };
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("`{}` is not UTF-8", file.display()))
}

/// Writes every document, or none where one of another text is there: what an operator wrote is not overwritten.
fn write(directory: &Path, imported: &Imported) -> anyhow::Result<()> {
    let place = |id: &DocumentId| -> PathBuf {
        let extension = if id.kind == Kind::List { "txt" } else { "yaml" };
        directory.join(format!("{id}.{extension}"))
    };
    for (id, text) in &imported.documents {
        let path = place(id);
        match fs::read_to_string(&path) {
            Ok(there) if there != *text => {
                anyhow::bail!(
                    "`{}` is there and says something else; import into an empty directory",
                    path.display()
                )
            }
            _ => {}
        }
    }
    for (id, text) in &imported.documents {
        let path = place(id);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    }
    Ok(())
}
