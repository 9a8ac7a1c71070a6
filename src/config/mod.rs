//! The process file: one YAML file that fills every room's settings.
//!
//! Answers: how is this process to run? Unknown keys are errors, and all errors are reported at once with their place.
//! It reads operators' text with the documents' reader, so that both speak of mistakes in the same way.
//! Never: running anything, or touching the network. Start at [`Config::parse`].

mod access;
mod listen;
mod messages;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use graygate_proxy::admin;
use graygate_proxy::edge::{self, CertificateSets, Listener, Tls};
use graygate_proxy::request::{self, RespondVersion, Way};
use graygate_rules::decide::{NetworkSet, Overrides, Places, Trust};
use graygate_rules::documents::fields::{Emptiness, Field, Map, Notes};
use graygate_rules::documents::text::{self, Syntax};
use graygate_rules::vocab::{Problem, canonical_net};
use graygate_store::Source;
use graygate_telemetry::{AccessLogSettings, LogSettings};

pub use messages::{MessageListener, Messages};

/// The header that carries the version where the file names none.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-gray-version");
/// Requests that run get this long to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
const LISTEN: &str = "0.0.0.0:8080";
const ADMIN: &str = "127.0.0.1:9090";

/// Everything the process file says, with its defaults.
#[derive(Debug)]
pub struct Config {
    pub proxy: request::Settings,
    pub admin: admin::Settings,
    /// `None`: the admin address speaks plain text.
    pub admin_tls: Option<Tls>,
    pub documents: Source,
    /// Where the last good state is kept; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// `None`: no access log.
    pub access_log: Option<AccessLogSettings>,
    pub log: LogSettings,
    /// Files that requests are decided by, beside documents.
    pub believed: BelievedFiles,
    /// Where a process that takes over meets the running one; `None`: nowhere.
    pub upgrade_socket: Option<PathBuf>,
    /// `None`: it is no gateway of messages.
    pub messages: Option<Messages>,
}

/// Files that say what is believed of requests; they are read again when they change.
#[derive(Clone, Default, Debug)]
pub struct BelievedFiles {
    /// The process file that names them; empty where it was no file.
    pub document: String,
    /// The keys of testers' words; `None`: there are no such words.
    pub keys: Option<PathBuf>,
    /// The database of places; `None`: where clients are is unknown.
    pub places: Option<PathBuf>,
}

