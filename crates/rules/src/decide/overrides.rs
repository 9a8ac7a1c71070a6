//! Testers' words: a signed word puts its bearer into a version, from any address.
//!
//! Answers: does this request carry a word that holds now, and for whom? A word is its text and an HMAC-SHA256 over it,
//! both in base64 that a cookie and a URL can carry: version, services, expiry and holder. One that is forged, expired
//! or of a key we do not have is as if it were not there. Never: a clock, or a look at documents.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use ring::hmac;

use super::fields::Fields;
use super::request::{Request, cookies, decode_parameter, parameters, without_parameter};
use super::tester::Tester;
use crate::vocab::{Attribute, Name};

/// The cookie that carries a word.
pub const OVERRIDE_COOKIE: &str = "gg_override";
/// The parameter that sets the cookie; an empty one ends it.
pub const OVERRIDE_PARAMETER: &str = "gg-override";

/// Longest word: a cookie has 4096 bytes for everything.
const WORD_LIMIT: usize = 1024;
/// Longest text inside it, which base64 makes a third longer.
const TEXT_LIMIT: usize = 640;
/// Shortest key: half of what the hash could use, and more than any attacker guesses.
const KEY_LENGTH: usize = 16;
/// The key that signs, and the one before it, while words of that are still about.
const KEYS: usize = 2;
const HOLDER_LIMIT: usize = 128;

/// The keys that words are signed with; without one no word is looked at.
#[derive(Clone, Default)]
pub struct Overrides {
    keys: Box<[hmac::Key]>,
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overrides({} keys)", self.keys.len())
    }
}

/// What is wrong with a file of keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("there is no key in it; write one a line, of {KEY_LENGTH} bytes at least")]
    None,
    #[error("a key has fewer than {KEY_LENGTH} bytes")]
    Short,
    #[error("there are more than {KEYS} keys: the one that signs, and the one before it")]
    Many,
}

/// Why a word cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    #[error("there is no key to sign with")]
    NoKey,
    #[error("a holder has 1 to {HOLDER_LIMIT} bytes without control characters")]
    Holder,
    #[error("the word would have more than {WORD_LIMIT} bytes; name fewer services")]
    Long,
}

/// Who gets which version, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub version: Name,
    /// Empty: every service.
    pub services: Vec<Name>,
    /// Seconds since 1970.
    pub expires: i64,
    pub holder: String,
}

/// What a request's parameter asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieChange {
    /// The whole `Set-Cookie` line.
    pub cookie: String,
    /// The same page without the parameter, as an absolute URL.
    pub location: String,
}

