//! Plans: all of them, and one with its steps, its evidence, what it waits for and its buttons.
//!
//! The buttons are named as the actions are. What the state or a role forbids is there, disabled, and says why; what takes
//! something from users says it in numbers before it is pressed.

use axum::response::Response;
use graygate_judge::plan::{Action, Rule, State, Waiting, rule};
use http::StatusCode;
use maud::{Markup, html};

use super::now::Lived;
use super::plan_evidence::{evidence, evidence_lines, remember, side_by_side, verdict};
use super::plan_marks::{span_of, state_mark, waited_for};
use super::shell::{Page, Tab};
use super::show::{count, difference, moment, percent, refusal};
use super::visit::{Fields, Form, Visit};
use crate::api::Named;
use crate::control::{ActionAsked, ActionDone, PlanRead};
use crate::error::Result;
use crate::people::Permission;
use crate::plans::{GuardShown, PlanShown, RollbackShown, RunShown};
use crate::report::Language;

/// Plans of a page.
const ROWS: usize = 200;
/// Runs of a plan that are shown.
const RUNS: usize = 10;

pub async fn list(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let filter = Some(visit.asked("filter")).filter(|text| !text.is_empty());
    let mut plans = visit.control().plans_shown(&visit.who, filter).await?;
    let state = visit.asked("state");
    plans.retain(|plan| state.is_empty() || plan.state == state);
    match visit.asked("sort") {
        "-name" => plans.reverse(),
        "state" => plans.sort_by(|left, right| left.state.cmp(&right.state)),
        "share" => plans.sort_by(|left, right| right.share.total_cmp(&left.share)),
        _ => {}
    }
    let total = plans.len();
    plans.truncate(ROWS);
    let main = html! {
        h1 { (lang.plans()) }
        p { a.action href=(visit.at("/plans/new")) { (lang.new_plan()) } }
        form.filters method="get" action=(visit.at("/plans")) role="search" aria-label=(lang.filter()) {
            label for="filter" { (lang.name_contains()) }
            input #filter type="search" name="filter" value=(visit.asked("filter")) data-search;
            label for="state" { (lang.state()) }
            select #state name="state" {
                option value="" { (lang.all_states()) }
                @for each in State::ALL { option value=(each.as_str()) selected[each.as_str() == state] { (lang.state_name(each.as_str())) } }
            }
            button type="submit" { (lang.filter()) }
        }
        p { (lang.plans_count(total)) }
        div.scroll tabindex="0" role="group" aria-label=(lang.plans()) {
            table.rows #plans data-live="plan document services" {
                caption.unseen { (lang.plans()) }
                thead { tr {
                    (sorted(&visit, "", lang.name())) (sorted(&visit, "state", lang.state()))
                    th scope="col" { (lang.services()) } th scope="col" { (lang.version()) }
                    th scope="col" { (lang.step()) } (sorted(&visit, "share", lang.share()))
                    th scope="col" { (lang.evidence()) } th scope="col" { (lang.waits_for()) }
                } }
                tbody { @for plan in &plans { (row(&visit, plan)) } }
            }
        }
        @if plans.is_empty() { p.none { (lang.no_plans()) } }
    };
    let calls = vec!["GET /plans".to_owned()];
    Ok(visit.page(Page { tab: Tab::Plans, title: lang.plans().to_owned(), calls, main }).await)
}

fn sorted(visit: &Visit, key: &str, name: &str) -> Markup {
    let is_it = visit.asked("sort") == key;
    html! {
        th scope="col" aria-sort=[is_it.then_some("other")] { a href=(visit.look.with("sort", key)) { (name) @if is_it { span.shape aria-hidden="true" { " ▲" } } } }
    }
}

fn row(visit: &Visit, plan: &PlanShown) -> Markup {
    html! {
        tr {
            td { a.open href=(visit.at(&format!("/plans/{}", plan.name))) { (plan.name) }
                @if let Some(title) = &plan.title { br; span.none { (title) } } }
            td { (state_mark(visit.lang(), plan)) }
            td { (plan.services.join(", ")) }
            td { (plan.version.as_deref().unwrap_or("–")) }
            td { (plan.steps_begun) "/" (plan.steps.len()) }
            td { (percent(plan.share / 100.0)) }
            td { (nearest(visit.lang(), plan)) }
            td { @if let Some(first) = plan.waiting_for.first() { (visit.lang().tell(first)) } }
        }
    }
}

