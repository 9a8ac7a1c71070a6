//! What is written is run: README, book and sample documents are read by the program itself.
//!
//! Answers: does every command, document, table and link of what we publish hold? Owns nothing else.

mod importing;
mod pages;
mod program;
mod words;
use std::collections::BTreeSet;
use std::path::Path;

use graygate::config::Config;
use graygate_rules::compile::{Memory, compile};
use graygate_rules::documents::fields::{Field, Notes};
use graygate_rules::documents::{DocumentId, Raw, parse, text};
use graygate_rules::vocab::{ErrorReason, FallbackReason, InstanceState, MirrorOutcome, Reason, TryOutcome};
use graygate_store::directory;

use pages::{Page, Table, code_words, page, pages, read, root};

/// A document without a problem; the error says what is wrong with it.
fn document(name: &str, text: &str) -> Result<String, String> {
    let id = DocumentId::parse(name).ok_or(format!("`{name}` names no document"))?;
    parse(&id, &Raw::yaml(text))
        .map(|document| format!("{document:?}"))
        .map_err(|problems| format!("{problems:?}"))
}

fn process_file(text: &str) -> Result<Config, String> {
    Config::parse(text, Notes::of("graygate.yaml")).map_err(|problems| format!("{problems:?}"))
}

/// A part of control.yaml.
fn registries(text: &str) -> Result<(), String> {
    let node = text::parse(text, text::Syntax::Yaml).map_err(|error| error.to_string())?;
    let notes = Notes::of("control.yaml");
    let mut map = Field::root(&node, &notes).map().ok_or("no map")?;
    map.required("registries").and_then(|field| graygate_control::registries::config::read(&field));
    map.note_unknown();
    if notes.is_empty() { Ok(()) } else { Err(format!("{:?}", notes.into_problems())) }
}

/// A YAML block says in its first line what it is: `# rules/20-share`, or `# graygate.yaml`.
#[test]
fn every_yaml_block_is_good() {
    let mut blocks = 0;
    for page in pages() {
        for block in page.blocks("yaml") {
            let name = block.lines().next().unwrap_or_default().trim_start_matches("# ").to_string();
            let result = match name.as_str() {
                "graygate.yaml" => process_file(&block).map(|_| ()),
                // What `import` reads is not ours to judge; its own tests read such files.
                manifest if manifest.ends_with(".yaml") && block.contains("\napiVersion: ") => continue,
                "control.yaml: registries" => registries(&block),
                "control.yaml" => {
                    graygate_control::settings::Config::parse(&block, Notes::of("control.yaml"))
                        .map(|_| ())
                        .map_err(|problems| format!("{problems:?}"))
                }
                name => document(name.trim_end_matches(".yaml"), &block).map(|_| ()),
            };
            result.unwrap_or_else(|error| panic!("{}: `{name}`: {error}", page.name));
            blocks += 1;
        }
    }
    assert!(blocks >= 12, "{blocks} blocks");
}

#[test]
fn every_json_block_is_json() {
    for page in pages() {
        for block in page.blocks("json") {
            serde_json::from_str::<serde_json::Value>(&block)
                .unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.name));
        }
    }
}

#[test]
fn the_sample_documents_have_no_problems() {
    let set = directory::load(&root().join("conf/documents")).unwrap();
    let compiled = compile(&set, &Memory::default(), &|path: &Path| std::fs::read(path));
    assert_eq!(compiled.problems, []);
    assert_eq!(set.documents.len(), 6);
}

/// The tutorial shows what the demo has.
#[test]
fn the_tutorial_shows_the_samples() {
    let blocks = page("docs/tutorial.md").blocks("yaml");
    let shown = blocks.iter().find(|block| block.starts_with("# routes/patient\n")).unwrap();
    let sample = read("conf/documents/routes/patient.yaml");
    assert_eq!(document("routes/patient", shown), document("routes/patient", &sample));
}

