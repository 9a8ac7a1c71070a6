//! Signing in and out, and who is behind a cookie or a token.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::plane::Control;
use super::write::Plan;
use crate::audit::Deed;
use crate::error::{Error, Result};
use crate::people::{
    ACTIONS, Grant, Principal, Session, Throttled, Token, TokenSecret, User, Via, fingerprint, secret,
};
use crate::state::{Slot, Transaction, to_json};

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

/// Who somebody is.
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

    /// Opens a session for somebody who has shown who he is.
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
        let mut plan = Plan::new(Deed::ok(&who, "session.begin", format!("users/{name}")));
        plan.transaction.put(Slot::record(&record), to_json(&record, &session)?);
        self.write(plan).await?;
        Ok(SignedIn { cookie, user: name.to_owned(), csrf: session.csrf })
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
        let mut plan = Plan::new(Deed::ok(who, "session.end", format!("users/{}", who.name)));
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
            let mut note = Transaction::default();
            note.expect(Slot::record(&record), revision);
            note.put(Slot::record(&record), to_json(&record, &seen)?);
            // Whoever else noted it in the same moment did the same.
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
        if user.oidc.as_ref().is_some_and(|oidc| now - oidc.signed_in >= OIDC_TOKENS) {
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

    /// Whether somebody who was let in would still be.
    pub async fn is_still(&self, who: &Principal) -> bool {
        match who.via {
            Via::Token => match self.read::<Token>(&format!("tokens/{}", who.credential)).await {
                Ok(Some((token, _))) => token.expires.is_none_or(|expires| self.clock.now() < expires),
                Ok(None) => false,
                // A store that is away says nothing about anybody's rights.
                Err(_) => true,
            },
            Via::Session => match self.read::<Session>(&who.session_record()).await {
                Ok(found) => {
                    found.is_some_and(|(session, _)| session.is_alive(&self.sessions, self.clock.now()))
                }
                Err(_) => true,
            },
            _ => true,
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

/// Enough of a session to tell it from others in the audit, and nothing that opens it.
fn short(cookie: &str) -> String {
    fingerprint(cookie).chars().take(12).collect()
}