/// The guard that is nearest to saying regression.
fn nearest(lang: Language, plan: &PlanShown) -> Markup {
    let part =
        |guard: &GuardShown| Some(guard.log10_e? / guard.log10_threshold.filter(|limit| *limit > 0.0)?);
    let most = plan.guards.iter().filter_map(|(name, guard)| Some((name, guard, part(guard)?)));
    let most = most.max_by(|left, right| left.2.total_cmp(&right.2));
    match most {
        None => html! { span.none { "–" } },
        Some((name, guard, _)) => html! { (name) ": " (verdict(lang, guard)) },
    }
}

pub async fn show(visit: Visit, Named(name): Named<String>) -> Result<Response> {
    let read = visit.control().plan(&visit.who, &name).await?;
    let above = flash(&visit);
    page(&visit, &read, (StatusCode::OK, above)).await
}

fn flash(visit: &Visit) -> Option<Markup> {
    let lang = visit.lang();
    let action = Action::ALL.into_iter().find(|action| action.as_str() == visit.asked("done"))?;
    Some(
        html! { p.flash role="status" { span.shape aria-hidden="true" { "✓" } " " (lang.action_name(action)) ": " (lang.done()) } },
    )
}

async fn page(
    visit: &Visit,
    read: &PlanRead,
    (status, above): (StatusCode, Option<Markup>),
) -> Result<Response> {
    let lang = visit.lang();
    let mut plan = read.shown();
    let lines = evidence_lines(visit, &plan).await;
    remember(&mut plan, &lines);
    let services = visit.lived().unwrap_or_default();
    let runs = visit.control().plan_runs(&visit.who, &plan.name).await.unwrap_or_default();
    let waiting: Vec<Waiting> = read
        .sight
        .as_ref()
        .filter(|sight| sight.is_of(&read.kept))
        .map(|sight| sight.waiting.clone())
        .unwrap_or_default();
    let main = html! {
        h1 { (lang.plan_named(&plan.name)) @if let Some(title) = &plan.title { ": " (title) } }
        @if let Some(above) = above { (above) }
        div #plan-state data-live="plan document services" {
            p.verdict { (state_mark(lang, &plan)) " " (sentence(lang, &plan)) }
            @if let Some(why) = &plan.why { p { (lang.because()) " " (lang.tell(why)) } }
            (waits(visit, &waiting))
            (edited(visit, &plan))
        }
        section aria-labelledby="actions-title" {
            h2 #actions-title { (lang.actions()) }
            div #plan-actions data-live="plan document" { (actions(visit, read, (&plan, &services))) }
        }
        section aria-labelledby="steps-title" {
            h2 #steps-title { (lang.steps()) }
            div #plan-steps data-live="plan document services" { (steps(visit, &plan)) }
        }
        section aria-labelledby="evidence-title" {
            h2 #evidence-title { (lang.evidence()) }
            div #plan-evidence data-live="plan services" { (evidence(visit, &plan, (&lines, &runs))) }
        }
        section aria-labelledby="sides-title" {
            h2 #sides-title { (lang.side_by_side()) }
            div #plan-sides data-live="services" { (side_by_side(visit, &plan, &services)) }
        }
        div #plan-runs data-live="plan" { (history(visit, &plan, &runs)) }
    };
    let name = &plan.name;
    let calls = vec![
        format!("GET /plans/{name}"),
        format!("POST /plans/{name}/start"),
        format!("POST /plans/{name}/rollback"),
        format!("GET /plans/{name}/evidence"),
    ];
    Ok(visit.page_with(status, Page { tab: Tab::Plans, title: plan.name.clone(), calls, main }).await)
}

