//! Who may do what.
//!
//! Answers: who is behind this request, and is this person, or this token, allowed to do that to these services?
//! Owns: roles, users, tokens, sessions, passwords and throttling; each record's shape. Never: HTTP, or the documents
//! that are protected. Start at [`Principal`] and the table of [`Role::may`].

mod known;
mod password;
mod principal;
mod roles;
mod secrets;
mod sessions;
mod throttle;
mod tokens;
mod users;

pub use known::KnownTokens;
pub use password::{BadPassword, Passwords};
pub use principal::{Denied, Principal, Via};
pub use roles::{ACTIONS, FourEyes, Grant, Permission, Role, Touch};
pub use secrets::{fingerprint, secret, short_id};
pub use sessions::{Session, SessionSettings};
pub use throttle::{Throttle, Throttled};
pub use tokens::{Token, TokenSecret};
pub use users::{Hand, OidcPerson, User, user_name_is_good};