impl Overrides {
    /// Reads a file of keys: one a line, the one that signs first; `#` starts a comment line.
    pub fn read(text: &str) -> Result<Overrides, BadKeys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<&str> = lines.collect();
        match lines.len() {
            0 => return Err(BadKeys::None),
            many if many > KEYS => return Err(BadKeys::Many),
            _ if lines.iter().any(|line| line.len() < KEY_LENGTH) => return Err(BadKeys::Short),
            _ => {}
        }
        let keys = lines.iter().map(|line| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes())).collect();
        Ok(Overrides { keys })
    }

    /// How many keys words may be signed with.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Makes a word, signed with the first key.
    pub fn sign(&self, grant: &Grant) -> Result<String, BadGrant> {
        let key = self.keys.first().ok_or(BadGrant::NoKey)?;
        let Grant { version, services, expires, holder } = grant;
        if holder.is_empty() || holder.len() > HOLDER_LIMIT || holder.contains(char::is_control) {
            return Err(BadGrant::Holder);
        }
        let names: Vec<&str> = services.iter().map(Name::as_str).collect();
        let services = if names.is_empty() { Tester::ALL_SERVICES.to_string() } else { names.join(",") };
        // The holder is last: it alone may have spaces.
        let text = format!("{} {version} {services} {expires} {holder}", Tester::FORM);
        if text.len() > TEXT_LIMIT {
            return Err(BadGrant::Long);
        }
        let mac = hmac::sign(key, text.as_bytes());
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(mac)))
    }

    /// The word that a request's cookie carries, if it holds at this moment, in nanoseconds since 1970.
    pub fn tester<'b>(&self, fields: Fields<'_>, now: i128, buffer: &'b mut Vec<u8>) -> Option<Tester<'b>> {
        if self.keys.is_empty() || !fields.contains(&header::COOKIE) {
            return None;
        }
        let words = cookies(fields).filter(|(name, _)| *name == OVERRIDE_COOKIE.as_bytes());
        let mut words = words.map(|(_, word)| word);
        let length = words.find_map(|word| self.verified(word, now, buffer))?;
        Tester::read(std::str::from_utf8(buffer.get(..length)?).ok()?)
    }

    /// Whether the cookie is there, so that it has to be kept from the upstream.
    pub fn is_carried(&self, fields: Fields<'_>) -> bool {
        !self.keys.is_empty() && cookies(fields).any(|(name, _)| name == OVERRIDE_COOKIE.as_bytes())
    }

    pub fn attribute() -> Attribute {
        Attribute::Cookie(OVERRIDE_COOKIE.into())
    }

    /// What the parameter of a page asks for, if it is there and holds.
    pub fn change_of(&self, request: &Request<'_>) -> Option<CookieChange> {
        let is_page = matches!(request.method, "GET" | "HEAD");
        let query = request.query.filter(|_| is_page && !self.keys.is_empty())?;
        let (mut name, mut word) = (Vec::new(), Vec::new());
        let (_, value) = parameters(Some(query)).find(|(found, _)| {
            decode_parameter(found, &mut name);
            name == OVERRIDE_PARAMETER.as_bytes()
        })?;
        decode_parameter(value, &mut word);
        let seconds = if word.is_empty() { 0 } else { self.seconds_left(&word, request.now)? };
        let word = std::str::from_utf8(&word).ok()?;
        let secure = if request.scheme == "https" { "; Secure" } else { "" };
        let cookie =
            format!("{OVERRIDE_COOKIE}={word}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let query = without_parameter(&String::from_utf8_lossy(query), OVERRIDE_PARAMETER);
        let query = query.filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
        let location = format!("{}{}", here(request)?, query.unwrap_or_default());
        Some(CookieChange { cookie, location })
    }

    fn seconds_left(&self, word: &[u8], now: i128) -> Option<i64> {
        let mut buffer = Vec::new();
        let length = self.verified(word, now, &mut buffer)?;
        let tester = Tester::read(std::str::from_utf8(buffer.get(..length)?).ok()?)?;
        i64::try_from(i128::from(tester.expires) - now.div_euclid(NANOS)).ok()
    }

    /// The length of the word's text in the buffer, if its signature is one of ours and it has not expired.
    fn verified(&self, word: &[u8], now: i128, buffer: &mut Vec<u8>) -> Option<usize> {
        if word.len() > WORD_LIMIT {
            return None;
        }
        let dot = word.iter().position(|byte| *byte == b'.')?;
        let (text, mac) = (word.get(..dot)?, word.get(dot + 1..)?);
        let mut given = [0; 64];
        let given_length = URL_SAFE_NO_PAD.decode_slice(mac, &mut given).ok()?;
        buffer.resize(WORD_LIMIT, 0);
        let length = URL_SAFE_NO_PAD.decode_slice(text, buffer).ok()?;
        let (text, given) = (buffer.get(..length)?, given.get(..given_length)?);
        let is_ours = self.keys.iter().any(|key| hmac::verify(key, text, given).is_ok());
        let tester = Tester::read(std::str::from_utf8(text).ok().filter(|_| is_ours)?)?;
        (now < i128::from(tester.expires) * NANOS).then_some(length)
    }
}

const NANOS: i128 = 1_000_000_000;