/// Where it is, in one sentence of words and numbers.
fn sentence(lang: Language, plan: &PlanShown) -> String {
    let version = plan.version.clone().unwrap_or_else(|| lang.other_values().to_owned());
    lang.plan_sentence(
        version,
        plan.services.join(", "),
        percent(plan.share / 100.0),
        plan.steps_begun,
        plan.steps.len(),
        count(plan.requests.gray),
        count(plan.requests.release),
    )
}

fn waits(visit: &Visit, waiting: &[Waiting]) -> Markup {
    let lang = visit.lang();
    html! {
        @if !waiting.is_empty() {
            p { strong { (lang.waits_for()) ":" } }
            ul.waits { @for each in waiting { li { (waited_for(lang, each)) } } }
        }
    }
}

/// What the document says by now, beside the copy that counts.
fn edited(visit: &Visit, plan: &PlanShown) -> Markup {
    let lang = visit.lang();
    let Some(running) = plan.running.as_ref().filter(|_| plan.edited) else { return html! {} };
    let new = plan.text.as_deref().unwrap_or_default();
    let diff = similar::TextDiff::from_lines(running.text.as_str(), new)
        .unified_diff()
        .context_radius(3)
        .to_string();
    html! { div.banner { p { (lang.edited_while_running()) } (difference(lang, &diff)) } }
}

fn steps(visit: &Visit, plan: &PlanShown) -> Markup {
    let lang = visit.lang();
    html! {
        ol.steps {
            @for (index, step) in plan.steps.iter().enumerate() {
                @let is_now = index + 1 == plan.steps_begun && matches!(plan.state.as_str(), "ACTIVE" | "PAUSED");
                li class=(if is_now { "now" } else if step.has_begun { "begun" } else { "" }) aria-current=[is_now.then_some("step")] {
                    span.shape aria-hidden="true" { (if is_now { "▶" } else if step.has_begun { "●" } else { "○" }) } " "
                    (lang.step()) " " (index + 1)
                    @if let Some(name) = &step.name { " " (name) }
                    ": "
                    @if let Some(share) = step.share { strong { (percent(share / 100.0)) } }
                    @if step.has_who { " " (lang.chosen_people()) }
                    " · " (lang.holds()) " " (span_of(step.hold_seconds))
                    @if step.approval { " · " span.mark { (lang.needs_approval()) } }
                    @if is_now {
                        @let left = step.hold_seconds.saturating_sub(plan.held_seconds);
                        " · " span data-countdown=(left) { (lang.held_of(span_of(plan.held_seconds), span_of(step.hold_seconds))) }
                    }
                }
            }
        }
    }
}

/// Why an action cannot be done now: the state first, then the role.
fn forbidden(visit: &Visit, read: &PlanRead, action: Action) -> Option<String> {
    let lang = visit.lang();
    let state = read.kept.progress.state;
    match rule(state, action) {
        Rule::Refused(_) => return Some(lang.not_in_state(lang.state_name(state.as_str()))),
        Rule::Approved if !waits_for_approval(read) => return Some(lang.no_approval_waits().to_owned()),
        _ => {}
    }
    if action == Action::Reject && !waits_for_approval(read) {
        return Some(lang.no_approval_waits().to_owned());
    }
    if action == Action::Promote && read.kept.progress.promoted {
        return Some(lang.promoted_already().to_owned());
    }
    let permission = match action {
        Action::Approve | Action::Reject => Permission::Approve,
        _ => Permission::Move,
    };
    if let Some(why) = visit.forbids(permission) {
        return Some(why);
    }
    let touch = crate::people::Touch::Services(read.shown().services.into_iter().collect());
    let is_bound = visit.who.may(permission, &touch).is_err();
    let is_own = matches!(action, Action::Approve | Action::Reject)
        && (read.kept.started_by == visit.who.name
            || read.kept.written_by.as_deref() == Some(visit.who.name.as_str()));
    match (is_bound, is_own) {
        (true, _) => Some(lang.needs_role_for(permission.needs(), read.shown().services.join(", "))),
        (_, true) => Some(lang.own_plan().to_owned()),
        _ => None,
    }
}

