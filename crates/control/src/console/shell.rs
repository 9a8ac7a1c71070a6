//! The frame around every page: what one sees on all of them, and what the script needs to know.

use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::assets::{ASSETS, build};
use super::visit::{Look, Theme, Visit};
use crate::api::BASE;
use crate::people::{Permission, Principal};
use crate::report::Language;

/// A page's place in the navigation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    Overview,
    Services,
    Plans,
    Documents,
    Why,
    Configs,
    Fleet,
    Audit,
    Messages,
    People,
}

impl Tab {
    /// Those that stand in the navigation; a service is reached from the overview.
    const SHOWN: [Tab; 9] = [
        Tab::Overview,
        Tab::Plans,
        Tab::Documents,
        Tab::Why,
        Tab::Configs,
        Tab::Fleet,
        Tab::Audit,
        Tab::Messages,
        Tab::People,
    ];

    fn path(self) -> &'static str {
        match self {
            Tab::Overview | Tab::Services => "/",
            Tab::Plans => "/plans",
            Tab::Documents => "/documents",
            Tab::Why => "/why",
            Tab::Configs => "/configs",
            Tab::Fleet => "/fleet",
            Tab::Audit => "/audit",
            Tab::Messages => "/messages",
            Tab::People => "/people",
        }
    }

    pub fn name(self, lang: Language) -> &'static str {
        match self {
            Tab::Overview => lang.overview(),
            Tab::Services => lang.services(),
            Tab::Plans => lang.plans(),
            Tab::Documents => lang.documents(),
            Tab::Why => lang.why(),
            Tab::Configs => lang.configs(),
            Tab::Fleet => lang.fleet(),
            Tab::Audit => lang.audit(),
            Tab::Messages => lang.messages(),
            Tab::People => lang.people(),
        }
    }

    /// The key behind `g`.
    fn key(self) -> &'static str {
        match self {
            Tab::Overview | Tab::Services => "o",
            Tab::Plans => "p",
            Tab::Documents => "d",
            Tab::Why => "w",
            Tab::Configs => "c",
            Tab::Fleet => "f",
            Tab::Audit => "a",
            Tab::Messages => "m",
            Tab::People => "u",
        }
    }
}

/// What a page is.
pub struct Page {
    pub tab: Tab,
    pub title: String,
    /// The calls of the API that tell or do the same, such as `GET /services`.
    pub calls: Vec<String>,
    pub main: Markup,
}

/// What waits, for all pages.
#[derive(Clone, Default, Debug)]
pub struct Waiting {
    /// Where it is decided, and in a few words what.
    pub items: Vec<(String, String)>,
    pub unread: usize,
}

/// Most messages that are looked through for unread ones.
const UNREAD_LOOKED: usize = 100;

impl Visit {
    /// A whole page.
    pub async fn page(&self, page: Page) -> Response {
        self.page_with(StatusCode::OK, page).await
    }

    pub async fn page_with(&self, status: StatusCode, page: Page) -> Response {
        let waiting = self.waiting().await;
        let stale = self.control().state.stale().map(|stale| stale.as_secs());
        let markup = frame(&self.look, Some(&self.who), (page, &waiting, stale));
        let mut response = (status, Html(markup.into_string())).into_response();
        self.look.remember(&mut response);
        response
    }

    /// What waits for this person. A store that is away makes no one wait for a page.
    pub async fn waiting(&self) -> Waiting {
        let control = self.control();
        let mut waiting = Waiting::default();
        if self.who.may_somewhere(Permission::Approve).is_ok() {
            for proposal in control.proposals(&self.who).await.unwrap_or_default() {
                if proposal.state == crate::control::ProposalState::Waiting && proposal.who != self.who.name {
                    let what = format!("{} {}", proposal.action, proposal.object);
                    waiting.items.push((format!("/proposals/{}", proposal.id), what));
                }
            }
        }
        waiting.items.extend(self.approvals().await);
        if let Ok((messages, _)) = control.messages(&self.who, (UNREAD_LOOKED, None)).await {
            waiting.unread = messages.iter().filter(|message| !message.read).count();
        }
        waiting
    }
}

