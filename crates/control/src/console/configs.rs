//! Configuration values: the items, and what plans give to some instances instead.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::shell::{Page, Tab};
use super::show::{difference, more, reason, refusal};
use super::visit::{Fields, Form, Visit};
use crate::configs::{ItemDone, ItemId, ItemPlace, ItemShown, KeptItem};
use crate::control::Precondition;
use crate::error::{Error, Result};
use crate::people::Permission;

/// Items of a page.
const ROWS: usize = 100;
/// Letters of a value in a list; the whole stands on its own page.
const VALUE_SHOWN: usize = 120;

/// What a form asked for, and what came of it.
struct Asked<'f> {
    fields: &'f Fields,
    above: Markup,
    /// Whether the difference was shown, so that it can be saved.
    is_looked_at: bool,
}

pub async fn show(visit: Visit) -> Result<Response> {
    match visit.asked("item") {
        "" => list(&visit).await,
        name => {
            let id = item_of(name)?;
            let kept = kept(&visit, &id).await?.ok_or_else(|| Error::not_found(id.record()))?;
            one(&visit, Some((&id, &kept)), (StatusCode::OK, None)).await
        }
    }
}

fn item_of(name: &str) -> Result<ItemId> {
    let mut parts = name.splitn(4, '/');
    let mut part = || parts.next().unwrap_or_default();
    let (app, environment, group) = (part(), part(), part());
    ItemId::of(ItemPlace::of(app, environment, Some(group))?, part())
}

