//! Someone's look at a page: who, in which language and look, from where, and what a form of theirs says.
//!
//! Owns: what pages take from requests, and the proof that a form is one of ours: it carries the session's token, as calls of
//! the API carry it in a header. Start at [`Visit`] for pages and [`Form`] for their buttons.

use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::api::{BODY_LIMIT, Site, Unproven, read_body, text};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::report::Language;

/// What is remembered of a browser, for a year.
const REMEMBERED: u32 = 31_536_000;
const LANG_COOKIE: &str = "graygate-lang";
const THEME_COOKIE: &str = "graygate-theme";

/// Light or dark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    pub fn code(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    fn parse(code: &str) -> Option<Theme> {
        Theme::ALL.into_iter().find(|theme| theme.code() == code)
    }
}

/// How a page is to look, and where it stands.
#[derive(Clone, Debug)]
pub struct Look {
    pub lang: Language,
    pub theme: Theme,
    /// Before every path; empty for none.
    pub prefix: String,
    /// What the address is called in this request.
    pub host: String,
    /// Without the prefix.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Cookies that this request asked for.
    chosen: Vec<(&'static str, &'static str)>,
    /// Another site's page led here, so the session's cookie was left out.
    pub is_from_elsewhere: bool,
}

impl Look {
    pub fn of(parts: &Parts) -> Look {
        let outer = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
        let path = parts.uri.path().to_owned();
        // The first page is asked for with and without a slash behind the prefix.
        let prefix = outer.strip_suffix(path.as_str()).unwrap_or(outer.trim_end_matches('/')).to_owned();
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let asked = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let (asked_lang, asked_theme) =
            (asked("lang").and_then(Language::parse), asked("theme").and_then(Theme::parse));
        let headers = &parts.headers;
        let lang =
            asked_lang.or_else(|| cookie(headers, LANG_COOKIE).and_then(|code| Language::parse(&code)));
        let theme =
            asked_theme.or_else(|| cookie(headers, THEME_COOKIE).and_then(|code| Theme::parse(&code)));
        let chosen = [
            asked_lang.map(|lang| (LANG_COOKIE, lang.code())),
            asked_theme.map(|theme| (THEME_COOKIE, theme.code())),
        ];
        let host = text(headers, "host").or(parts.uri.authority().map(http::uri::Authority::as_str));
        Look {
            lang: lang
                .unwrap_or_else(|| Language::accepted(text(headers, "accept-language").unwrap_or_default())),
            theme: theme.unwrap_or(Theme::System),
            prefix,
            host: host.unwrap_or_default().to_owned(),
            path,
            query,
            chosen: chosen.into_iter().flatten().collect(),
            is_from_elsewhere: text(headers, "sec-fetch-site") == Some("cross-site"),
        }
    }

    /// As if a page of ours had led here.
    pub fn of_here(self) -> Look {
        Look { is_from_elsewhere: false, ..self }
    }

    /// A path of ours, as a link.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A value of the query; empty where there is none.
    pub fn asked(&self, key: &str) -> &str {
        self.query.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str())
    }

    /// This page with one value of its query changed; an empty value takes it away.
    pub fn with(&self, key: &str, value: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let others =
            self.query.iter().filter(|(name, _)| name != key && !matches!(name.as_str(), "after" | "done"));
        query.extend_pairs(others);
        if !value.is_empty() {
            query.append_pair(key, value);
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{query}", self.at(&self.path))
    }

    /// Remembers what this request chose.
    pub fn remember(&self, response: &mut Response) {
        for (name, value) in &self.chosen {
            let text = format!("{name}={value}; Path=/; Max-Age={REMEMBERED}; SameSite=Lax");
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
        }
    }
}

/// A cookie of ours that is no secret.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// A page that someone who is signed in looks at.
#[derive(Clone)]
pub struct Visit {
    pub site: Site,
    pub who: Principal,
    pub look: Look,
}

