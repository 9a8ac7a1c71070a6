//! `control.yaml`: one file that says how the control plane runs, and every address it ever connects to.
//!
//! Unknown keys are errors, and all errors are told at once with their place. It reads with the documents' reader, so
//! that both speak of mistakes in the same way. Never: connecting. Start at [`Config::parse`].

mod channels;
mod people;
mod places;

pub use channels::{
    Channel, ChannelKind, ChatFormat, Mail, MailLogin, MailSecurity, MailServer, PLACEHOLDERS, Tongue,
    Webhook,
};
pub use people::{OidcSettings, RoleOfClaim};
pub use places::{DocumentsFrom, Listen, ProxiesFrom};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use graygate_rules::documents::fields::{Emptiness, Field, Map, Notes};
use graygate_rules::documents::text::{self, Syntax};
use graygate_rules::vocab::{Problem, canonical_net};
use ipnet::IpNet;

use crate::audit::AUDIT_KEPT;
use crate::gateway::settings::{self as gateway, Hospital};
use crate::people::{FourEyes, SessionSettings};
use crate::registries;
use crate::registries::config::Registries;

/// Where records live below etcd unless the file says otherwise.
pub const STATE_PREFIX: &str = "/graygate-control";

/// Everything the file says, with its defaults.
#[derive(Debug)]
pub struct Config {
    pub listen: Listen,
    pub documents: DocumentsFrom,
    /// The directory of the embedded database.
    pub state: Option<PathBuf>,
    pub state_prefix: String,
    pub proxies: ProxiesFrom,
    pub admin_token_file: Option<PathBuf>,
    pub trust: Vec<IpNet>,
    pub sessions: SessionSettings,
    pub oidc: Option<OidcSettings>,
    pub audit_kept: Duration,
    pub four_eyes: FourEyes,
    /// Prometheus addresses, by the names plans use.
    pub measures: BTreeMap<String, String>,
    pub channels: BTreeMap<String, Channel>,
    /// Where instances come from, by the names services use.
    pub registries: Registries,
    /// Whom the gateway API is for.
    pub hospital: Option<Hospital>,
}

impl Config {
    /// Reads the file; the error holds every mistake.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let notes = Notes::of(path.display().to_string());
        match std::fs::read_to_string(path) {
            Ok(text) => Config::parse(&text, notes),
            Err(error) => {
                notes.note("", format!("cannot be read: {error}"), "");
                Err(notes.into_problems())
            }
        }
    }

    pub fn parse(text: &str, notes: Notes) -> Result<Config, Vec<Problem>> {
        let node = match text::parse(text, Syntax::Yaml) {
            Ok(node) => node,
            Err(error) => {
                notes.note("", error.to_string(), "");
                return Err(notes.into_problems());
            }
        };
        let config = Field::root(&node, &notes).map().and_then(read);
        match config {
            Some(config) if notes.is_empty() => Ok(config),
            _ => Err(notes.into_problems()),
        }
    }
}

fn read(mut map: Map<'_>) -> Option<Config> {
    let listen = map.or("listen", Listen::default(), places::read_listen);
    let documents = map.required("documents").and_then(|field| places::read_documents(&field));
    let state = map.get("state").and_then(|field| field.text().map(PathBuf::from));
    let state_prefix =
        map.or("state_prefix", STATE_PREFIX.to_owned(), |field| field.text().map(str::to_owned));
    let proxies = map.or("proxies", ProxiesFrom::default(), places::read_proxies);
    let admin_token_file = map.get("admin_token_file").and_then(|field| field.text().map(PathBuf::from));
    let trust = map.or("trust", Vec::new(), |field| {
        field.list_of(Emptiness::Allowed, |item| {
            item.parsed("an address or a CIDR like `10.0.0.0/8`", canonical_net)
        })
    });
    let sessions = map.or("sessions", SessionSettings::default(), people::read_sessions);
    let oidc = map.get("oidc").and_then(|field| people::read_oidc(&field));
    let audit_kept = map.or("audit", AUDIT_KEPT, |field| {
        let mut map = field.map()?;
        let kept = map.or("keep", AUDIT_KEPT, |field| field.duration());
        map.note_unknown();
        Some(kept)
    });
    let four_eyes = map.or("four_eyes", FourEyes::None, people::read_four_eyes);
    let measures = map.or("measures", BTreeMap::new(), places::read_measures);
    let channels = map.or("channels", BTreeMap::new(), channels::read);
    let registries = map.or("registries", Registries::new(), registries::config::read);
    let hospital = map.get("hospital").and_then(|field| gateway::read(&field));
    map.note_unknown();
    if matches!(documents, Some(DocumentsFrom::Directory(_))) && state.is_none() && map.has("documents") {
        map.wrong::<()>("`state` is missing", "with a directory of documents everything else is kept there");
    }
    if listen.behind_tls && trust.is_empty() {
        map.wrong::<()>("`listen.behind_tls` needs `trust`", "name the ingress that ends TLS");
    }
    Some(Config {
        listen,
        documents: documents?,
        state,
        state_prefix,
        proxies,
        admin_token_file,
        trust,
        sessions,
        oidc,
        audit_kept,
        four_eyes,
        measures,
        channels,
        registries,
        hospital,
    })
}

#[cfg(test)]
mod tests;
