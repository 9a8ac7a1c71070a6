//! What has to be shown at the admin address, where the process file says so.
//!
//! Owns: the file, which is read at every question so that a token can be changed while the process runs; what it held
//! last counts where it cannot be read. Never: prints it.

use std::io;
use std::path::{Path, PathBuf};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

/// Longest token, bytes: what is longer is another kind of file.
const TOKEN_LIMIT: usize = 4 << 10;

pub struct Token {
    file: PathBuf,
    last: Mutex<Vec<u8>>,
}

impl Token {
    /// Reads the file; its first line counts.
    pub fn open(file: &Path) -> io::Result<Token> {
        Ok(Token { last: Mutex::new(read(file)?), file: file.to_owned() })
    }

    /// Whether a request shows it. How long the comparison takes tells nothing but its length.
    pub fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let mut last = self.last.lock();
        if let Ok(token) = read(&self.file) {
            *last = token;
        }
        shown.is_some_and(|shown| bool::from(last.as_slice().ct_eq(shown)))
    }
}

/// The token behind `Bearer `, whose case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(file)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    match line.len() {
        // An empty one would let every caller in that says `Bearer`.
        0 => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty")),
        1..=TOKEN_LIMIT => Ok(line.to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_has_to_be_shown_and_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(Token::open(&file).is_err(), "it is not there");
        std::fs::write(&file, "\nsecret").unwrap();
        assert!(Token::open(&file).is_err(), "it is empty");
        std::fs::write(&file, "secret\nsecond line").unwrap();
        let token = Token::open(&file).unwrap();
        let shows = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            token.is_shown_in(&headers)
        };
        for (value, expected) in [
            ("Bearer secret", true),
            ("bearer secret", true),
            ("Bearer secre", false),
            ("Bearer secret2", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic secret", false),
            ("secret", false),
        ] {
            assert_eq!(shows(value), expected, "{value}");
        }
        assert!(!token.is_shown_in(&HeaderMap::new()));
        std::fs::write(&file, "another").unwrap();
        assert!(shows("Bearer another") && !shows("Bearer secret"));
        std::fs::remove_file(&file).unwrap();
        assert!(shows("Bearer another"), "what it held last counts");
    }
}