impl Config {
    /// Reads the file; the error holds every mistake.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let notes = Notes::of(path.display().to_string());
        match std::fs::read_to_string(path) {
            Ok(text) => Config::parse(&text, notes)?.with_files(path),
            Err(error) => {
                notes.note("", format!("cannot be read: {error}"), "");
                Err(notes.into_problems())
            }
        }
    }

    /// Reads what requests are decided by: a proxy that cannot let in who was promised to be, or that does not know where
    /// clients are, says so before it begins.
    fn with_files(mut self, path: &Path) -> Result<Config, Vec<Problem>> {
        let document = path.display().to_string();
        let mut problems = Vec::new();
        let mut mistake = |field: &str, file: &Path, why: String| {
            let message = format!("`{}`: {why}", file.display());
            problems.push(Problem::at(document.clone(), field, message, ""));
        };
        let trust = &mut self.proxy.trust;
        if let Some(file) = &self.believed.keys {
            match read_file(file).and_then(read_keys) {
                Ok(keys) => trust.overrides = keys,
                Err(why) => mistake("overrides.secret_file", file, why),
            }
        }
        if let Some(file) = &self.believed.places {
            match read_file(file).and_then(read_places) {
                Ok(places) => trust.places = Some(Arc::new(places)),
                Err(why) => mistake("geo.database", file, why),
            }
        }
        self.believed.document = document;
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// Reads the file, and the certificates it names: what the proxy cannot begin without.
    pub fn load_to_run(path: &Path) -> Result<(Config, CertificateSets), Vec<Problem>> {
        let config = Config::load(path)?;
        let document = path.display().to_string();
        let mistake = |field: String, message: String| Problem::at(document.clone(), field, message, "");
        let admin = Listener { tls: config.admin_tls.clone(), ..Listener::plain(config.admin.address) };
        let messages = config.messages.iter().flat_map(|messages| &messages.listen);
        let messages = messages.map(|of| Listener { tls: of.tls.clone(), ..Listener::plain(of.address) });
        let listeners: Vec<_> = config.proxy.listen.iter().cloned().chain([admin]).chain(messages).collect();
        let own = config.proxy.listen.len();
        let field = |i: usize| match i < own {
            true => format!("listen[{i}].tls.certificates"),
            false if i == own => "admin.tls.certificates".to_owned(),
            false => format!("messages.listen[{}].tls.certificates", i - own - 1),
        };
        let opened = CertificateSets::open(&listeners);
        let opened = opened.map_err(|mistakes| {
            mistakes.into_iter().map(|(i, message)| mistake(field(i), message)).collect::<Vec<_>>()
        });
        let token = config.admin.token_file.as_deref().map(admin::Token::open);
        let unreadable = token
            .and_then(Result::err)
            .map(|error| mistake("admin.token_file".to_owned(), format!("cannot be read: {error}")));
        match (opened, unreadable) {
            (Ok(sets), None) => Ok((config, sets)),
            (opened, unreadable) => Err(opened.err().into_iter().flatten().chain(unreadable).collect()),
        }
    }

    /// Reads a process file's text; `notes` knows the file's name.
    pub fn parse(text: &str, notes: Notes) -> Result<Config, Vec<Problem>> {
        let node = match text::parse(text, Syntax::Yaml) {
            Ok(node) => node,
            Err(error) => {
                notes.note("", error.to_string(), "");
                return Err(notes.into_problems());
            }
        };
        let config = Field::root(&node, &notes).map().and_then(|map| read(map));
        match config {
            Some(config) if notes.is_empty() => Ok(config),
            _ => Err(notes.into_problems()),
        }
    }
}

fn read(mut map: Map<'_>) -> Option<Config> {
    let threads = map.or("threads", cores(), |f| f.integer(1, 1024).and_then(|n| usize::try_from(n).ok()));
    let listen = map.get("listen").and_then(|f| listen::read(&f));
    let admin = map.get("admin").and_then(|f| read_admin(&f));
    let documents = map.required("documents").and_then(|f| graygate_store::read_source(&f));
    let cache = map.get("cache").and_then(|f| f.text().map(PathBuf::from));
    let trust = read_trust(&mut map);
    let keys = map.get("overrides").and_then(|f| read_file_name(&f, "secret_file"));
    let places = map.get("geo").and_then(|f| read_file_name(&f, "database"));
    let respond_version = map.or("respond_version", RespondVersion::Never, |f| {
        f.word(&[
            ("never", RespondVersion::Never),
            ("trusted", RespondVersion::Trusted),
            ("always", RespondVersion::Always),
        ])
    });
    let plain = map.or("short_path", Way::Short, |f| f.word(&[("on", Way::Short), ("off", Way::Pipeline)]));
    let access_log = access::read_log(&mut map);
    let log = map.or("log", LogSettings::default(), access::read_process_log);
    let upgrade_socket = map.get("upgrade_socket").and_then(|f| f.text().map(PathBuf::from));
    let messages = map.get("messages").and_then(|f| {
        let messages = messages::read(&f)?;
        let is_kept = cache.is_some() || !matches!(documents, Some(Source::Directory(_)));
        if !is_kept {
            f.wrong::<()>("lanes need a place to be remembered in", "set `cache`, or keep documents in etcd");
        }
        Some(messages)
    });
    let limits = map.or("limits", edge::Limits::default(), access::read_limits);
    let grace = map.or("shutdown", GRACE, |f| {
        let mut inner = f.map()?;
        let grace = inner.or("grace", GRACE, |f| f.duration());
        inner.note_unknown();
        Some(grace)
    });
    map.note_unknown();
    let listen = listen.unwrap_or_else(|| LISTEN.parse().map(Listener::plain).into_iter().collect());
    let (settings, admin_tls) = admin.or_else(|| Some((admin_at(ADMIN.parse().ok()?), None)))?;
    let admin = settings.address;
    if listen.iter().any(|listener| listener.address == admin) {
        map.wrong::<()>(
            format!("`{admin}` is both a listener and the admin address"),
            "give them different ports",
        );
    }
    Some(Config {
        proxy: request::Settings { threads, listen, trust, respond_version, limits, plain, grace },
        admin: settings,
        admin_tls,
        documents: documents?,
        believed: BelievedFiles { document: String::new(), keys, places },
        upgrade_socket: upgrade_socket.or_else(|| derived_socket(cache.as_deref())),
        cache,
        access_log,
        log,
        messages,
    })
}

