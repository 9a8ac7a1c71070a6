//! Passwords: argon2id, on few threads, so that guessing fills neither memory nor cores.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

/// Shortest password.
const LENGTH: usize = 10;
/// Longest, in bytes: the work of hashing grows with it.
const LENGTH_LIMIT: usize = 1_024;
/// Passwords that are hashed at one time; each takes 19 MiB.
const AT_ONCE: usize = 2;

/// The hash of a password no one has, so that an unknown name takes as long as a known one: as much work as the hashes that
/// are made here, and an end that no password comes to but by a chance of 1 in 2^256.
const UNKNOWN: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password is not taken.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum BadPassword {
    #[error("a password has at least {LENGTH} characters")]
    Short,
    #[error("a password has at most {LENGTH_LIMIT} bytes")]
    Long,
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// Hashes and compares.
pub struct Passwords {
    places: Semaphore,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { places: Semaphore::new(AT_ONCE) }
    }
}

impl Passwords {
    pub async fn hash(&self, password: &str) -> Result<String, BadPassword> {
        check(password)?;
        let _place = self.places.acquire().await;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash(&password)).await;
        hashed.unwrap_or_else(|error| Err(BadPassword::Hash(error.to_string())))
    }

    /// Whether it is the password; `None` for a name that has none takes the same time.
    pub async fn is(&self, password: &str, hashed: Option<&str>) -> bool {
        if password.len() > LENGTH_LIMIT {
            return false;
        }
        let _place = self.places.acquire().await;
        let (password, known) = (password.to_owned(), hashed.is_some());
        let hashed = hashed.unwrap_or(UNKNOWN).to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            Argon2::default().verify_password(password.as_bytes(), hashed.as_str()).is_ok()
        });
        verified.await.unwrap_or(false) && known
    }
}

/// Whether a password may be one.
pub fn check(password: &str) -> Result<(), BadPassword> {
    match password.chars().count() {
        count if count < LENGTH => Err(BadPassword::Short),
        _ if password.len() > LENGTH_LIMIT => Err(BadPassword::Long),
        _ => Ok(()),
    }
}

fn hash(password: &str) -> Result<String, BadPassword> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| BadPassword::Hash(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_takes_the_same_work_and_can_be_read() {
        let work = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(work(UNKNOWN), work(&hash("correct horse").unwrap()));
        let verified = Argon2::default().verify_password(b"correct horse", UNKNOWN);
        assert_eq!(verified, Err(argon2::password_hash::Error::PasswordInvalid));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_guesses_is_compared_two_at_a_time() {
        let passwords = std::sync::Arc::new(Passwords::default());
        let guesses: Vec<_> = (0..8)
            .map(|_| passwords.clone())
            .map(|passwords| tokio::spawn(async move { passwords.is("correct horse", None).await }))
            .collect();
        let mut fullest = AT_ONCE;
        while !guesses.iter().all(tokio::task::JoinHandle::is_finished) {
            fullest = fullest.min(passwords.places.available_permits());
            tokio::task::yield_now().await;
        }
        assert_eq!(fullest, 0);
        assert_eq!(passwords.places.available_permits(), AT_ONCE);
    }

    #[tokio::test]
    async fn passwords_are_known_again_and_short_ones_refused() {
        let passwords = Passwords::default();
        let hashed = passwords.hash("correct horse").await.unwrap();
        assert!(hashed.starts_with("$argon2id$"), "{hashed}");
        assert!(passwords.is("correct horse", Some(&hashed)).await);
        assert!(!passwords.is("wrong horse!", Some(&hashed)).await);
        assert!(!passwords.is("correct horse", None).await);
        assert_eq!(passwords.hash("ninechars").await, Err(BadPassword::Short));
        assert_eq!(passwords.hash(&"x".repeat(2_000)).await, Err(BadPassword::Long));
    }
}
