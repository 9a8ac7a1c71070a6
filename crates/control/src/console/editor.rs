//! One document: its text, what a change would do, what another person changed meanwhile, and its history.
//!
//! Every change goes in two steps: what would happen is shown, then exactly that is done, by the hash of what was shown. If
//! another person was faster, both differences are shown, and put together where they fit.

use axum::response::Response;
use bytes::Bytes;
use graygate_rules::documents::text::{Node, Syntax, Value, parse};
use graygate_rules::documents::{DocumentId, Kind};
use http::StatusCode;
use maud::{Markup, html};

use super::merge::merge;
use super::moves::{Crowd, log_field, moved_by_steps};
use super::shell::{Page, Tab};
use super::show::{difference, moment, problems, reason, refusal};
use super::visit::{Fields, Form, Look, Visit};
use crate::api::Named;
use crate::control::{Done, DryRun, HistoryShown, Intent, Precondition};
use crate::error::{Error, Mistake, Result};
use crate::people::Permission;

/// Changes of a document's history that are shown at once.
const HISTORY: usize = 20;

fn id_of(kind: &str, name: &str) -> Result<DocumentId> {
    let kind = Kind::from_folder(kind).ok_or_else(|| Error::not_found(kind))?;
    let is_plain = !name.split('/').any(|part| part.starts_with('.'));
    DocumentId::of(kind, name)
        .filter(|_| is_plain)
        .ok_or_else(|| Error::not_found(format!("{}/{name}", kind.folder())))
}

pub async fn show(visit: Visit, Named((kind, name)): Named<(String, String)>) -> Result<Response> {
    shown(visit, id_of(&kind, &name)?).await
}

pub async fn show_part(
    visit: Visit,
    Named((kind, name, part)): Named<(String, String, String)>,
) -> Result<Response> {
    shown(visit, id_of(&kind, &format!("{name}/{part}"))?).await
}

pub async fn act(Named((kind, name)): Named<(String, String)>, form: Form) -> Result<Response> {
    acted(form, id_of(&kind, &name)?).await
}

pub async fn act_part(
    Named((kind, name, part)): Named<(String, String, String)>,
    form: Form,
) -> Result<Response> {
    acted(form, id_of(&kind, &format!("{name}/{part}"))?).await
}

/// What is in the editor, and what it was written over.
#[derive(Clone, Default)]
struct Edit {
    text: String,
    /// As it was when the editor was opened; nothing for a new document.
    base: String,
    etag: Option<String>,
    reason: String,
    /// Requests that are asked about instead of made-up users.
    log: String,
}

/// What is shown above and below the editor.
#[derive(Default)]
struct Told {
    status: Option<StatusCode>,
    above: Option<Markup>,
    below: Option<Markup>,
    /// The hash of the difference that is shown, which a save sends along.
    hash: Option<String>,
}

async fn shown(visit: Visit, id: DocumentId) -> Result<Response> {
    if id.kind == Kind::List && id.tail().is_none() {
        return Ok(visit.go(&format!("/lists/{}", id.name)));
    }
    let edit = match current(&visit, &id).await? {
        Some((text, etag)) => Edit { base: text.clone(), text, etag: Some(etag), ..Edit::default() },
        None if visit.asked("new") == "1" => Edit { text: sample(id.kind).to_owned(), ..Edit::default() },
        None => return Err(Error::not_found(&id)),
    };
    let told = Told { above: flash(&visit, &id), ..Told::default() };
    page(&visit, &id, (edit, told)).await
}