/// The page itself, without its query; `None` where the client named no host.
fn here(request: &Request<'_>) -> Option<String> {
    let default = if request.scheme == "https" { 443 } else { 80 };
    let port = request.port.filter(|port| *port != default).map(|port| format!(":{port}"));
    let (scheme, host, path) = (request.scheme, request.host, request.path.upstream);
    (!host.is_empty()).then(|| format!("{scheme}://{host}{}{path}", port.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::decide::Path;
    use http::HeaderMap;

    const OLD: &str = "an old key that still counts";
    const NEW: &str = "the key that signs from now on";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn keys(text: &str) -> Overrides {
        Overrides::read(text).unwrap()
    }

    fn grant(services: &[&str], expires: i64) -> Grant {
        let services = services.iter().map(|service| name(service)).collect();
        Grant { version: name("gray"), services, expires, holder: "李 of quality".into() }
    }

    fn carried(overrides: &Overrides, cookie: &str, now: i64) -> Option<(String, String, i64)> {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
        let mut buffer = Vec::new();
        let tester = overrides.tester((&headers).into(), i128::from(now) * NANOS, &mut buffer)?;
        Some((tester.version.into(), tester.holder.into(), tester.expires))
    }

    #[test]
    fn a_word_holds_until_it_expires() {
        let overrides = keys(NEW);
        let word = overrides.sign(&grant(&[], 1_000)).unwrap();
        let cookie = format!("a=b; gg_override={word}; c=d");
        let expected = Some(("gray".to_string(), "李 of quality".to_string(), 1_000));
        assert_eq!(carried(&overrides, &cookie, 999), expected);
        assert_eq!(carried(&overrides, &cookie, 1_000), None);
        assert_eq!(carried(&Overrides::default(), &cookie, 0), None, "no cookie counts without a key");
    }

    #[test]
    fn forged_and_foreign_words_are_not_there() {
        let overrides = keys(NEW);
        let word = overrides.sign(&grant(&[], 1_000)).unwrap();
        let (text, mac) = word.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode("1 gray * 9000 li");
        let foreign = keys("another company's key, quite long").sign(&grant(&[], 1_000)).unwrap();
        let mut flipped = mac.to_string();
        let first = if flipped.remove(0) == 'A' { 'B' } else { 'A' };
        flipped.insert(0, first);
        for forged in [
            format!("{other}.{mac}"),
            format!("{text}.{flipped}"),
            format!("{text}."),
            format!("{text}.{}", &mac[..mac.len() - 2]),
            text.to_string(),
            foreign,
            format!("{text}={mac}"),
            "x".repeat(5_000),
            ".".into(),
            String::new(),
        ] {
            assert_eq!(carried(&overrides, &format!("gg_override={forged}"), 0), None, "{forged}");
        }
        let two = format!("gg_override=forged; gg_override={word}");
        assert!(carried(&overrides, &two, 0).is_some(), "a forged one hides none that holds");
    }

    #[test]
    fn keys_change_without_a_gap() {
        let (old, both, new) = (keys(OLD), keys(&format!("# change\n{NEW}\n\n{OLD}\n")), keys(NEW));
        let before = format!("gg_override={}", old.sign(&grant(&[], 10)).unwrap());
        let after = format!("gg_override={}", both.sign(&grant(&[], 10)).unwrap());
        for (overrides, knows_before, knows_after) in
            [(&old, true, false), (&both, true, true), (&new, false, true)]
        {
            assert_eq!(carried(overrides, &before, 0).is_some(), knows_before);
            assert_eq!(carried(overrides, &after, 0).is_some(), knows_after);
        }
        for (text, why) in [
            ("", BadKeys::None),
            ("# none\n", BadKeys::None),
            ("short", BadKeys::Short),
            (&format!("{OLD}\n{NEW}\n{OLD}"), BadKeys::Many),
        ] {
            assert_eq!(Overrides::read(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn the_parameter_sets_and_ends_the_cookie() {
        let overrides = keys(NEW);
        let word = overrides.sign(&grant(&[], 1_000)).unwrap();
        let headers = HeaderMap::new();
        let request = |query: &'static str, scheme| Request {
            method: "GET",
            scheme,
            host: "a.test",
            port: Some(8443),
            path: Path { view: "/用户", upstream: "/%E7%94%A8%E6%88%B7" },
            query: Some(query.as_bytes()),
            fields: (&headers).into(),
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            pins_trusted: false,
            inherited: None,
            tester: None,
            places: None,
            now: 400 * NANOS + 5,
            fresh_identity: None,
        };
        let change = |query: &str, scheme| overrides.change_of(&request(query.to_string().leak(), scheme));
        let set = change(&format!("a=1&gg-override={word}&b=%20"), "https").unwrap();
        assert_eq!(
            set.cookie,
            format!("gg_override={word}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure")
        );
        assert_eq!(set.location, "https://a.test:8443/%E7%94%A8%E6%88%B7?a=1&b=%20");
        for query in ["gg-override=", "gg-override", "%67g-override="] {
            let ended = change(query, "http").unwrap();
            assert_eq!(ended.cookie, "gg_override=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
            assert_eq!(ended.location, "http://a.test:8443/%E7%94%A8%E6%88%B7");
        }
        let injecting = format!("gg-override={word}%0d%0aSet-Cookie: x=y");
        for query in ["a=1", "gg-override=forged", "", &injecting] {
            assert_eq!(change(query, "http"), None, "{query}");
        }
        let late = Request { now: 1_000 * NANOS, ..request(format!("gg-override={word}").leak(), "http") };
        assert_eq!(overrides.change_of(&late), None);
        let posted = Request { method: "POST", ..request("gg-override=", "http") };
        assert_eq!(overrides.change_of(&posted), None, "only pages");
    }

    #[test]
    fn words_have_limits() {
        let overrides = keys(NEW);
        assert_eq!(Overrides::default().sign(&grant(&[], 1)), Err(BadGrant::NoKey));
        for holder in ["", "a\nb", &"x".repeat(129)] {
            let grant = Grant { holder: holder.into(), ..grant(&[], 1) };
            assert_eq!(overrides.sign(&grant), Err(BadGrant::Holder), "{holder}");
        }
        let long: Vec<String> = (0..20).map(|number| format!("{}{number}", "s".repeat(40))).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        assert_eq!(overrides.sign(&grant(&long, 1)), Err(BadGrant::Long));
    }
}
