//! Signing in and out, and who is behind a cookie or a token.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::plane::Control;
use super::write::Plan;
use crate::audit::{Deed, Text};
use crate::error::{Error, Result};
use crate::oidc::{Begun, OidcError, Person, Returned};
use crate::people::{
    ACTIONS, Grant, OidcPerson, Permission, Principal, Session, Throttled, Token, TokenSecret, Touch, User,
    Via, fingerprint, secret,
};
use crate::state::{Reserve, Slot, Transaction, to_json};

/// How long the tokens of a person of the identity provider work without a sign-in.
const OIDC_TOKENS: time::Duration = time::Duration::days(30);

/// How long an invitation may wait for its bearer.
const INVITED_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// A new session.
pub struct SignedIn {
    /// The cookie's value, which is kept nowhere.
    pub cookie: String,
    pub user: String,
    pub csrf: String,
}

/// Whether something may be done, and why not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActionShown {
    pub allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Who someone is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Me {
    pub user: String,
    pub roles: Vec<Grant>,
    pub via: Via,
    /// What the writes of this session repeat in `X-Graygate-Csrf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// By the names the audit uses.
    pub actions: BTreeMap<String, ActionShown>,
}

pub(super) fn user_name(name: &str) -> String {
    format!("users/{name}")
}

fn session_name(cookie: &str) -> String {
    format!("sessions/{}", fingerprint(cookie))
}

impl Control {
    /// Opens a session for a name and its password.
    pub async fn sign_in(&self, name: &str, password: &str, from: &Principal) -> Result<SignedIn> {
        let address: IpAddr = from.address.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        match self.throttle.before(name, address, self.clock.instant()) {
            Throttled::Refused(after) => {
                let detail = "too many wrong tries; wait before the next one".to_owned();
                return Err(Error::TooMany { detail, after });
            }
            Throttled::Wait(wait) => tokio::time::sleep(wait).await,
        }
        let user: Option<(User, _)> = match crate::people::user_name_is_good(name) {
            true => self.read(&user_name(name)).await?,
            false => None,
        };
        let hashed = user.as_ref().and_then(|(user, _)| user.password.as_deref());
        if !self.passwords.is(password, hashed).await {
            self.throttle.wrong(name, address, self.clock.instant());
            tracing::info!(address = from.address, "a sign-in was refused");
            return Err(Error::WrongPassword);
        }
        self.throttle.right(name, address);
        self.open_session(name, from).await
    }

    /// Opens a session for someone who has shown who he is.
    pub async fn open_session(&self, name: &str, from: &Principal) -> Result<SignedIn> {
        let cookie = secret();
        let session = Session::begin(name, self.clock.now());
        let record = session_name(&cookie);
        let who = Principal {
            name: name.to_owned(),
            via: Via::Session,
            credential: short(&cookie),
            session: fingerprint(&cookie),
            ..from.clone()
        };
        let mut plan = Plan::new(Deed::ok(&who, "session.begin", format!("users/{name}"))).from_reserve();
        plan.transaction.put(Slot::record(&record), to_json(&record, &session)?);
        self.write(plan).await?;
        Ok(SignedIn { cookie, user: name.to_owned(), csrf: session.csrf })
    }

    /// Where a browser goes that wants to sign in by the identity provider, and the cookie it comes back with.
    pub async fn begin_oidc(&self, back: &str) -> Result<Begun> {
        let provider = self.oidc.as_ref().ok_or_else(no_provider)?;
        provider.begin(back).await.map_err(by_provider)
    }

    /// Opens a session for whom the identity provider answers. Who has no role any more loses what he had.
    pub async fn finish_oidc(
        &self,
        back: &str,
        sent: (&str, Returned),
        from: &Principal,
    ) -> Result<SignedIn> {
        let provider = self.oidc.as_ref().ok_or_else(no_provider)?;
        let person = match provider.finish(back, sent, self.clock.instant()).await {
            Ok(person) => person,
            Err(OidcError::NoRole(person)) => {
                if self.read::<User>(&user_name(&person.name)).await?.is_some() {
                    self.keep_person(&person, from).await?;
                }
                return Err(by_provider(OidcError::NoRole(person)));
            }
            Err(error) => return Err(by_provider(error)),
        };
        self.keep_person(&person, from).await?;
        self.open_session(&person.name, from).await
    }