/// The text as it stands, and its tag.
async fn current(visit: &Visit, id: &DocumentId) -> Result<Option<(String, String)>> {
    match visit.control().document(&visit.who, id).await {
        Ok(document) => Ok(Some((String::from_utf8_lossy(&document.text).into_owned(), document.etag))),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was just done, and the way back.
fn flash(visit: &Visit, id: &DocumentId) -> Option<Markup> {
    let lang = visit.lang();
    let word = match visit.asked("done") {
        "saved" => lang.saved(),
        "undone" => lang.undone(),
        _ => return None,
    };
    let back = visit.asked("back").parse::<u64>().ok();
    Some(html! {
        div.flash role="status" data-fade="30" {
            p { span.shape aria-hidden="true" { "✓" } " " (word) }
            @if let Some(back) = back {
                form.inline method="post" action=(visit.at(&format!("/documents/{id}"))) {
                    (visit.proof())
                    input type="hidden" name="to" value=(back);
                    button type="submit" name="do" value="undo" { (lang.undo()) }
                }
            }
        }
    })
}

async fn acted(form: Form, id: DocumentId) -> Result<Response> {
    let Form { visit, fields } = form;
    match fields.get("do") {
        "save" => save(&visit, &id, &fields).await,
        "delete" => ask_removal(&visit, &id).await,
        "remove" => remove(&visit, &id, &fields).await,
        "undo" => ask_undo(&visit, &id, &fields).await,
        "undone" => undo(&visit, &id, &fields).await,
        _ => look_at(&visit, &id, edit_of(&fields)).await,
    }
}

fn edit_of(fields: &Fields) -> Edit {
    Edit {
        text: fields.text("text"),
        base: fields.text("base"),
        etag: fields.some("etag"),
        reason: fields.get("reason").to_owned(),
        log: fields.text("log"),
    }
}

fn condition(edit: &Edit, hash: Option<String>) -> Precondition {
    let if_none_match = edit.etag.is_none().then(|| "*".to_owned());
    Precondition { if_match: edit.etag.clone(), if_none_match, hash }
}

/// A dry run of what is in the editor.
async fn look_at(visit: &Visit, id: &DocumentId, edit: Edit) -> Result<Response> {
    if let Some((text, etag)) = current(visit, id).await?
        && edit.etag.as_ref() != Some(&etag)
    {
        return conflict(visit, id, (edit, text, etag)).await;
    }
    let intent = Intent { dry_run: true, ..Intent::of("document.put") };
    let text = Bytes::from(edit.text.clone());
    let done = visit
        .control()
        .put_document(&visit.who, (id.clone(), Some(text)), &Precondition::default(), intent)
        .await;
    let told = match done {
        Ok(Done::Shown(dry_run)) => {
            let moved = moved(visit, id, (&dry_run, Some(&edit.text)), Crowd::of(&edit.log)).await;
            Told {
                below: Some(dry(visit, &dry_run, (&edit.text, moved))),
                hash: dry_run.hash,
                ..Told::default()
            }
        }
        Ok(_) => Told::default(),
        Err(error) => refused(&visit.look, error),
    };
    page(visit, id, (edit, told)).await
}

fn refused(look: &Look, error: Error) -> Told {
    let status = StatusCode::from_u16(error.status()).ok();
    Told { status, above: Some(refusal(look, &error)), ..Told::default() }
}

/// What a dry run found.
fn dry(visit: &Visit, dry_run: &DryRun, (text, moved): (&str, Option<Markup>)) -> Markup {
    let lang = visit.lang();
    html! {
        section #checked aria-labelledby="checked-title" {
            h2 #checked-title tabindex="-1" data-focus { (lang.what_would_happen()) }
            (problems(&visit.look, lang.problems(), &dry_run.problems))
            (places(visit, text, &dry_run.problems))
            (problems(&visit.look, lang.notes(), &dry_run.notes))
            h3 { (lang.difference()) }
            (difference(lang, &dry_run.diff))
            @if let Some(moved) = moved { (moved) }
        }
    }
}

/// Where in the text each problem is; the script leads there.
fn places(visit: &Visit, text: &str, mistakes: &[Mistake]) -> Markup {
    let lines: Vec<usize> = mistakes.iter().filter_map(|mistake| line_of(text, &mistake.field)).collect();
    html! {
        @if !lines.is_empty() {
            p.places {
                @for line in lines { button.quiet type="button" data-line=(line) { (visit.lang().line(line)) } " " }
            }
        }
    }
}

/// The line a field stands in, from 1.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let mut node: Node = parse(text, Syntax::Yaml).ok()?;
    let steps =
        field.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty());
    for step in steps {
        let next = match node.value {
            Value::Map(entries) => entries.into_iter().find(|(key, _)| key == step).map(|(_, node)| node),
            Value::List(items) => step.parse::<usize>().ok().and_then(|index| items.into_iter().nth(index)),
            _ => None,
        };
        let Some(next) = next else { break };
        node = next;
    }
    Some(node.line)
}

