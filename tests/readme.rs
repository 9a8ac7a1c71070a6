//! What is written is run: the README's and the samples' texts are read by the program itself.

use std::path::Path;

use graygate::compile::{Memory, compile};
use graygate::config::Config;
use graygate::documents::fields::Notes;
use graygate::documents::{DocumentId, Raw, parse};
use graygate::sources::directory;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced YAML blocks of the README, in order.
fn yaml_blocks() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    text.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split("```").next()?.to_string())).collect()
}

#[test]
fn the_readme_s_rule_is_a_good_document() {
    let blocks = yaml_blocks();
    let rule = blocks.iter().find(|block| block.starts_with("# rules/")).unwrap();
    let id = DocumentId::parse("rules/20-pilot-hospitals").unwrap();
    parse(&id, &Raw::yaml(rule.as_str())).unwrap();
}

#[test]
fn the_readme_s_process_file_says_the_defaults() {
    let blocks = yaml_blocks();
    let file = blocks.iter().find(|block| block.starts_with("threads:")).unwrap();
    let written = Config::parse(file, Notes::of("README.md")).unwrap();
    let default = Config::parse("documents: {directory: conf/documents}", Notes::of("default")).unwrap();
    assert_eq!(written.proxy.listen, default.proxy.listen);
    assert_eq!(written.proxy.limits, default.proxy.limits);
    assert_eq!(written.proxy.grace, default.proxy.grace);
    assert_eq!(written.proxy.respond_version, default.proxy.respond_version);
    assert_eq!(written.proxy.trust.version_header, default.proxy.trust.version_header);
    assert_eq!(written.proxy.trust.baggage, default.proxy.trust.baggage);
    assert_eq!(written.admin, default.admin);
    let log = |config: &Config| config.access_log.as_ref().map(|log| (format!("{:?}", log.path), log.sample));
    assert_eq!(log(&written), log(&default));
}

#[test]
fn the_sample_documents_have_no_problems() {
    let set = directory::load(&root().join("conf/documents")).unwrap();
    let compiled = compile(&set, &Memory::default(), &|path: &Path| std::fs::read(path));
    assert_eq!(compiled.problems, []);
    assert_eq!(set.documents.len(), 6);
}

#[test]
fn every_command_of_the_readme_exists() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_graygate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let named: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `graygate ")?.split([' ', '`']).next()).collect();
    assert!(named.len() >= 8, "{named:?}");
    for command in named {
        assert!(help.contains(&format!("  {command} ")), "`{command}` is not in:\n{help}");
    }
}

#[test]
fn the_tables_of_the_readme_are_those_that_were_measured() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    for name in ["compare", "changes", "start", "scale", "soak"] {
        let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
        let shown = text.split_once(&begin).unwrap().1.split_once(&end).unwrap().0;
        let measured = std::fs::read_to_string(root().join(format!("loadtest/results/{name}.md"))).unwrap();
        assert_eq!(shown, measured, "`make measure-{name}` writes both");
    }
}