async fn kept(visit: &Visit, id: &ItemId) -> Result<Option<KeptItem>> {
    match visit.control().config_item(&visit.who, id).await {
        Ok(kept) => Ok(Some(kept)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn list(visit: &Visit) -> Result<Response> {
    let lang = visit.lang();
    let some = |key: &str| Some(visit.asked(key).trim()).filter(|text| !text.is_empty());
    let after = some("after").map(item_of).transpose()?;
    visit.control().look_at_configs().await?;
    let (items, next) =
        visit.control().config_items(&visit.who, (some("app"), some("filter")), (after.as_ref(), ROWS))?;
    let main = html! {
        h1 { (lang.configs()) }
        p { (lang.configs_note()) }
        form.filters method="get" action=(visit.at("/configs")) role="search" aria-label=(lang.filter()) {
            label for="app" { (lang.app()) } input #app name="app" value=(visit.asked("app"));
            label for="filter" { (lang.name_contains()) }
            input #filter type="search" name="filter" value=(visit.asked("filter")) data-search;
            button type="submit" { (lang.filter()) }
        }
        div.scroll tabindex="0" role="group" aria-label=(lang.configs()) {
            table.rows #configs data-live="document plan" {
                caption.unseen { (lang.configs()) }
                thead { tr {
                    th scope="col" { (lang.app()) } th scope="col" { (lang.environment()) } th scope="col" { (lang.group()) }
                    th scope="col" { (lang.key()) } th scope="col" { (lang.value()) } th scope="col" { (lang.gray_value()) }
                } }
                tbody { @for item in &items { (row(visit, item)) } }
            }
        }
        @if items.is_empty() { p.none { (lang.no_items()) } }
        (more(&visit.look, next.map(|id| id.to_string()).as_deref()))
        section aria-labelledby="new-title" {
            h2 #new-title { (lang.new_item()) }
            (form(visit, None, &Asked { fields: &Fields::default(), above: html! {}, is_looked_at: false }))
        }
    };
    Ok(visit
        .page(Page {
            tab: Tab::Configs,
            title: lang.configs().to_owned(),
            calls: calls("APP/ENVIRONMENT/GROUP/KEY"),
            main,
        })
        .await)
}

fn calls(name: &str) -> Vec<String> {
    vec!["GET /configs".to_owned(), format!("GET /configs/{name}"), format!("PUT /configs/{name}")]
}

fn link(visit: &Visit, name: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("item", name).finish();
    visit.at(&format!("/configs?{query}"))
}

fn row(visit: &Visit, item: &ItemShown) -> Markup {
    let name = format!("{}/{}/{}/{}", item.app, item.environment, item.group, item.key);
    let shown: String = item.value.chars().take(VALUE_SHOWN).collect();
    let is_cut = shown.len() < item.value.len();
    html! {
        tr {
            td { (item.app) } td { (item.environment) } td { (item.group) }
            td { a.open href=(link(visit, &name)) { code { (item.key) } } }
            td { code { (shown) @if is_cut { "…" } } }
            td { (given(visit, item)) }
        }
    }
}

/// What running plans give to some instead.
fn given(visit: &Visit, item: &ItemShown) -> Markup {
    let audiences = visit.control().configs.audiences();
    let value = |plan: &str| {
        let of_plan = audiences.all.iter().find(|audience| audience.plan == plan)?;
        of_plan.values.get(&item.key).map(ToString::to_string)
    };
    html! {
        @if item.plans.is_empty() { span.none { "–" } }
        @for plan in &item.plans {
            @if let Some(value) = value(plan) { code { (value.chars().take(VALUE_SHOWN).collect::<String>()) } " · " }
            a href=(visit.at(&format!("/plans/{plan}"))) { (plan) } " "
        }
    }
}

async fn one(
    visit: &Visit,
    known: Option<(&ItemId, &KeptItem)>,
    (status, asked): (StatusCode, Option<Asked<'_>>),
) -> Result<Response> {
    let lang = visit.lang();
    let nothing = Fields::default();
    let asked = asked.unwrap_or(Asked { fields: &nothing, above: html! {}, is_looked_at: false });
    let name = known.map(|(id, _)| id.to_string());
    let title = name.clone().unwrap_or_else(|| lang.new_item().to_owned());
    let main = html! {
        h1 { (lang.config_item()) " " @if let Some(name) = &name { code { (name) } } }
        @if visit.asked("done") == "saved" { p.flash role="status" { span.shape aria-hidden="true" { "✓" } " " (lang.saved()) } }
        p {
            a href=(visit.at("/configs")) { (lang.configs()) }
            @if let Some((id, _)) = known {
                @let query = form_urlencoded::Serializer::new(String::new()).append_pair("what", &id.record()).finish();
                " · " a href=(visit.at(&format!("/audit?{query}"))) { (lang.history()) }
            }
        }
        (asked.above)
        (form(visit, known, &asked))
        @if let Some((id, kept)) = known { (removal(visit, (id, kept))) }
    };
    let calls = calls(name.as_deref().unwrap_or("APP/ENVIRONMENT/GROUP/KEY"));
    Ok(visit.page_with(status, Page { tab: Tab::Configs, title, calls, main }).await)
}

/// Writes an item in two steps: the difference, and exactly that.
fn form(visit: &Visit, known: Option<(&ItemId, &KeptItem)>, asked: &Asked<'_>) -> Markup {
    let lang = visit.lang();
    let forbidden = visit.forbids(Permission::Write);
    let forbidden = forbidden.as_deref();
    let fields = asked.fields;
    let of = |name: &str| fields.get(name).to_owned();
    let value = if fields.is_empty() {
        known.map(|(_, kept)| kept.value.clone()).unwrap_or_default()
    } else {
        fields.text("value")
    };
    html! {
        form.item method="post" action=(visit.at("/configs")) data-unsaved {
            (visit.proof())
            @match known {
                Some((id, kept)) => {
                    input type="hidden" name="item" value=(id);
                    input type="hidden" name="etag" value=(kept.etag);
                },
                None => div.filters {
                    label for="new-app" { (lang.app()) } input #new-app name="app" required maxlength="128" autocomplete="off" value=(of("app"));
                    label for="new-environment" { (lang.environment()) } input #new-environment name="environment" required maxlength="128" autocomplete="off" value=(of("environment"));
                    label for="new-group" { (lang.group()) } input #new-group name="group" maxlength="128" autocomplete="off" placeholder="default" value=(of("group"));
                    label for="new-key" { (lang.key()) } input #new-key name="key" required maxlength="512" autocomplete="off" value=(of("key"));
                },
            }
            label for="value" { (lang.value()) }
            textarea #value .code name="value" rows=(if known.is_some() { "6" } else { "2" }) spellcheck="false" { "\n" (value) }
            (reason(lang, fields.get("reason")))
            p.buttons {
                (visit.guarded(forbidden, if asked.is_looked_at { "" } else { "main" }, (lang.look_at_difference(), "do", "look")))
                @if asked.is_looked_at {
                    input type="hidden" name="shown" value=(value);
                    (visit.guarded(forbidden, "main", (lang.save_this(), "do", "save")))
                }
            }
        }
    }
}

fn removal(visit: &Visit, (id, kept): (&ItemId, &KeptItem)) -> Markup {
    let lang = visit.lang();
    let audiences = visit.control().configs.audiences();
    let plans = audiences.of_key(&id.to_string()).filter(|audience| audience.is_giving()).count();
    html! {
        form.apart method="post" action=(visit.at("/configs")) {
            (visit.proof())
            input type="hidden" name="item" value=(id);
            input type="hidden" name="etag" value=(kept.etag);
            p { (lang.removes_item(kept.value.len(), plans)) }
            p.buttons { (visit.guarded(visit.forbids(Permission::Write).as_deref(), "danger", (lang.delete(), "do", "delete"))) }
        }
    }
}

pub async fn act(form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let id = match fields.get("item") {
        "" => {
            let group = fields.some("group");
            let place =
                ItemPlace::of(fields.get("app").trim(), fields.get("environment").trim(), group.as_deref())?;
            ItemId::of(place, fields.get("key").trim())?
        }
        name => item_of(name)?,
    };
    let known = if fields.get("item").is_empty() { None } else { kept(&visit, &id).await? };
    let known = known.as_ref().map(|kept| (&id, kept));
    let done = match fields.get("do") {
        "look" => return looked_at(&visit, known, &fields).await,
        "delete" => write(&visit, (&id, None), &fields).await,
        _ if fields.text("shown") != fields.text("value") => return looked_at(&visit, known, &fields).await,
        _ => write(&visit, (&id, Some(fields.text("value"))), &fields).await,
    };
    match done {
        Ok(ItemDone::Written { etag: None, .. }) => Ok(visit.go("/configs")),
        Ok(ItemDone::Written { .. }) => {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("item", &id.to_string()).finish();
            Ok(visit.go(&format!("/configs?{query}&done=saved")))
        }
        Ok(ItemDone::Waiting(proposal)) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let asked = Asked { fields: &fields, above: refusal(&visit.look, &error), is_looked_at: false };
            let mut response = one(&visit, known, (status, Some(asked))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

async fn looked_at(visit: &Visit, known: Option<(&ItemId, &KeptItem)>, fields: &Fields) -> Result<Response> {
    let lang = visit.lang();
    let before = known.map(|(_, kept)| kept.value.as_str()).unwrap_or_default();
    let after = fields.text("value");
    let diff = similar::TextDiff::from_lines(before, &after).unified_diff().context_radius(3).to_string();
    let above = html! { section aria-labelledby="shown-title" {
        h2 #shown-title tabindex="-1" data-focus { (lang.what_would_happen()) }
        (difference(lang, &diff))
    } };
    one(visit, known, (StatusCode::OK, Some(Asked { fields, above, is_looked_at: true }))).await
}

async fn write(visit: &Visit, (id, value): (&ItemId, Option<String>), fields: &Fields) -> Result<ItemDone> {
    let condition = match fields.some("etag") {
        Some(etag) => Precondition { if_match: Some(etag), ..Precondition::default() },
        None => Precondition { if_none_match: Some("*".to_owned()), ..Precondition::default() },
    };
    visit.control().put_config_item(&visit.who, (id, value), Some(&condition), fields.some("reason")).await
}