/// How many made-up users would get another version, and what that is of today's requests.
async fn moved(
    visit: &Visit,
    id: &DocumentId,
    (dry_run, text): (&DryRun, Option<&str>),
    crowd: Crowd<'_>,
) -> Option<Markup> {
    if id.kind == Kind::Plan && dry_run.problems.is_empty() {
        return Some(moved_by_steps(visit, (&id.name, text?), crowd).await);
    }
    let decides = matches!(id.kind, Kind::Rule | Kind::Route | Kind::Service | Kind::List | Kind::Closure);
    if !decides || !dry_run.problems.is_empty() {
        return None;
    }
    let drafts = [(id.to_string(), text.map(str::to_owned))].into_iter().collect();
    super::moves::moved(visit, drafts, crowd).await.ok()
}

async fn save(visit: &Visit, id: &DocumentId, fields: &Fields) -> Result<Response> {
    let edit = edit_of(fields);
    let Some(hash) = fields.some("hash") else { return look_at(visit, id, edit).await };
    let before = newest(visit, id).await;
    let intent = Intent { reason: fields.some("reason"), ..Intent::of("document.put") };
    let text = Bytes::from(edit.text.clone());
    let done = visit
        .control()
        .put_document(&visit.who, (id.clone(), Some(text)), &condition(&edit, Some(hash)), intent)
        .await;
    match done {
        Ok(Done::Waiting(proposal)) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        Ok(_) => {
            let back = before.map(|revision| format!("&back={revision}")).unwrap_or_default();
            Ok(visit.go(&format!("/documents/{id}?done=saved{back}")))
        }
        // Either another person was faster, or the text is not the one whose difference was shown: look again.
        Err(Error::PreconditionFailed { .. } | Error::Problems(_)) => look_at(visit, id, edit).await,
        Err(error) => page(visit, id, (edit, refused(&visit.look, error))).await,
    }
}

/// The newest revision in a document's history, to come back to.
async fn newest(visit: &Visit, id: &DocumentId) -> Option<u64> {
    let (items, _) = visit.control().history(&visit.who, id, (1, None)).await.ok()?;
    items.first().and_then(|item| item.revision.to_string().parse().ok())
}