/// Every command line of a page: the command is there, and so are its options.
#[test]
fn every_command_exists() {
    let mut commands = 0;
    for page in pages() {
        for line in page.command_lines().into_iter().chain(page.commands_in_tables()) {
            program::understands(&line).unwrap_or_else(|error| panic!("{}: `{line}`: {error}", page.name));
            commands += 1;
        }
    }
    assert!(commands >= 30, "{commands} commands");
}

#[test]
fn every_make_target_exists() {
    let makefile = read("Makefile");
    for page in pages() {
        for target in page.make_targets() {
            let is_there = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            assert!(is_there, "{}: `make {target}` is no target", page.name);
        }
    }
}

#[test]
fn every_command_is_in_the_reference() {
    let text = page("docs/reference/commands.md").text;
    for command in program::commands() {
        assert!(text.contains(&format!("`graygate {command}")), "`{command}` is missing");
    }
}

/// The first column of a reference table, and the program's own words in their order.
#[test]
fn the_words_of_the_reference_are_those_of_the_program() {
    let words = |all: Vec<&'static str>| all.into_iter().map(String::from).collect::<Vec<_>>();
    let answers = page("docs/reference/answers.md");
    let check = |heading: &str, expected: Vec<&'static str>| {
        assert_eq!(answers.table_below(heading).column(0), words(expected), "{heading}");
    };
    check("## Reasons", Reason::ALL.iter().map(|word| word.as_str()).collect());
    check("## Fallback reasons", FallbackReason::ALL.iter().map(|word| word.as_str()).collect());
    check("## Outcomes of a try", TryOutcome::ALL.iter().map(|word| word.as_str()).collect());
    let mirrors = page("docs/documents/mirrors.md").table_below("| outcome |").column(0);
    assert_eq!(mirrors, words(MirrorOutcome::ALL.iter().map(|word| word.as_str()).collect()));
    check("## States of an instance", InstanceState::ALL.iter().map(|word| word.as_str()).collect());
    check("## Answers of the proxy's own", ErrorReason::ALL.iter().map(|word| word.as_str()).collect());
    let statuses = answers.table_below("## Answers of the proxy's own").column(1);
    let expected: Vec<String> = ErrorReason::ALL.iter().map(|reason| reason.status().to_string()).collect();
    assert_eq!(statuses, expected);
}

#[test]
fn every_metric_is_in_the_reference() {
    let table = page("docs/reference/metrics.md").table_below("# Metrics");
    let written: BTreeSet<String> = table.column(0).into_iter().collect();
    assert_eq!(written, program::metric_names());
}

#[test]
fn a_line_of_the_access_log_has_the_keys_of_the_reference() {
    let table = page("docs/reference/access-log.md").table_below("# Access log");
    let written: BTreeSet<String> = table.column(0).into_iter().collect();
    assert_eq!(written, program::access_log_keys());
}

/// A table's defaults, written into a document or a process file.
fn defaults(table: &Table, is_left_out: impl Fn(&str) -> bool) -> String {
    let rows = table.rows.iter().filter(|row| !is_left_out(&code_words(&row[0])[0]));
    let rows =
        rows.filter_map(|row| Some((code_words(&row[0])[0].clone(), code_words(&row[2]).first()?.clone())));
    pages::flow_map(rows)
}