    /// Keeps what the provider said of someone.
    async fn keep_person(&self, person: &Person, from: &Principal) -> Result<()> {
        let record = user_name(&person.name);
        let now = self.clock.now();
        let (before, revision) = match self.read::<User>(&record).await? {
            Some((user, revision)) => (Some(user), revision),
            None => (None, 0),
        };
        let user = User {
            name: person.name.clone(),
            password: None,
            roles: person.grants.clone(),
            created: before.as_ref().map_or(now, |user| user.created),
            hands: before.as_ref().map(|user| user.hands.clone()).unwrap_or_default(),
            oidc: Some(OidcPerson { signed_in: now, shown: person.shown.clone() }),
        };
        let who = Principal { name: person.name.clone(), via: Via::Session, ..from.clone() };
        let action = if before.is_some() { "user.change" } else { "user.add" };
        let mut deed = Deed::ok(&who, action, record.clone());
        deed.reason = Some("as the identity provider says".to_owned());
        deed.before = before.as_ref().map(described).transpose()?;
        deed.after = Some(described(&user)?);
        let is_same = before.is_some_and(|before| before.roles == user.roles);
        let mut plan = Plan::new(deed);
        if is_same {
            plan.deeds.clear();
        }
        let mut plan = plan.from_reserve();
        plan.transaction.expect(Slot::record(&record), revision);
        plan.transaction.put(Slot::record(&record), to_json(&record, &user)?);
        self.write(plan).await?;
        Ok(())
    }

    /// A secret that signs its first bearer in as `name`, kept nowhere but in this process.
    pub fn invite(&self, name: &str) -> String {
        let invitation = secret();
        let until = self.clock.instant() + INVITED_FOR;
        self.invitations.lock().insert(fingerprint(&invitation), (name.to_owned(), until));
        invitation
    }

    /// Opens a session for the first who brings an invitation.
    pub async fn accept(&self, invitation: &str, from: &Principal) -> Result<SignedIn> {
        let found = self.invitations.lock().remove(&fingerprint(invitation));
        match found {
            Some((name, until)) if self.clock.instant() < until => self.open_session(&name, from).await,
            _ => Err(Error::NotFound("this link was used already, or is over".to_owned())),
        }
    }

    /// Ends a session. One that is gone is as good.
    pub async fn sign_out(&self, cookie: &str, who: &Principal) -> Result<()> {
        let mut plan = Plan::new(Deed::ok(who, "session.end", format!("users/{}", who.name))).from_reserve();
        plan.transaction.delete(Slot::record(session_name(cookie)));
        self.write(plan).await?;
        Ok(())
    }

    /// Who is behind a session's cookie; `from` says where the request came from.
    pub async fn by_cookie(&self, cookie: &str, from: &Principal) -> Result<Principal> {
        let record = session_name(cookie);
        let Some((session, revision)) = self.read::<Session>(&record).await? else {
            return Err(Error::Unauthenticated);
        };
        let now = self.clock.now();
        if !session.is_alive(&self.sessions, now) {
            return Err(Error::Unauthenticated);
        }
        let Some((user, _)) = self.read::<User>(&user_name(&session.user)).await? else {
            return Err(Error::Unauthenticated);
        };
        if session.is_due(now) {
            let seen = Session { seen: now, ..session.clone() };
            let mut note = Transaction { reserve: Reserve::Used, ..Transaction::default() };
            note.expect(Slot::record(&record), revision);
            note.put(Slot::record(&record), to_json(&record, &seen)?);
            // Another request that noted it in the same moment did the same.
            let _ = self.state.commit(note).await;
        }
        Ok(Principal {
            name: user.name,
            via: Via::Session,
            credential: short(cookie),
            session: fingerprint(cookie),
            grants: user.roles,
            token: None,
            csrf: Some(session.csrf),
            ..from.clone()
        })
    }

    /// Who is behind a token.
    pub async fn by_token(&self, text: &str, from: &Principal) -> Result<Principal> {
        let id = TokenSecret::id_of(text).ok_or(Error::Unauthenticated)?;
        let known = self.known_token(id).await?;
        let now = self.clock.now();
        let (token, user) = match known.as_deref() {
            Some((token, user)) if token.is(text, now) => (token, user.clone()),
            _ => return Err(Error::Unauthenticated),
        };
        if !tokens_work(&user, now) {
            return Err(Error::Unauthenticated);
        }
        Ok(Principal {
            name: user.name,
            via: Via::Token,
            credential: token.id.clone(),
            grants: user.roles,
            token: Some(token.grant()),
            csrf: None,
            ..from.clone()
        })
    }