impl Visit {
    /// Plans that wait for an approval this person may give.
    async fn approvals(&self) -> Vec<(String, String)> {
        if self.who.may_somewhere(Permission::Approve).is_err() {
            return Vec::new();
        }
        let plans = self.control().plans_shown(&self.who, None).await.unwrap_or_default();
        let waiting = plans
            .iter()
            .filter(|plan| plan.waiting_for.iter().any(|each| each.starts_with("approval of step")));
        waiting.map(|plan| (format!("/plans/{}", plan.name), self.lang().approval_of(&plan.name))).collect()
    }
}

/// A page for someone who is not signed in, or of an error.
pub fn bare(look: &Look, (status, who): (StatusCode, Option<&Principal>), page: Page) -> Response {
    let markup = frame(look, who, (page, &Waiting::default(), None));
    let mut response = (status, Html(markup.into_string())).into_response();
    look.remember(&mut response);
    response
}

fn frame(
    look: &Look,
    who: Option<&Principal>,
    (page, waiting, stale): (Page, &Waiting, Option<u64>),
) -> Markup {
    let lang = look.lang;
    let assets = &*ASSETS;
    let count = waiting.items.len();
    let mark = if count > 0 { format!("({count}) ") } else { String::new() };
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) data-theme=(look.theme.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (mark) (page.title) " · " (look.host) " · graygate" }
                link rel="icon" type="image/svg+xml" href=(look.at(&format!("/static/{}", assets.icon.name)));
                link rel="stylesheet" href=(look.at(&format!("/static/{}", assets.style.name)));
                script type="module" src=(look.at(&format!("/static/{}", assets.script.name))) {}
            }
            (body(look, who, (page, waiting, stale), lang))
        }
    }
}

fn body(
    look: &Look,
    who: Option<&Principal>,
    (page, waiting, stale): (Page, &Waiting, Option<u64>),
    lang: Language,
) -> Markup {
    let csrf = who.and_then(|who| who.csrf.as_deref()).unwrap_or_default();
    let events = if who.is_some() { look.at(&format!("{BASE}/events")) } else { String::new() };
    html! {
        body data-prefix=(look.prefix) data-build=(build()) data-csrf=(csrf) data-events=(events)
            data-user=(who.map(|who| who.name.as_str()).unwrap_or_default())
            data-word-stale=(lang.stale()) data-word-old=(lang.seconds_old()) data-word-out=(lang.signed_out())
            data-word-polling=(lang.polling()) data-word-unsaved=(lang.changed_meanwhile())
            data-word-live=(lang.live()) data-word-columns=(lang.columns()) data-word-width=(lang.width()) {
            a.skip href="#main" { (lang.to_content()) }
            (header(look, who, lang))
            @if who.is_some() { (navigation(look, page.tab, waiting)) }
            div #waiting data-live="plan message document" {
                @if !waiting.items.is_empty() { (banner(look, waiting)) }
                @if let Some(seconds) = stale {
                    p.banner.bad role="alert" { (lang.stale_for(seconds)) }
                }
            }
            main #main tabindex="-1" { (page.main) }
            (footer(lang, &page.calls))
            @if who.is_some() { (dialogs(look, lang)) }
            p #said .unseen role="status" {}
        }
    }
}