fn waits_for_approval(read: &PlanRead) -> bool {
    let sight = read.sight.as_ref().filter(|sight| sight.is_of(&read.kept));
    sight.is_some_and(|sight| sight.waiting.iter().any(|each| matches!(each, Waiting::Approval { .. })))
}

/// Forward on one side, back on the other: the two are never neighbours.
fn actions(visit: &Visit, read: &PlanRead, (plan, services): (&PlanShown, &[Lived])) -> Markup {
    let lang = visit.lang();
    let forward =
        [Action::Start, Action::Pause, Action::Resume, Action::Advance, Action::Approve, Action::Reject];
    html! {
        div.actions {
            (action(visit, read, (plan, Action::Rollback), html! { p { (rolls_back(lang, plan, services)) } }))
            @for each in forward { (action(visit, read, (plan, each), will(lang, plan, each))) }
            (action(visit, read, (plan, Action::Complete), html! {
                p { (lang.completes(plan.version.as_deref().unwrap_or("–"), plan.services.join(", "), count(a_minute(plan, services)))) }
                label for="typed" { (lang.type_the_name(&plan.name)) }
                input #typed name="typed" autocomplete="off" required;
            }))
            (action(visit, read, (plan, Action::Promote), html! {
                p { (lang.promotes(plan.version.as_deref().unwrap_or("–"), plan.services.join(", "))) }
                p { label { input type="checkbox" name="others" value="1"; " " (lang.although_others()) } }
                p { label { input type="checkbox" name="relabelled" value="1"; " " (lang.are_relabelled()) } }
            }))
        }
    }
}

fn action(visit: &Visit, read: &PlanRead, (plan, action): (&PlanShown, Action), what: Markup) -> Markup {
    let lang = visit.lang();
    let why = forbidden(visit, read, action);
    let name = action.as_str();
    let class = match action {
        Action::Rollback => "danger",
        Action::Complete | Action::Promote => "danger",
        Action::Start | Action::Approve => "main",
        _ => "",
    };
    html! {
        form class=(format!("action {name}")) method="post" action=(visit.at(&format!("/plans/{}", plan.name))) {
            (visit.proof())
            input type="hidden" name="etag" value=(plan.etag);
            @if matches!(action, Action::Approve | Action::Reject) { input type="hidden" name="hash" value=(plan.hash); }
            (what)
            @if why.is_none() {
                p { label for=(format!("reason-{name}")) { (lang.reason()) } input id=(format!("reason-{name}")) name="reason" maxlength="1000" autocomplete="off"; }
            }
            (visit.guarded(why.as_deref(), class, (lang.action_name(action), "do", name)))
        }
    }
}

/// Requests a minute of the plan's services.
fn a_minute(plan: &PlanShown, services: &[Lived]) -> u64 {
    services.iter().filter(|service| plan.services.contains(&service.name)).map(Lived::all_a_minute).sum()
}

fn gray_a_minute(plan: &PlanShown, services: &[Lived]) -> u64 {
    let own = services.iter().filter(|service| plan.services.contains(&service.name));
    own.map(|service| service.version_a_minute(plan.version.as_deref().unwrap_or_default())).sum()
}

fn rolls_back(lang: Language, plan: &PlanShown, services: &[Lived]) -> String {
    lang.rolls_back(
        percent(plan.share / 100.0),
        plan.services.join(", "),
        count(gray_a_minute(plan, services)),
    )
}

/// What an action will do.
fn will(lang: Language, plan: &PlanShown, action: Action) -> Markup {
    let next = plan.steps.get(plan.steps_begun);
    let shown = match action {
        Action::Start => plan.steps.first().map(|step| {
            lang.starts(
                step.share.map_or_else(|| lang.chosen_people().to_owned(), |share| percent(share / 100.0)),
            )
        }),
        Action::Pause => Some(lang.pauses(percent(plan.share / 100.0))),
        Action::Resume => Some(lang.resumes(plan.steps_begun)),
        Action::Advance => next.map(|step| {
            lang.advances(
                percent(plan.share / 100.0),
                step.share.map_or_else(|| lang.chosen_people().to_owned(), |share| percent(share / 100.0)),
            )
        }),
        Action::Approve => next.map(|step| {
            lang.approves(
                step.share.map_or_else(|| lang.chosen_people().to_owned(), |share| percent(share / 100.0)),
            )
        }),
        Action::Reject => Some(lang.rejects().to_owned()),
        _ => None,
    };
    html! { @if let Some(shown) = shown { p { (shown) } } }
}

