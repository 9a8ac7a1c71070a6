//! Secrets: made of chance alone, and what is kept of them.

use rand::Rng as _;
use sha2::{Digest as _, Sha256};

/// Bytes of a secret no one guesses.
const SECRET_BYTES: usize = 32;

/// A secret as text that is safe in headers, cookies and links.
pub fn secret() -> String {
    use base64::Engine as _;
    let mut bytes = [0u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A short name for something that has none, such as a token.
pub fn short_id() -> String {
    let mut bytes = [0u8; 8];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// What is kept of a secret: enough to know it again. It has 256 random bits, so a slow hash would add nothing.
pub fn fingerprint(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