/// In the directory the service manager made for this service, or beside the cache: nowhere others may write.
fn derived_socket(cache: Option<&Path>) -> Option<PathBuf> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    runtime.as_deref().or(cache).map(|directory| directory.join("upgrade.sock"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn admin_at(address: SocketAddr) -> admin::Settings {
    admin::Settings { address, advertise: None, token_file: None }
}

fn read_admin(field: &Field<'_>) -> Option<(admin::Settings, Option<Tls>)> {
    let mut map = field.map()?;
    let address = map.required("address").and_then(|f| listen::read_address(&f));
    let advertise =
        map.get("advertise").and_then(|f| f.parsed("a URL like `http://10.0.0.7:9090`", advertised));
    let token_file = map.get("token_file").and_then(|f| f.text().map(PathBuf::from));
    let tls = map.get("tls").and_then(|f| listen::read_tls(&f));
    map.note_unknown();
    Some((admin::Settings { advertise, token_file, ..admin_at(address?) }, tls))
}

/// An address that others can use: a scheme and a host, and nothing that would be left out when it is asked.
fn advertised(text: &str) -> Option<String> {
    let url: http::Uri = text.parse().ok()?;
    let is_whole =
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
    (is_whole && matches!(url.path(), "" | "/") && url.query().is_none())
        .then(|| text.trim_end_matches('/').to_owned())
}

fn read_trust(map: &mut Map<'_>) -> Trust {
    let mut networks = |key| {
        let nets = map.get(key).and_then(|f| {
            f.list_of(Emptiness::Allowed, |item| {
                item.parsed("an address or a CIDR like `10.0.0.0/8`", canonical_net)
            })
        });
        nets.map(|nets| nets.into_iter().collect::<NetworkSet>())
    };
    let forwarded = networks("trust").unwrap_or_default();
    let version = networks("version_from").unwrap_or_else(|| forwarded.clone());
    let version_header = map.or("version_header", VERSION_HEADER, |f| {
        f.parsed("a header's name", |text| HeaderName::from_bytes(text.as_bytes()).ok())
    });
    let baggage = map.or("baggage", false, |f| f.boolean());
    // Their keys are read once the whole file is known to be good.
    Trust { forwarded, version, version_header, baggage, overrides: Overrides::default(), places: None }
}

/// The one field of a map that names a file.
fn read_file_name(field: &Field<'_>, key: &'static str) -> Option<PathBuf> {
    let mut map = field.map()?;
    let file = map.required(key);
    map.note_unknown();
    file?.text().map(PathBuf::from)
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}

/// The keys of testers' words; the error is a sentence for the operator.
pub fn read_keys(bytes: Vec<u8>) -> Result<Overrides, String> {
    let text = String::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_owned())?;
    Overrides::read(&text).map_err(|why| why.to_string())
}

/// The database of places; the error is a sentence for the operator.
pub fn read_places(bytes: Vec<u8>) -> Result<Places, String> {
    Places::read(bytes).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests;
