//! People, their roles, and tokens.

use std::collections::BTreeSet;

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::shell::{Page, Tab};
use super::show::{moment, refusal};
use super::visit::{Fields, Form, Visit};
use crate::control::{NewToken, NewUser, TokenShown, UserChange, UserShown};
use crate::error::Result;
use crate::people::{Grant, Permission, Role};
use crate::report::Language;

pub async fn show(visit: Visit) -> Result<Response> {
    let above = (visit.asked("done") == "changed").then(|| {
        html! {
            p.flash role="status" { span.shape aria-hidden="true" { "✓" } " " (visit.lang().saved()) }
        }
    });
    page(&visit, (StatusCode::OK, above)).await
}

async fn page(visit: &Visit, (status, above): (StatusCode, Option<Markup>)) -> Result<Response> {
    let lang = visit.lang();
    let forbidden = visit.forbids(Permission::Administer);
    let (users, tokens) = match forbidden {
        None => (visit.control().users(&visit.who).await?, visit.control().tokens(&visit.who).await?),
        Some(_) => (Vec::new(), Vec::new()),
    };
    let main = html! {
        h1 { (lang.people()) }
        @if let Some(above) = above { (above) }
        (myself(visit))
        @match &forbidden {
            Some(why) => p.banner { (lang.people_are_for_admins()) " " (why) },
            None => { (user_table(visit, &users)) (token_table(visit, &tokens)) },
        }
        (new_user(visit, forbidden.as_deref()))
        (new_token(visit, (&users, forbidden.as_deref())))
    };
    let calls =
        ["GET /me", "GET /users", "POST /users", "GET /tokens", "POST /tokens"].map(str::to_owned).to_vec();
    Ok(visit.page_with(status, Page { tab: Tab::People, title: lang.people().to_owned(), calls, main }).await)
}

/// What one may oneself, and for the rest what it would take.
fn myself(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let may = [
        (Permission::Read, lang.may_read()),
        (Permission::Write, lang.may_write()),
        (Permission::Move, lang.may_move()),
        (Permission::Approve, lang.may_approve()),
        (Permission::Administer, lang.may_administer()),
    ];
    html! {
        section aria-labelledby="me-title" {
            h2 #me-title { (visit.who.name) ": " (grants(lang, &visit.who.grants)) }
            ul.may { @for (permission, what) in may {
                @match visit.forbids(permission) {
                    None => li { span.good { span.shape aria-hidden="true" { "●" } " " (what) } },
                    Some(why) => li { span.none { span.shape aria-hidden="true" { "○" } " " (what) } " " span.why { (why) } },
                }
            } }
        }
    }
}

