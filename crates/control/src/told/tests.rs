//! Every sentence of the program that pages tell has its Chinese, and none is kept that no one says.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Where sentences come from that pages tell, from the folder of the crates.
const SOURCES: &[&str] = &[
    "rules/src/documents",
    "rules/src/compile/condition.rs",
    "rules/src/compile/lists.rs",
    "rules/src/compile/notes.rs",
    "rules/src/compile/parse.rs",
    "rules/src/compile/resolve.rs",
    "rules/src/compile/rollouts.rs",
    "rules/src/compile/route.rs",
    "rules/src/compile/services.rs",
    "rules/src/compile/tls.rs",
    "rules/src/vocab/template.rs",
    "rules/src/decide/arrival.rs",
    "rules/src/decide/condition.rs",
    "rules/src/decide/path.rs",
    "rules/src/decide/rule.rs",
    "rules/src/explain",
    "store/src/strays.rs",
    "store/src/directory/scan.rs",
    "judge/src/plan/act.rs",
    "judge/src/plan/decide.rs",
    "judge/src/plan/table.rs",
    "judge/src/plan/waiting.rs",
    "control/src/control/plans/act.rs",
    "control/src/control/plans/check.rs",
    "control/src/control/plans/promote.rs",
    "control/src/control/plans/read.rs",
    "control/src/control/plans/rollback.rs",
    "control/src/control/plans/tick.rs",
    "control/src/control/plans/write.rs",
    "control/src/plans/trial.rs",
    "control/src/plans/window.rs",
    "control/src/configs/deeds.rs",
    "control/src/configs/held.rs",
    "control/src/configs/item.rs",
    "control/src/configs/release.rs",
    "control/src/api/extract.rs",
    "control/src/api/guard.rs",
    "control/src/console/refused.rs",
    "control/src/console/visit.rs",
    "control/src/control/accounts.rs",
    "control/src/control/ask.rs",
    "control/src/control/change.rs",
    "control/src/control/channels.rs",
    "control/src/control/documents.rs",
    "control/src/control/draft.rs",
    "control/src/control/foreign.rs",
    "control/src/control/history.rs",
    "control/src/control/lists.rs",
    "control/src/control/live.rs",
    "control/src/control/members.rs",
    "control/src/control/messages.rs",
    "control/src/control/proposals.rs",
    "control/src/control/sign_in.rs",
    "control/src/control/then.rs",
    "control/src/control/write.rs",
    "control/src/error.rs",
    "control/src/evidence/gatherer.rs",
    "control/src/evidence/link.rs",
    "control/src/evidence/once.rs",
    "control/src/notices/chat.rs",
    "control/src/notices/notice.rs",
    "control/src/notices/send.rs",
    "control/src/oidc/person.rs",
    "control/src/people/password.rs",
    "control/src/people/principal.rs",
    "control/src/state/etcd.rs",
    "control/src/state/files.rs",
    "control/src/state/keeper.rs",
    "control/src/state/sqlite.rs",
];

/// Files beside them whose texts no page tells.
const ELSEWHERE: [&str; 4] = ["edit.rs", "print.rs", "set.rs", "tests.rs"];

/// What is no sentence for a person: texts of records, cookies, separators, formats of times and bodies.
const NOT_TOLD: [&str; 17] = [
    "(os error",
    "{} of plans/{} ({})\\n\\n{}",
    "\\n{} {}",
    "{}, step {}",
    "; {}",
    "%a %Y-%m-%d %H:%M",
    "--- {}\\n+++ {}\\n@@ {} bytes, {} bytes before @@\\n",
    "application/json; charset=utf-8",
    "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax",
    "{}={}; Path=/; HttpOnly; SameSite=Strict{}{}",
    "{}={}; Path=/; Max-Age={}; SameSite=Lax",
    "; Secure",
    "; Max-Age=0",
    "length limit",
    "no extension",
    "as the identity provider says",
    "Bearer {}",
];

/// The titles of the API's problems, for which pages have words of their own.
const TITLES: [&str; 16] = [
    "the store cannot be used",
    "bad request",
    "not signed in",
    "not allowed",
    "not found",
    "no such method",
    "the state forbids it",
    "it has changed",
    "too large",
    "another host",
    "it cannot be done",
    "documents have problems",
    "say what it replaces",
    "too many",
    "internal error",
    "another place does not answer",
];

/// What the statements of a database begin with.
const STATEMENTS: [&str; 6] = ["CREATE", "DELETE", "INSERT", "PRAGMA", "SELECT", "UPDATE"];

fn files(path: &Path, into: &mut Vec<std::path::PathBuf>) {
    if path.is_file() {
        into.push(path.to_owned());
        return;
    }
    for entry in std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !ELSEWHERE.contains(&name.as_str()) && name != "tests" {
            files(&path, into);
        }
    }
}

/// The texts between quotes of a source file, comments and tests apart.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Vec::new();
    let mut left = source;
    while let Some(at) = left.find(['"', '/', '\'']) {
        let (before, rest) = left.split_at(at);
        if rest.starts_with("//") {
            left = rest.split_once('\n').map_or("", |(_, next)| next);
        } else if let Some(behind) = rest.strip_prefix("'\"'") {
            left = behind;
        } else if rest.starts_with('"') && !before.ends_with("r#") {
            let mut end = 1;
            let bytes = rest.as_bytes();
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            found.push(rest[1..end].to_owned());
            left = &rest[end + 1..];
        } else {
            left = &rest[1..];
        }
    }
    found
}