/// Another person's text stands there by now: both differences, and both in one text where that goes.
async fn conflict(
    visit: &Visit,
    id: &DocumentId,
    (edit, theirs, etag): (Edit, String, String),
) -> Result<Response> {
    let lang = visit.lang();
    let merged = merge(&edit.base, &edit.text, &theirs);
    let last = visit
        .control()
        .history(&visit.who, id, (1, None))
        .await
        .ok()
        .and_then(|(items, _)| items.into_iter().next());
    let diff = |new: &str| {
        similar::TextDiff::from_lines(edit.base.as_str(), new).unified_diff().context_radius(3).to_string()
    };
    let above = html! {
        div.refusal role="alert" {
            p { strong { (lang.has_changed()) } }
            @if let Some(last) = &last { p { (lang.changed_by(&last.who)) " " (moment(&last.time)) } }
            p { @if merged.contested.is_empty() { (lang.both_fit()) } @else { (lang.contested(merged.contested.len())) } }
        }
        div.two {
            section aria-labelledby="theirs" { h2 #theirs { (lang.their_difference()) } (difference(lang, &diff(&theirs))) }
            section aria-labelledby="mine" { h2 #mine { (lang.your_difference()) } (difference(lang, &diff(&edit.text))) }
        }
        @if !merged.contested.is_empty() {
            table.contested {
                caption { (lang.contested_lines()) }
                thead { tr { th scope="col" { (lang.it_was()) } th scope="col" { (lang.theirs()) } th scope="col" { (lang.yours()) } } }
                tbody { @for each in &merged.contested {
                    tr { td { pre { (each.base) } } td { pre { (each.theirs) } } td { pre { (each.mine) } } }
                } }
            }
        }
    };
    let edit = Edit { text: merged.text, base: theirs, etag: Some(etag), ..edit };
    let status = Some(StatusCode::PRECONDITION_FAILED);
    page(visit, id, (edit, Told { status, above: Some(above), ..Told::default() })).await
}

async fn ask_removal(visit: &Visit, id: &DocumentId) -> Result<Response> {
    let lang = visit.lang();
    let Some((_, etag)) = current(visit, id).await? else { return Err(Error::not_found(id)) };
    let intent = Intent { dry_run: true, ..Intent::of("document.delete") };
    let done = visit
        .control()
        .put_document(&visit.who, (id.clone(), None), &Precondition::default(), intent)
        .await?;
    let Done::Shown(dry_run) = done else { return Ok(visit.go(&format!("/documents/{id}"))) };
    let moved = moved(visit, id, (&dry_run, None), Crowd::MadeUp).await;
    let main = html! {
        h1 { (lang.delete()) " " code { (id) } }
        (dry(visit, &dry_run, ("", moved)))
        form method="post" action=(visit.at(&format!("/documents/{id}"))) {
            (visit.proof())
            input type="hidden" name="etag" value=(etag);
            input type="hidden" name="hash" value=(dry_run.hash.as_deref().unwrap_or_default());
            (reason(lang, ""))
            (visit.choice(Permission::Write, "danger", (&lang.delete_now(id), "do", "remove")))
            " " a href=(visit.at(&format!("/documents/{id}"))) { (lang.back()) }
        }
    };
    let calls = vec![format!("DELETE /documents/{id}?dry_run=true")];
    Ok(visit.page(Page { tab: Tab::Documents, title: lang.delete().to_owned(), calls, main }).await)
}

async fn remove(visit: &Visit, id: &DocumentId, fields: &Fields) -> Result<Response> {
    let condition =
        Precondition { if_match: fields.some("etag"), if_none_match: None, hash: fields.some("hash") };
    let intent = Intent { reason: fields.some("reason"), ..Intent::of("document.delete") };
    match visit.control().put_document(&visit.who, (id.clone(), None), &condition, intent).await? {
        Done::Waiting(proposal) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        _ => Ok(visit.go(&format!("/documents?kind={}", id.kind.word()))),
    }
}

async fn ask_undo(visit: &Visit, id: &DocumentId, fields: &Fields) -> Result<Response> {
    let lang = visit.lang();
    let to = revision(fields)?;
    let edit = match current(visit, id).await? {
        Some((text, etag)) => Edit { base: text.clone(), text, etag: Some(etag), ..Edit::default() },
        None => Edit::default(),
    };
    let intent = Intent { dry_run: true, ..Intent::of("document.undo") };
    let done = visit.control().undo(&visit.who, id, (to, &condition(&edit, None)), intent).await?;
    let Done::Shown(dry_run) = done else { return Ok(visit.go(&format!("/documents/{id}"))) };
    let main = html! {
        h1 { (lang.undo()) " " code { (id) } }
        p { (lang.undo_to(to)) }
        (dry(visit, &dry_run, ("", None)))
        form method="post" action=(visit.at(&format!("/documents/{id}"))) {
            (visit.proof())
            input type="hidden" name="to" value=(to);
            @if let Some(etag) = &edit.etag { input type="hidden" name="etag" value=(etag); }
            input type="hidden" name="hash" value=(dry_run.hash.as_deref().unwrap_or_default());
            (reason(lang, ""))
            (visit.choice(Permission::Write, "danger", (lang.undo_now(), "do", "undone")))
            " " a href=(visit.at(&format!("/documents/{id}"))) { (lang.back()) }
        }
    };
    let calls = vec![format!("POST /documents/{id}/undo?dry_run=true")];
    Ok(visit.page(Page { tab: Tab::Documents, title: lang.undo().to_owned(), calls, main }).await)
}

fn revision(fields: &Fields) -> Result<crate::state::Revision> {
    let text = fields.get("to");
    text.parse().map_err(|_| super::refused::not_a_revision(text))
}

async fn undo(visit: &Visit, id: &DocumentId, fields: &Fields) -> Result<Response> {
    let edit = edit_of(fields);
    let intent = Intent { reason: fields.some("reason"), ..Intent::of("document.undo") };
    let condition = condition(&edit, fields.some("hash"));
    match visit.control().undo(&visit.who, id, (revision(fields)?, &condition), intent).await? {
        Done::Waiting(proposal) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        _ => Ok(visit.go(&format!("/documents/{id}?done=undone&new=1"))),
    }
}

async fn page(visit: &Visit, id: &DocumentId, (edit, told): (Edit, Told)) -> Result<Response> {
    let lang = visit.lang();
    let known = visit.control().document_shown(id);
    let forbidden = forbids(visit, id, known.owner.as_deref());
    let is_new = edit.etag.is_none();
    let is_replayed = !matches!(id.kind, Kind::Messages);
    let main = html! {
        h1 { code { (id) } @if is_new { " " span.mark { (lang.new_one()) } } }
        @if let Some(above) = &told.above { (above) }
        @if let Some(owner) = &known.owner { p.banner { (lang.written_by()) " " (lang.tell(owner)) } }
        @if told.below.is_none() { (problems(&visit.look, lang.problems(), &known.problems)) }
        form #editor method="post" action=(visit.at(&format!("/documents/{id}"))) data-unsaved {
            (visit.proof())
            @if let Some(etag) = &edit.etag { input type="hidden" name="etag" value=(etag); }
            @if let Some(hash) = &told.hash { input type="hidden" name="hash" value=(hash); }
            textarea.unseen name="base" hidden readonly tabindex="-1" aria-hidden="true" { "\n" (edit.base) }
            label for="text" { (lang.text()) }
            textarea #text .code name="text" rows=(rows(&edit.text)) spellcheck="false" autocapitalize="none"
                readonly[forbidden.is_some()] { "\n" (edit.text) }
            @if let Some(below) = &told.below { (below) }
            @if is_replayed { input type="hidden" name="document" value=(id); (log_field(lang, &edit.log)) }
            (reason(lang, &edit.reason))
            p.buttons {
                (visit.guarded(forbidden.as_deref(), if told.hash.is_some() { "" } else { "main" }, (lang.look_at_difference(), "do", "look")))
                @if told.hash.is_some() { " " (visit.choice(Permission::Write, "main", (lang.save_this(), "do", "save"))) }
                @if is_replayed { " " button.quiet type="submit" name="do" value="replay" formaction=(visit.at("/replay")) { (lang.replay()) } }
            }
        }
        @if !is_new {
            form.apart method="post" action=(visit.at(&format!("/documents/{id}"))) {
                (visit.proof())
                (visit.guarded(forbidden.as_deref(), "danger", (lang.delete_ask(), "do", "delete")))
            }
        }
        (history(visit, id).await)
    };
    let calls = vec![
        format!("GET /documents/{id}"),
        format!("PUT /documents/{id}?dry_run=true"),
        format!("GET /documents/{id}/history"),
    ];
    let page = Page { tab: Tab::Documents, title: id.to_string(), calls, main };
    Ok(visit.page_with(told.status.unwrap_or(StatusCode::OK), page).await)
}

/// Why this person may not change this document.
fn forbids(visit: &Visit, id: &DocumentId, owner: Option<&str>) -> Option<String> {
    let view = visit.control().view();
    let lang = visit.lang();
    if owner.is_some() {
        return Some(lang.owned().to_owned());
    }
    if let Some(why) = visit.forbids(Permission::Write) {
        return Some(why);
    }
    let text = view.set.documents.get(id)?;
    let touch = view.touch(id, &text.body);
    visit.who.may(Permission::Write, &touch).err().map(|_| match touch {
        crate::people::Touch::All => lang.needs_role_for("editor", lang.all_services()),
        crate::people::Touch::Services(names) => {
            lang.needs_role_for("editor", names.into_iter().collect::<Vec<_>>().join(", "))
        }
    })
}

fn rows(text: &str) -> usize {
    (text.lines().count() + 2).clamp(8, 40)
}

async fn history(visit: &Visit, id: &DocumentId) -> Markup {
    let lang = visit.lang();
    let items = visit
        .control()
        .history(&visit.who, id, (HISTORY, None))
        .await
        .map(|(items, _)| items)
        .unwrap_or_default();
    html! {
        section aria-labelledby="history-title" {
            h2 #history-title { (lang.history()) }
            @if items.is_empty() { p.none { (lang.no_history()) } }
            @else {
                div.scroll tabindex="0" role="group" aria-label=(lang.history()) { table {
                    caption.unseen { (lang.history()) }
                    thead { tr {
                        th scope="col" { (lang.time()) }
                        th scope="col" { (lang.who()) }
                        th scope="col" { (lang.what()) }
                        th scope="col" { (lang.reason()) }
                        th scope="col" { (lang.difference()) }
                        th scope="col" { (lang.undo()) }
                    } }
                    tbody { @for (index, item) in items.iter().enumerate() { (change(visit, id, (item, index == 0))) } }
                } }
            }
        }
    }
}

fn change(visit: &Visit, id: &DocumentId, (item, is_newest): (&HistoryShown, bool)) -> Markup {
    let lang = visit.lang();
    let text = |shown: &Option<crate::control::TextShown>| {
        shown.as_ref().and_then(|shown| shown.text.clone()).unwrap_or_default()
    };
    let diff = similar::TextDiff::from_lines(text(&item.before).as_str(), text(&item.after).as_str())
        .unified_diff()
        .context_radius(3)
        .to_string();
    html! {
        tr {
            td { (moment(&item.time)) }
            td { (visit.person(&item.who)) " " span.none { (item.via) } }
            td { (item.action) }
            td { (item.reason.as_deref().unwrap_or_default()) }
            td { details { summary { (lang.show_it()) } (difference(lang, &diff)) } }
            td {
                @if is_newest { span.none { (lang.it_is_this()) } }
                @else {
                    form.inline method="post" action=(visit.at(&format!("/documents/{id}"))) {
                        (visit.proof())
                        input type="hidden" name="to" value=(item.revision);
                        (visit.choice(Permission::Write, "quiet", (lang.undo_to_this(), "do", "undo")))
                    }
                }
            }
        }
    }
}

/// What a new document of a kind may look like.
fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::Rule => {
            "# Who gets which version; the first rule that matches decides.\nservices: [patient]\nwhen: {attribute: header:x-tester, equals: \"yes\"}\nversion: gray\n"
        }
        Kind::Service => {
            "instances:\n  - {address: \"127.0.0.1:9001\", version: release}\n  - {address: \"127.0.0.1:9002\", version: gray}\n"
        }
        Kind::Route => "paths: [{prefix: /patient}]\nservice: patient\n",
        Kind::Instance => "address: \"127.0.0.1:9001\"\nversion: release\n",
        Kind::Closure => "service: patient\nversion: gray\nbecause: it fails\n",
        Kind::Plan => {
            "title: gray for a few users first\nservices: [patient]\nversion: gray\nsteps:\n  - {share: 1, hold: 10m}\n  - {share: 10, hold: 30m}\n  - {share: 100, hold: 1h}\n"
        }
        Kind::Messages => "topics: [orders]\ngroup: patient\nservice: patient\nlanes: [gray]\n",
        Kind::List => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_found_in_the_text() {
        let text = "services: [patient]\nwhen:\n  all:\n    - {attribute: path, prefix: /x}\n    - attribute: nothing\n      equals: y\nversion: gray\n";
        for (field, line) in
            [("version", 7), ("when.all[1].attribute", 5), ("services[0]", 1), ("when.all[1]", 5)]
        {
            assert_eq!(line_of(text, field), Some(line), "{field}");
        }
    }

    #[test]
    fn samples_are_good_documents() {
        use graygate_rules::documents::{Raw, parse};
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::List) {
            let name = match kind {
                Kind::Instance => "patient/a",
                Kind::Closure => "patient.gray",
                _ => "x",
            };
            let id = DocumentId::of(kind, name).unwrap();
            let read = parse(&id, &Raw::yaml(sample(kind)));
            assert!(read.is_ok(), "{kind:?}: {read:?}");
        }
    }
}