fn header(look: &Look, who: Option<&Principal>, lang: Language) -> Markup {
    let other = if lang == Language::English { Language::Chinese } else { Language::English };
    html! {
        header class=(format!("top hue-{}", hue(&look.host))) {
            a.brand href=(look.at("/")) aria-label=(lang.home()) { "graygate" }
            span.environment title=(lang.environment()) { (look.host) }
            @if who.is_some() {
                form.find role="search" method="get" action=(look.at("/find")) {
                    label.unseen for="find" { (lang.find()) }
                    input #find type="search" name="q" placeholder=(lang.find_hint()) autocomplete="off" maxlength="1024";
                }
            }
            span.fill {}
            @if who.is_some() { span #live .live role="status" {} }
            a.choice href=(look.with("lang", other.code())) lang=(other.tag()) hreflang=(other.tag()) { (lang.other_language()) }
            (themes(look, lang))
            @if let Some(who) = who { (account(look, who, lang)) }
        }
    }
}

fn themes(look: &Look, lang: Language) -> Markup {
    html! {
        details.menu {
            summary { (lang.theme()) }
            ul {
                @for theme in Theme::ALL {
                    @let name = match theme {
                        Theme::System => lang.theme_system(),
                        Theme::Light => lang.theme_light(),
                        Theme::Dark => lang.theme_dark(),
                    };
                    li { a href=(look.with("theme", theme.code())) aria-current=[(theme == look.theme).then_some("true")] { (name) } }
                }
            }
        }
    }
}

fn account(look: &Look, who: &Principal, lang: Language) -> Markup {
    let is_reader = who.may_somewhere(Permission::Write).is_err();
    html! {
        span.user {
            span.unseen { (lang.signed_in_as()) " " } (who.name)
            @if is_reader { " " span.mark { (lang.read_only()) } }
        }
        form.inline method="post" action=(look.at("/sign-out")) {
            input type="hidden" name="csrf" value=(who.csrf.as_deref().unwrap_or_default());
            button.quiet type="submit" { (lang.sign_out()) }
        }
    }
}

fn navigation(look: &Look, current: Tab, waiting: &Waiting) -> Markup {
    let lang = look.lang;
    html! {
        nav.tabs aria-label=(lang.main_navigation()) {
            ul {
                @for tab in Tab::SHOWN {
                    li {
                        a href=(look.at(tab.path())) data-key=(tab.key()) aria-current=[(tab == current).then_some("page")] {
                            (tab.name(lang))
                            @if tab == Tab::Messages && waiting.unread > 0 {
                                " " span.count title=(lang.unread_count(waiting.unread)) { (waiting.unread) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn banner(look: &Look, waiting: &Waiting) -> Markup {
    let lang = look.lang;
    html! {
        p.banner {
            strong { (lang.waiting_count(waiting.items.len())) ": " }
            @for (index, (path, what)) in waiting.items.iter().take(5).enumerate() {
                @if index > 0 { ", " }
                a href=(look.at(path)) { (what) }
            }
        }
    }
}

fn footer(lang: Language, calls: &[String]) -> Markup {
    html! {
        footer {
            @if !calls.is_empty() {
                details {
                    summary { (lang.as_curl()) }
                    @for call in calls { (curl(call)) }
                }
            }
            button #keys-open .quiet type="button" hidden { (lang.keys()) " (?)" }
            noscript { p { (lang.no_script()) } }
        }
    }
}

/// A call as one types it.
fn curl(call: &str) -> Markup {
    let (method, path) = call.split_once(' ').unwrap_or(("GET", call));
    let method = if method == "GET" { String::new() } else { format!("-X {method} ") };
    html! {
        pre.curl tabindex="0" { code { "curl " (method) "-H \"Authorization: Bearer $GRAYGATE_TOKEN\" \"$GRAYGATE_URL" (BASE) (path) "\"" } }
    }
}

fn dialogs(look: &Look, lang: Language) -> Markup {
    let keys = [
        ("?", lang.key_help()),
        ("/", lang.key_find()),
        ("Ctrl+K", lang.key_go()),
        ("g", lang.key_g()),
        ("j k", lang.key_rows()),
        ("Enter", lang.key_enter()),
        ("Esc", lang.key_escape()),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { (lang.keys()) }
            dl.keys { @for (key, what) in keys { dt { kbd { (key) } } dd { (what) } } }
            p { (lang.keys_note()) }
            p { label { input #keys-single type="checkbox" checked; " " (lang.keys_single()) } }
            form method="dialog" { button type="submit" { (lang.close()) } }
        }
        dialog #palette aria-labelledby="palette-title" {
            h2 #palette-title { (lang.go_to()) }
            form method="get" action=(look.at("/find")) {
                label.unseen for="palette-find" { (lang.find()) }
                input #palette-find type="search" name="q" placeholder=(lang.find_hint()) autocomplete="off" maxlength="1024";
            }
            div #palette-found aria-live="polite" {}
        }
    }
}

/// One of eight colours, the same for the same host: so that one does not take one place for another.
fn hue(host: &str) -> u32 {
    crc32fast::hash(host.as_bytes()) % 8
}
