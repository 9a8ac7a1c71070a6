//! `bucket`, `check`, and how wrong usage ends.

use crate::commands::typed::{GOOD, directory, text, typed};

#[test]
fn the_published_buckets_are_printed() {
    for (salt, value, bucket) in
        [("plan-1", "user1", "247\n"), ("plan-1", "用户一", "8997\n"), ("plan-2", "user1", "3552\n")]
    {
        let said = typed(&["bucket", salt, value]);
        assert_eq!((said.status, said.out.as_str()), (0, bucket), "{said:?}");
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    for arguments in [
        &[][..],
        &["unheard-of"],
        &["run"],
        &["run", "--config"],
        &["bucket", "one"],
        &["check"],
        &["check", "a", "--config", "b"],
        &["explain", "http://a/"],
        &["explain", "--documents", "a"],
        &["explain", "--documents", "a", "-H", "no colon", "http://a/"],
        &["push", "a"],
        &["pull", "a"],
        &["echo", "--address", "nowhere", "--version", "v"],
        &["bucket", "--unheard-of", "a", "b"],
    ] {
        let said = typed(arguments);
        assert_eq!(said.status, 2, "{arguments:?}: {said:?}");
        assert!(!said.errors.is_empty());
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(typed(arguments).status, 0, "{arguments:?}");
    }
}

#[test]
fn check_passes_what_is_good() {
    let good = directory(&GOOD);
    let said = typed(&["check", text(good.path())]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("1 rules, a decision costs"), "{said:?}");
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/documents");
    assert_eq!(typed(&["check", samples]).status, 0);
}

#[test]
fn check_prints_every_problem_with_its_place() {
    let mut documents = GOOD.to_vec();
    documents.extend([
        ("rules/30-typo.yaml", "when: {all: [{atribute: path, equals: /}]}\nversion: gray\nprioriy: 1"),
        ("rules/40-lost.yaml", "services: [nowhere]\nwhen: {attribute: ip, in_list: lost}\nversion: gray"),
        ("rules/50-operator.yaml", "when: {attribute: path, sufix: x}\nversion: gray"),
        ("services/t.yaml", "balance: roundrobin\nretries: many"),
        ("instances/gone/one.yaml", "{address: \"127.0.0.1:1\", version: v}"),
        ("notes.txt", "hello"),
    ]);
    let broken = directory(&documents);
    let said = typed(&["check", text(broken.path())]);
    assert_eq!(said.status, 1);
    for wanted in [
        "rules/30-typo",
        "when.all[0].atribute",
        "did you mean `attribute`",
        "prioriy",
        "did you mean `priority`",
        "rules/40-lost",
        "nowhere",
        "lost",
        "did you mean `suffix`",
        "services/t",
        "did you mean `round_robin`",
        "retries",
        "instances/gone/one",
        "notes.txt",
    ] {
        assert!(said.out.contains(wanted), "{wanted} is missing in\n{}", said.out);
    }
}

#[test]
fn check_reads_the_process_file_too() {
    let good = directory(&GOOD);
    let file = good.path().join(".graygate.yaml");
    std::fs::write(&file, format!("documents: {{directory: {}}}", good.path().display())).unwrap();
    assert_eq!(typed(&["check", "--config", text(&file)]).status, 0);
    std::fs::write(&file, "documents: {directory: x}\nlisten: [{address: \"1.2.3.4\"}]\nlimit: {}").unwrap();
    let said = typed(&["check", "--config", text(&file)]);
    assert_eq!(said.status, 1);
    for wanted in ["listen[0].address", "limit", "did you mean `limits`"] {
        assert!(said.out.contains(wanted), "{wanted} is missing in\n{}", said.out);
    }
    assert_eq!(typed(&["check", "--config", "/nowhere/graygate.yaml"]).status, 1);
    assert_eq!(typed(&["check", "/nowhere/documents"]).status, 1);
}