#[test]
fn the_process_file_has_the_defaults_of_the_reference() {
    let table = page("docs/reference/process-file.md").table_below("# Process file");
    let written = defaults(&table, |_| false).replacen('{', "{documents: {directory: conf/documents}, ", 1);
    let written = process_file(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
    let default = process_file("documents: {directory: conf/documents}").unwrap();
    assert_eq!(format!("{written:?}"), format!("{default:?}"));
}

#[test]
fn documents_have_the_defaults_of_their_pages() {
    let all = |_: &str| false;
    // Defaults that other fields, or the compile, fill in.
    let service = |key: &str| {
        let filled_in = ["timeouts.", "health.grpc", "discover."].iter().any(|start| key.starts_with(start));
        key == "identity" || filled_in
    };
    let route = |key: &str| key.starts_with("redirect.");
    type Case<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&str) -> bool);
    let cases: [Case<'_>; 4] = [
        ("routes", "routes/x", "service: x", &route),
        ("services", "services/x", "health: {http: {}}, tls: {}", &service),
        ("rules", "rules/x", "version: gray", &all),
        ("instances", "instances/x/y", "address: '10.0.0.1:80', version: gray", &all),
    ];
    for (name, id, required, is_left_out) in cases {
        let page = page(&format!("docs/documents/{name}.md"));
        let written = defaults(&page.table_below("| field |"), is_left_out);
        let written = match required.starts_with("health") {
            true => written,
            false => written.replacen('{', &format!("{{{required}, "), 1),
        };
        let default = document(id, &format!("{{{required}}}")).unwrap();
        assert_eq!(document(id, &written).as_ref(), Ok(&default), "{name}: {written}");
    }
}

/// Every key the readers ask for is a row of its page.
#[test]
fn every_field_is_in_the_reference() {
    let cases: [(&str, &[&str]); 9] = [
        ("docs/documents/messages.md", &["crates/rules/src/documents/lanes.rs"]),
        ("docs/documents/assets.md", &["crates/rules/src/documents/assets.rs"]),
        ("docs/documents/mirrors.md", &["crates/rules/src/documents/mirror.rs"]),
        ("docs/documents/limits.md", &["crates/rules/src/documents/limit.rs"]),
        ("docs/documents/routes.md", &["crates/rules/src/documents/route.rs"]),
        ("docs/documents/services.md", &["crates/rules/src/documents/service.rs"]),
        ("docs/documents/rules.md", &["crates/rules/src/documents/rule.rs"]),
        ("docs/documents/instances.md", &["crates/rules/src/documents/instance.rs"]),
        (
            "docs/reference/process-file.md",
            &[
                "src/config/mod.rs",
                "src/config/listen.rs",
                "src/config/access.rs",
                "src/config/messages.rs",
                "crates/store/src/written.rs",
            ],
        ),
    ];
    for (name, files) in cases {
        let text = page(name).text;
        for file in files {
            let keys = program::keys_read_by(file);
            assert!(!keys.is_empty(), "{file} reads no keys");
            for key in keys {
                let is_there = [format!("`{key}"), format!(".{key}")]
                    .iter()
                    .flat_map(|form| ['`', '.', '['].map(|end| format!("{form}{end}")))
                    .any(|form| text.contains(&form));
                assert!(is_there, "{name} has no `{key}`");
            }
        }
    }
}

#[test]
fn every_operator_and_attribute_is_in_the_reference() {
    let conditions = page("docs/documents/conditions.md");
    let table = conditions.table_below("| operator |");
    assert_eq!(table.column(0), program::operators());
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let summary = page("docs/SUMMARY.md");
    for page in pages() {
        let broken = page.broken_links();
        assert!(broken.is_empty(), "{}: {broken:?}", page.name);
        let missing = page.missing_files();
        assert!(missing.is_empty(), "{}: there is no {missing:?}", page.name);
        if let Some(name) = page.name.strip_prefix("docs/").filter(|name| *name != "SUMMARY.md") {
            assert!(summary.text.contains(&format!("]({name})")), "{name} is not in docs/SUMMARY.md");
        }
    }
}

#[test]
fn the_front_page_is_a_page() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "{lines} lines; what is longer belongs into docs");
}

/// No figure is written by hand: each file of results is included by a page, or named by one.
#[test]
fn every_result_is_shown() {
    let text: String = pages().iter().map(|page: &Page| page.text.clone()).collect();
    for file in std::fs::read_dir(root().join("loadtest/results")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&name), "no page shows loadtest/results/{name}");
    }
}