fn history(visit: &Visit, plan: &PlanShown, runs: &[RunShown]) -> Markup {
    let lang = visit.lang();
    let name = &plan.name;
    html! {
        section aria-labelledby="runs-title" {
            h2 #runs-title { (lang.runs()) }
            p {
                a href=(visit.at(&format!("/documents/plans/{name}"))) { (lang.its_document()) } " · "
                a href=(visit.at(&format!("/audit?what=plans%2F{name}"))) { (lang.audit()) }
                @if plan.run > 0 {
                    " · " a href=(visit.at(&format!("/api/v1/plans/{name}/report?lang={}", lang.code()))) { (lang.report()) }
                    " · " a href=(visit.at(&format!("/api/v1/plans/{name}/evidence"))) { (lang.evidence_lines()) }
                }
            }
            @if runs.is_empty() { p.none { (lang.no_runs()) } }
            @for run in runs.iter().take(RUNS) {
                details open[run.run == plan.run] {
                    summary { (lang.run_number(run.run)) ": " (lang.state_name(&run.state)) ", " (run.started_by) " " (moment(&run.started)) }
                    ol { @for each in &run.transitions {
                        li {
                            (moment(&each.time)) " " strong { (each.to) } " · " (each.action) " · " (visit.person(&each.by)) " · "
                            (lang.step()) " " (each.step + 1) ", " (percent(each.share / 100.0))
                            @if !each.why.is_empty() { " · " (lang.tell(&each.why)) }
                            @if let Some(reason) = &each.reason { " · " (lang.reason()) ": " (reason) }
                        }
                    } }
                }
            }
        }
    }
}

pub async fn act(Named(name): Named<String>, form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let lang = visit.lang();
    let action = Action::ALL.into_iter().find(|action| action.as_str() == fields.get("do"));
    let action = action.ok_or_else(super::refused::no_such_action)?;
    match done(&visit, (&name, action), &fields).await {
        Ok(ActionDone::Moved(_)) => Ok(visit.go(&format!("/plans/{name}?done={}", action.as_str()))),
        Ok(ActionDone::Waiting(proposal)) => {
            Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id)))
        }
        Ok(ActionDone::RolledBack { shown, .. }) => {
            let read = visit.control().plan(&visit.who, &name).await?;
            page(&visit, &read, (StatusCode::OK, Some(rolled_back(lang, &shown)))).await
        }
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let read = visit.control().plan(&visit.who, &name).await?;
            let mut response = page(&visit, &read, (status, Some(refusal(&visit.look, &error)))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

async fn done(visit: &Visit, (name, action): (&str, Action), fields: &Fields) -> Result<ActionDone> {
    if action == Action::Complete && fields.get("typed").trim() != name {
        return Err(super::refused::name_not_typed(name));
    }
    let asked = ActionAsked {
        reason: fields.some("reason"),
        others: fields.get("others") == "1",
        relabelled: fields.get("relabelled") == "1",
        hash: fields.some("hash"),
    };
    let etag = fields.some("etag");
    visit.control().act_on_plan(&visit.who, (name, action), etag.as_deref(), &asked).await
}

/// The proof of a rollback: who confirmed, who did not.
fn rolled_back(lang: Language, shown: &RollbackShown) -> Markup {
    html! {
        div.flash role="status" {
            p { strong { span.shape aria-hidden="true" { "✓" } " " (lang.rolled_back(shown.confirmed, shown.of)) } }
            @if !shown.stragglers.is_empty() { p.bad { (lang.stragglers()) ": " (shown.stragglers.join(", ")) } }
            @if !shown.lost.is_empty() { p.warn { (lang.lost_proxies()) ": " (shown.lost.join(", ")) } }
            @for warning in &shown.warnings { p.warn { (lang.tell(warning)) } }
        }
    }
}