fn grants(lang: Language, grants: &[Grant]) -> String {
    let shown = grants.iter().map(|grant| match &grant.services {
        None => lang.role_name(grant.role).to_owned(),
        Some(services) => {
            format!(
                "{} ({})",
                lang.role_name(grant.role),
                services.iter().cloned().collect::<Vec<_>>().join(", ")
            )
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn user_table(visit: &Visit, users: &[UserShown]) -> Markup {
    let lang = visit.lang();
    html! {
        section aria-labelledby="users-title" {
            h2 #users-title { (lang.users()) " (" (users.len()) ")" }
            div.scroll tabindex="0" role="group" aria-label=(lang.users()) { table.rows #users-table {
                caption.unseen { (lang.users()) }
                thead { tr { th scope="col" { (lang.name()) } th scope="col" { (lang.roles()) } th scope="col" { (lang.since()) } th scope="col" { (lang.change()) } } }
                tbody { @for user in users {
                    tr {
                        td { (visit.person(&user.name)) @if user.oidc { " " span.mark { "OIDC" } } }
                        td { (grants(lang, &user.roles)) }
                        td { (moment(&user.created)) }
                        td { details { summary { (lang.change()) }
                            form method="post" action=(visit.at("/people")) {
                                (visit.proof())
                                input type="hidden" name="name" value=(user.name);
                                input type="hidden" name="etag" value=(user.etag);
                                (role_choice(lang, &format!("role-{}", user.name), user.roles.first()))
                                label for=(format!("password-{}", user.name)) { (lang.new_password()) }
                                input id=(format!("password-{}", user.name)) type="password" name="password" autocomplete="new-password" minlength="10";
                                p.buttons {
                                    button type="submit" name="do" value="change" { (lang.save()) }
                                    span.gap {}
                                    button.danger type="submit" name="do" value="remove" { (lang.remove_user(&user.name)) }
                                }
                            }
                        } }
                    }
                } }
            } }
        }
    }
}

fn role_choice(lang: Language, id: &str, grant: Option<&Grant>) -> Markup {
    let services = grant.and_then(|grant| grant.services.clone()).unwrap_or_default();
    html! {
        label for=(id) { (lang.role()) }
        select id=(id) name="role" {
            @for role in Role::ALL { option value=(role.as_str()) selected[grant.is_some_and(|grant| grant.role == role)] { (lang.role_name(role)) } }
        }
        label for=(format!("{id}-services")) { (lang.only_services()) }
        input id=(format!("{id}-services")) name="services" value=(services.into_iter().collect::<Vec<_>>().join(", ")) placeholder=(lang.all_services()) autocomplete="off";
    }
}

fn token_table(visit: &Visit, tokens: &[TokenShown]) -> Markup {
    let lang = visit.lang();
    html! {
        section aria-labelledby="tokens-title" {
            h2 #tokens-title { (lang.tokens()) " (" (tokens.len()) ")" }
            @if tokens.is_empty() { p.none { (lang.no_tokens()) } }
            @else {
                div.scroll tabindex="0" role="group" aria-label=(lang.tokens()) { table.rows #tokens-table {
                    caption.unseen { (lang.tokens()) }
                    thead { tr {
                        th scope="col" { (lang.name()) } th scope="col" { (lang.user()) } th scope="col" { (lang.role()) }
                        th scope="col" { (lang.since()) } th scope="col" { (lang.ends()) } th scope="col" { (lang.delete()) }
                    } }
                    tbody { @for token in tokens {
                        tr {
                            td { (token.name) " " code { (token.id) } }
                            td { (token.user) }
                            td { (grants(lang, &[Grant { role: token.role, services: token.services.clone() }])) }
                            td { (moment(&token.created)) }
                            td { @if let Some(expires) = &token.expires { (moment(expires)) } @else { span.none { (lang.never()) } } }
                            td { form.inline method="post" action=(visit.at("/people")) {
                                (visit.proof())
                                input type="hidden" name="id" value=(token.id);
                                button.danger type="submit" name="do" value="revoke" { (lang.revoke(&token.name)) }
                            } }
                        }
                    } }
                } }
            }
        }
    }
}

fn new_user(visit: &Visit, forbidden: Option<&str>) -> Markup {
    let lang = visit.lang();
    html! {
        section aria-labelledby="new-user-title" {
            h2 #new-user-title { (lang.new_user()) }
            form.narrow method="post" action=(visit.at("/people")) autocomplete="off" {
                (visit.proof())
                label for="new-name" { (lang.name()) } input #new-name name="name" required maxlength="64" autocomplete="off";
                label for="new-password" { (lang.password()) } input #new-password type="password" name="password" required minlength="10" autocomplete="new-password";
                (role_choice(lang, "new-role", None))
                (visit.guarded(forbidden, "main", (lang.add_user(), "do", "add")))
            }
        }
    }
}

fn new_token(visit: &Visit, (users, forbidden): (&[UserShown], Option<&str>)) -> Markup {
    let lang = visit.lang();
    html! {
        section aria-labelledby="new-token-title" {
            h2 #new-token-title { (lang.new_token()) }
            form.narrow method="post" action=(visit.at("/people")) {
                (visit.proof())
                label for="token-name" { (lang.name()) } input #token-name name="name" required maxlength="128" autocomplete="off";
                label for="token-user" { (lang.user()) }
                select #token-user name="user" { @for user in users { option value=(user.name) { (user.name) } } }
                (role_choice(lang, "token-role", None))
                label for="token-expires" { (lang.ends()) } input #token-expires type="date" name="expires";
                (visit.guarded(forbidden, "main", (lang.add_token(), "do", "token")))
            }
        }
    }
}

pub async fn act(form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    match done(&visit, &fields).await {
        Ok(None) => Ok(visit.go("/people?done=changed")),
        // A token is shown once, and never stands in an address.
        Ok(Some(above)) => page(&visit, (StatusCode::CREATED, Some(above))).await,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = page(&visit, (status, Some(refusal(&visit.look, &error)))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

async fn done(visit: &Visit, fields: &Fields) -> Result<Option<Markup>> {
    let (control, who) = (visit.control(), &visit.who);
    let name = fields.get("name").to_owned();
    match fields.get("do") {
        "add" => {
            let new =
                NewUser { name, password: fields.get("password").to_owned(), roles: vec![grant(fields)?] };
            control.add_user(who, new).await?;
        }
        "change" => {
            let password = Some(fields.get("password")).filter(|text| !text.is_empty()).map(str::to_owned);
            let change = UserChange { password, roles: Some(vec![grant(fields)?]) };
            control.change_user(who, &name, change, fields.some("etag").as_deref()).await?;
        }
        "remove" => control.remove_user(who, &name, fields.some("etag").as_deref()).await?,
        "revoke" => control.remove_token(who, fields.get("id")).await?,
        "token" => {
            let Grant { role, services } = grant(fields)?;
            let expires = fields.some("expires").map(|day| format!("{day}T23:59:59Z"));
            let new = NewToken { name, user: fields.get("user").to_owned(), role, services, expires };
            let made = control.add_token(who, new).await?;
            return Ok(Some(html! {
                div.flash role="status" {
                    p { strong { (visit.lang().token_once()) } }
                    pre.token tabindex="0" { (made.token) }
                }
            }));
        }
        other => return Err(super::refused::not_done_here(other)),
    }
    Ok(None)
}

fn grant(fields: &Fields) -> Result<Grant> {
    let word = fields.get("role");
    let role = Role::parse(word).ok_or_else(|| super::refused::not_a_role(word))?;
    let named = fields.get("services").split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
    let services: BTreeSet<String> = named.map(str::to_owned).collect();
    Ok(Grant { role, services: (!services.is_empty()).then_some(services) })
}
