//! Tokens of machines: shown once, kept as hashes.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use super::roles::{Grant, Role};
use super::secrets::{fingerprint, secret, short_id};

/// What every token begins with, so that scanners for leaked secrets know one.
const MARK: &str = "gg_";

/// What is kept of a token.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub name: String,
    /// Whose rights bound it.
    pub user: String,
    #[serde(flatten)]
    pub grant: FlatGrant,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires: Option<OffsetDateTime>,
    /// SHA-256 of the whole token.
    pub hash: String,
}

/// The grant's fields beside the others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlatGrant {
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<std::collections::BTreeSet<String>>,
}

impl From<Grant> for FlatGrant {
    fn from(Grant { role, services }: Grant) -> FlatGrant {
        FlatGrant { role, services }
    }
}

/// The token itself, which no one sees again.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    pub id: String,
    pub text: String,
}

impl TokenSecret {
    pub fn random() -> TokenSecret {
        let id = short_id();
        let text = format!("{MARK}{id}_{}", secret());
        TokenSecret { id, text }
    }

    /// The id of what may be a token.
    pub fn id_of(text: &str) -> Option<&str> {
        let (id, secret) = text.strip_prefix(MARK)?.split_once('_')?;
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && !secret.is_empty()).then_some(id)
    }

    pub fn hash(&self) -> String {
        fingerprint(&self.text)
    }
}

impl Token {
    pub fn grant(&self) -> Grant {
        Grant { role: self.grant.role, services: self.grant.services.clone() }
    }

    /// Whether this text is the token, and it has not expired.
    pub fn is(&self, text: &str, now: OffsetDateTime) -> bool {
        let same: bool = fingerprint(text).as_bytes().ct_eq(self.hash.as_bytes()).into();
        same && self.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_whole_text_until_it_expires() {
        let secret = TokenSecret::random();
        let now = OffsetDateTime::UNIX_EPOCH;
        let token = Token {
            id: secret.id.clone(),
            name: "ci".into(),
            user: "li".into(),
            grant: Grant::all(Role::Viewer).into(),
            created: now,
            expires: Some(now + time::Duration::HOUR),
            hash: secret.hash(),
        };
        assert_eq!(TokenSecret::id_of(&secret.text), Some(secret.id.as_str()));
        assert!(token.is(&secret.text, now));
        assert!(!token.is(&secret.text, now + time::Duration::HOUR));
        assert!(!token.is(&secret.text[..secret.text.len() - 1], now));
        for text in ["", "gg_", "gg_x_y", "Bearer", "gg_0123456789abcdef"] {
            assert_eq!(TokenSecret::id_of(text), None, "{text}");
        }
        let text = serde_json::to_string(&token).unwrap();
        assert_eq!(serde_json::from_str::<Token>(&text).unwrap(), token);
        assert!(!text.contains(&secret.text));
    }
}
