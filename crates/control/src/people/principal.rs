//! Who is behind a request, and what that allows.

use serde::Serialize;
use utoipa::ToSchema;

use super::roles::{Grant, Permission, Role, Touch};

/// The way someone, or something, came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Session,
    Token,
    /// Someone who writes the store itself.
    Etcd,
    /// Someone with an editor.
    File,
    /// What moves by itself.
    Controller,
    /// A command on this machine, with the store's own rights.
    Command,
}

impl Via {
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Session => "session",
            Via::Token => "token",
            Via::Etcd => "etcd",
            Via::File => "file",
            Via::Controller => "controller",
            Via::Command => "command",
        }
    }
}

/// Someone who is known, with the rights of this request.
#[derive(Clone, PartialEq, Debug)]
pub struct Principal {
    pub name: String,
    pub via: Via,
    /// A token's id, or the beginning of what is kept of a session.
    pub credential: String,
    /// What the person may.
    pub grants: Vec<Grant>,
    /// What the token may; it narrows the person's rights and never adds to them.
    pub token: Option<Grant>,
    /// What is kept of a session's cookie; empty for tokens.
    pub session: String,
    /// Of a session: what writes have to repeat.
    pub csrf: Option<String>,
    /// Where the request came from.
    pub address: String,
    pub user_agent: String,
    pub request_id: String,
}

/// Why something is not allowed, for the person who tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied {
    pub why: String,
}

impl Principal {
    /// The program itself, and commands with the store's own rights.
    pub fn own(name: &str, via: Via) -> Principal {
        Principal {
            name: name.to_owned(),
            via,
            credential: String::new(),
            grants: vec![Grant::all(Role::Admin)],
            token: None,
            session: String::new(),
            csrf: None,
            address: String::new(),
            user_agent: String::new(),
            request_id: String::new(),
        }
    }

    /// The name of the session's record.
    pub fn session_record(&self) -> String {
        format!("sessions/{}", self.session)
    }

    pub fn may(&self, permission: Permission, touch: &Touch) -> Result<(), Denied> {
        let token = self.token.as_ref();
        if token.is_some_and(|token| !touch.allowed(std::slice::from_ref(token), permission)) {
            return Err(self.denied("this token's role", permission, touch));
        }
        match touch.allowed(&self.grants, permission) {
            true => Ok(()),
            false => Err(self.denied("your role", permission, touch)),
        }
    }

    /// Whether it is allowed for any service at all.
    pub fn may_somewhere(&self, permission: Permission) -> Result<(), Denied> {
        self.may(permission, &Touch::nothing())
    }

    fn denied(&self, whose: &str, permission: Permission, touch: &Touch) -> Denied {
        let needs = permission.needs();
        let held = match touch {
            _ if self.may_somewhere_quietly(permission) => match touch {
                Touch::All => Some("all services".to_owned()),
                Touch::Services(services) => {
                    let names: Vec<_> = services.iter().map(|name| format!("`{name}`")).collect();
                    Some(names.join(", "))
                }
            },
            _ => None,
        };
        let why = match held {
            Some(services) => format!("{whose} does not allow this; it takes `{needs}` for {services}"),
            None => format!("{whose} does not allow this; it takes `{needs}`"),
        };
        Denied { why }
    }

    fn may_somewhere_quietly(&self, permission: Permission) -> bool {
        let nothing = Touch::nothing();
        nothing.allowed(&self.grants, permission)
            && self
                .token
                .as_ref()
                .is_none_or(|token| nothing.allowed(std::slice::from_ref(token), permission))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_what_both_it_and_its_person_may() {
        let mut principal = Principal::own("li", Via::Token);
        principal.grants = vec![Grant::all(Role::Operator)];
        principal.token = Some(Grant::all(Role::Admin));
        assert!(principal.may(Permission::Move, &Touch::All).is_ok());
        assert!(principal.may(Permission::Administer, &Touch::nothing()).is_err(), "the person is no admin");
        principal.token = Some(Grant::all(Role::Viewer));
        assert!(principal.may(Permission::Move, &Touch::All).is_err(), "the token only reads");
        let denied = principal.may(Permission::Write, &Touch::one("patient")).unwrap_err();
        assert_eq!(denied.why, "this token's role does not allow this; it takes `editor`");
    }
}