    /// Whether a token that was looked up a moment ago reads; false where that has to be found out, too.
    pub fn is_known_reader(&self, text: &str) -> bool {
        let moment = (*self.state.changes().borrow(), self.clock.instant());
        let known = TokenSecret::id_of(text).and_then(|id| self.known_tokens.get(id, moment));
        let Some((token, user)) = known.as_deref() else { return false };
        let (now, nothing) = (self.clock.now(), Touch::nothing());
        token.is(text, now)
            && tokens_work(user, now)
            && nothing.allowed(&[token.grant()], Permission::Read)
            && nothing.allowed(&user.roles, Permission::Read)
    }

    /// A token and its person.
    async fn known_token(&self, id: &str) -> Result<Option<Arc<(Token, User)>>> {
        let moment = (*self.state.changes().borrow(), self.clock.instant());
        if let Some(found) = self.known_tokens.get(id, moment) {
            return Ok(Some(found));
        }
        let Some((token, _)) = self.read::<Token>(&format!("tokens/{id}")).await? else { return Ok(None) };
        let Some((user, _)) = self.read::<User>(&user_name(&token.user)).await? else { return Ok(None) };
        let found = Arc::new((token, user));
        self.known_tokens.keep(id, found.clone(), moment);
        Ok(Some(found))
    }

    /// Whether someone who was let in would still be. A store that is away says nothing about anyone's rights.
    pub async fn is_still(&self, who: &Principal) -> bool {
        let now = self.clock.now();
        let is_good = match who.via {
            Via::Token => match self.read::<Token>(&format!("tokens/{}", who.credential)).await {
                Ok(found) => {
                    found.is_some_and(|(token, _)| token.expires.is_none_or(|expires| now < expires))
                }
                Err(_) => return true,
            },
            Via::Session => match self.read::<Session>(&who.session_record()).await {
                Ok(found) => found.is_some_and(|(session, _)| session.is_alive(&self.sessions, now)),
                Err(_) => return true,
            },
            _ => return true,
        };
        is_good
            && match self.read::<User>(&user_name(&who.name)).await {
                Ok(found) => found.is_some_and(|(user, _)| {
                    user.roles == who.grants && (who.via != Via::Token || tokens_work(&user, now))
                }),
                Err(_) => true,
            }
    }

    pub fn me(&self, who: &Principal) -> Me {
        let actions = ACTIONS.iter().map(|(name, permission)| {
            let may = who.may_somewhere(*permission);
            let shown = ActionShown { allowed: may.is_ok(), why: may.err().map(|denied| denied.why) };
            ((*name).to_owned(), shown)
        });
        Me {
            user: who.name.clone(),
            roles: match &who.token {
                Some(token) => vec![token.clone()],
                None => who.grants.clone(),
            },
            via: who.via,
            csrf: who.csrf.clone(),
            actions: actions.collect(),
        }
    }
}

/// Whether a person's tokens are good: one of the provider has to come back now and then.
fn tokens_work(user: &User, now: OffsetDateTime) -> bool {
    user.oidc.as_ref().is_none_or(|oidc| now - oidc.signed_in < OIDC_TOKENS)
}

/// Enough of a session to tell it from others in the audit, and nothing that opens it.
fn short(cookie: &str) -> String {
    fingerprint(cookie).chars().take(12).collect()
}

/// A record of the audit must never hold a password's hash, so accounts are described by what they may.
pub(super) fn described(user: &User) -> Result<Text> {
    let shown = serde_json::json!({"name": user.name, "roles": user.roles});
    Ok(Text::of(to_json(&user.name, &shown)?))
}

fn no_provider() -> Error {
    Error::NotFound("no identity provider is set up here; see `oidc` of control.yaml".to_owned())
}

fn by_provider(error: OidcError) -> Error {
    let detail = error.to_string();
    match error {
        OidcError::Away(_) => Error::Unreachable(detail),
        OidcError::Stranger => Error::BadRequest(detail),
        OidcError::Forged(_) | OidcError::Refused => Error::NotLetIn(detail),
        OidcError::NoRole(_) => Error::Denied(detail),
    }
}