impl FromRequestParts<Site> for Visit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Visit> {
        let who = parts.extensions.get::<Principal>().cloned().ok_or(Error::Unauthenticated)?;
        Ok(Visit { site: site.clone(), who, look: Look::of(parts) })
    }
}

impl Visit {
    pub fn control(&self) -> &Control {
        &self.site.control
    }

    pub fn lang(&self) -> Language {
        self.look.lang
    }

    pub fn at(&self, path: &str) -> String {
        self.look.at(path)
    }

    pub fn asked(&self, key: &str) -> &str {
        self.look.asked(key)
    }

    /// Why someone may not do something anywhere; nothing where it is allowed.
    pub fn forbids(&self, permission: Permission) -> Option<String> {
        let is_denied = self.who.may_somewhere(permission).is_err();
        is_denied.then(|| self.lang().needs_role(permission.needs()))
    }

    /// The session's token, as forms carry it.
    pub fn csrf(&self) -> &str {
        self.who.csrf.as_deref().unwrap_or_default()
    }

    /// To another page, which is then asked for by itself.
    pub fn go(&self, path: &str) -> Response {
        (StatusCode::SEE_OTHER, [(header::LOCATION, self.at(path))]).into_response()
    }
}

/// What the fields of a form say.
#[derive(Clone, Default, Debug)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn parse(body: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(body).into_owned().collect())
    }

    /// What a form is to begin with.
    pub fn of(fields: &[(&str, &str)]) -> Fields {
        Fields(fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    /// The same with one field changed.
    pub fn with(&self, name: &str, value: &str) -> Fields {
        let others = self.0.iter().filter(|(key, _)| key != name).cloned();
        Fields(others.chain([(name.to_owned(), value.to_owned())]).collect())
    }

    /// A field; empty where it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A field that counts only if something is in it.
    pub fn some(&self, name: &str) -> Option<String> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All values of a field that may be sent several times.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A text of several lines, with the line ends documents have: browsers send others.
    pub fn text(&self, name: &str) -> String {
        self.get(name).replace("\r\n", "\n")
    }
}

/// A form that someone who is signed in sent from one of our pages.
pub struct Form {
    pub visit: Visit,
    pub fields: Fields,
}

impl FromRequest<Site> for Form {
    type Rejection = Error;

    async fn from_request(request: Request, site: &Site) -> Result<Form> {
        let (parts, body) = request.into_parts();
        let proven = parts.extensions.get::<Principal>().cloned();
        let unproven = parts.extensions.get::<Unproven>().map(|Unproven(who)| who.clone());
        let look = Look::of(&parts);
        let fields = Fields::parse(&read_body(Request::from_parts(parts, body), BODY_LIMIT).await?);
        let who = match (proven, unproven) {
            (Some(who), _) => who,
            (None, Some(who)) if is_proof(fields.get("csrf"), who.csrf.as_deref()) => who,
            (None, Some(_)) => {
                return Err(Error::Denied(
                    "this form is not from a page of this session; load the page again".to_owned(),
                ));
            }
            (None, None) => return Err(Error::Unauthenticated),
        };
        Ok(Form { visit: Visit { site: site.clone(), who, look }, fields })
    }
}

fn is_proof(sent: &str, known: Option<&str>) -> bool {
    let known = known.unwrap_or_default();
    let same: bool = subtle::ConstantTimeEq::ct_eq(sent.as_bytes(), known.as_bytes()).into();
    same && !known.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_needs_the_token_of_its_session() {
        assert!(is_proof("t", Some("t")));
        assert!(!is_proof("", Some("")));
        assert!(!is_proof("", None));
        assert!(!is_proof("x", Some("t")));
    }

    #[test]
    fn links_keep_the_rest_of_the_query() {
        let request = http::Request::get("/documents?kind=rule&after=x&filter=a%26b").body(()).unwrap();
        let look = Look::of(&request.into_parts().0);
        assert_eq!(look.with("sort", "-name"), "/documents?kind=rule&filter=a%26b&sort=-name");
        assert_eq!(look.with("kind", ""), "/documents?filter=a%26b");
    }
}