/// A format as the table writes it: places without names, quotes and braces as they are told.
fn plain(literal: &str) -> String {
    let mut text = String::new();
    let literal = literal.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
    let mut left = literal.replace("\\\"", "\"");
    while let Some(at) = left.find(['{', '}']) {
        text.push_str(&left[..at]);
        let rest = left[at..].to_owned();
        if rest.starts_with("{{") || rest.starts_with("}}") {
            text.push_str(&rest[..1]);
            left = rest[2..].to_owned();
            continue;
        }
        let end = rest.find('}').unwrap_or(rest.len() - 1);
        let name = &rest[1..end.max(1)];
        let is_place = rest.starts_with('{')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '?'));
        match is_place {
            true => text.push_str("{}"),
            false => text.push_str(&rest[..=end]),
        }
        left = rest[end + 1..].to_owned();
    }
    text + &left
}

/// The same source without what it only logs: there the text comes last.
fn without_logs(source: &str) -> String {
    let mut kept = String::new();
    let mut left = source;
    while let Some((before, behind)) = left.split_once("tracing::") {
        kept.push_str(before);
        left = behind.split_once("\")").map_or("", |(_, rest)| rest);
    }
    kept + left
}

fn is_sentence(text: &str) -> bool {
    if STATEMENTS.iter().any(|statement| text.trim_start_matches(['\\', 'n', ' ']).starts_with(statement)) {
        return false;
    }
    let words = text.replace("{}", "");
    words.trim().contains(' ') && words.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn said() -> BTreeSet<(String, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    SOURCES.iter().for_each(|source| files(&crates.join(source), &mut all));
    let mut found = BTreeSet::new();
    for file in all {
        let place = file.strip_prefix(crates).unwrap().display().to_string();
        for literal in literals(&without_logs(&std::fs::read_to_string(&file).unwrap())) {
            found.insert((plain(&literal), place.clone()));
        }
    }
    found
}

fn known() -> BTreeSet<&'static str> {
    let all = [documents::SENTENCES, decisions::SENTENCES, plans::SENTENCES, refusals::SENTENCES];
    all.into_iter().flatten().map(|(english, _)| *english).collect()
}

#[test]
fn every_sentence_that_pages_tell_has_its_chinese() {
    let known = known();
    let missing: Vec<_> = said()
        .into_iter()
        .filter(|(text, _)| is_sentence(text) && !known.contains(text.as_str()))
        .filter(|(text, _)| !NOT_TOLD.contains(&text.as_str()) && !TITLES.contains(&text.as_str()))
        .collect();
    assert!(missing.is_empty(), "without Chinese: {missing:#?}");
}

#[test]
fn no_sentence_is_kept_that_no_one_says() {
    let said: BTreeSet<String> = said().into_iter().map(|(text, _)| text).collect();
    let unsaid: Vec<_> = known().into_iter().filter(|text| !said.contains(*text)).collect();
    assert!(unsaid.is_empty(), "no one says: {unsaid:#?}");
}

#[test]
fn each_names_its_places() {
    let all = [documents::SENTENCES, decisions::SENTENCES, plans::SENTENCES, refusals::SENTENCES];
    for (english, chinese) in all.into_iter().flatten() {
        for index in 0..english.matches("{}").count() {
            let is_sample = chinese.contains("{}") || chinese.contains("${");
            assert!(is_sample || chinese.contains(&format!("{{{index}}}")), "{english}: {chinese}");
        }
        assert!(
            chinese.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)) || chinese.contains('{'),
            "{english}"
        );
    }
}

#[test]
fn texts_are_told_with_their_names_and_figures() {
    for (english, chinese) in [
        ("unknown field `path`", "未知字段 `path`"),
        ("expected a list, found the number `7`", "应为列表，实为数字 `7`"),
        ("`x` is not one of `a`, `b`", "`x` 不是`a`, `b` 之一"),
        (
            "`101` is not a share from 0 to 100 with up to two decimals",
            "`101` 不是 0 到 100 的比例，最多两位小数",
        ),
        ("header:x-user `bob` is not: in_list `pilots`", "header:x-user `bob` 不满足：在名单 `pilots` 中"),
        ("4m 10s more of the step's hold", "本步还需保持 4m 10s"),
        (
            "`errors` says regression: e is 10^2.31, and 10^2.10 is enough, after 512 gray and 9000 release requests",
            "`errors` 判定劣化：e 为 10^2.31，达到 10^2.10 即判定；灰度请求 512 个，release 请求 9000 个",
        ),
        (
            "step 2 (`five`) begins: 700 gray requests in the one before, and nothing speaks against it; the proxy `p1` is lost",
            "开始第 2 (`five`) 步：上一步有 700 个灰度请求，没有不利证据；代理 `p1` 已失联",
        ),
        ("the plan is paused: resume it first (it is PAUSED)", "计划已暂停：请先继续（当前为 PAUSED）"),
        (
            "your role does not allow this; it takes `editor` for `patient`",
            "您的角色不允许此操作；需要 `editor`（针对 `patient`）",
        ),
        ("`bob` cannot be a member: it has a line break", "`bob` 不能作为成员：含有换行"),
        (
            "patient gray: plan `p8`, run 3, step 1 (ROLLBACK): rolled back: by li; 太多错误",
            "patient gray：计划 `p8` 第 3 次运行，第 1 步（ROLLBACK）：已回滚：由 li；太多错误",
        ),
        (
            "patient gray: plan `p8`, run 3 (PAUSED): paused",
            "patient gray：计划 `p8` 第 3 次运行（PAUSED）：已暂停",
        ),
        (
            "changed past the second person, by way of etcd: `rules/x`, `rules/y`",
            "绕过双人复核的修改，途径为 etcd：`rules/x`, `rules/y`",
        ),
    ] {
        assert_eq!(Language::Chinese.retold(english).as_deref(), Some(chinese), "{english}");
        assert_eq!(Language::English.retold(english), None);
    }
    assert_eq!(Language::Chinese.retold("someone's own words"), None);
}
