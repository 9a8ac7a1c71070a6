//! Certificates of a directory: which one a client is shown, and what becomes of a change.
//!
//! Owns the pairs `name.crt` and `name.key` of one directory, the choice by SNI, and looking for changes. A broken pair
//! is held back alone, with the last good one in force. Never: the handshake, or configuration of anything else.
//!
//! Files are looked at once a second instead of listening to the kernel: a look is one `stat` a file, sees every kind
//! of swap (renamed files, links of certbot and Kubernetes, network file systems), and a second is soon enough.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Between two looks at the files.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A change has to rest this long before it is read: the halves of a pair are written one after the other.
pub const QUIET: Duration = Duration::from_millis(200);
/// No certificate or key is larger.
const FILE_LIMIT: u64 = 1 << 20;

/// The pairs of one directory.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    shown: ArcSwap<Shown>,
    held: Mutex<Held>,
}

/// What a handshake chooses from.
#[derive(Debug, Default)]
struct Shown {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

#[derive(Debug, Default)]
struct Held {
    pairs: BTreeMap<String, Pair>,
    problems: BTreeMap<String, (String, SystemTime)>,
    marks: Marks,
}

#[derive(Clone, Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    /// Seconds since 1970 when it expires.
    expiry: i64,
}

/// What tells a changed file: its length, and when and as which file it was written.
type Marks = BTreeMap<PathBuf, (u64, Option<SystemTime>, u64)>;

/// A pair that is held back: the pair's name, why, and since when.
#[derive(Clone, Debug)]
pub struct HeldBack {
    pub name: String,
    pub message: String,
    pub since: SystemTime,
}

impl Certificates {
    /// Reads the directory; the error says why nothing of it can be used.
    pub fn open(directory: &Path) -> Result<Certificates, String> {
        let marks = look(directory).map_err(|error| format!("the directory cannot be read: {error}"))?;
        let certificates = Certificates {
            directory: directory.to_owned(),
            shown: ArcSwap::default(),
            held: Mutex::default(),
        };
        certificates.read(marks);
        let held = certificates.held.lock();
        if held.pairs.is_empty() {
            let broken = held.problems.iter().map(|(name, (message, _))| format!("`{name}`: {message}"));
            let broken: Vec<String> = broken.collect();
            return Err(match broken.is_empty() {
                true => "there is no pair of `name.crt` and `name.key` in the directory".into(),
                false => format!("no pair can be used: {}", broken.join(", ")),
            });
        }
        drop(held);
        Ok(certificates)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Name and expiry (seconds since 1970) of every certificate in force.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        self.held.lock().pairs.iter().map(|(name, pair)| (name.clone(), pair.expiry)).collect()
    }

    pub fn held_back(&self) -> Vec<HeldBack> {
        let report = |(name, (message, since)): (&String, &(String, SystemTime))| HeldBack {
            name: name.clone(),
            message: message.clone(),
            since: *since,
        };
        self.held.lock().problems.iter().map(report).collect()
    }

    /// What the files look like, if that differs from what was read last.
    pub fn changed(&self) -> Option<Change> {
        // A directory that is gone takes no certificate away.
        let marks = look(&self.directory).ok()?;
        (marks != self.held.lock().marks).then_some(Change(marks))
    }

    /// Takes a change.
    pub fn take(&self, change: Change) {
        self.read(change.0);
    }

    fn read(&self, marks: Marks) {
        let mut names: Vec<String> = marks.keys().filter_map(|path| pair_name(path)).collect();
        names.dedup();
        let held = &mut *self.held.lock();
        let mut pairs = BTreeMap::new();
        let mut problems = BTreeMap::new();
        for name in names {
            match read_pair(&self.directory, &name) {
                Ok(pair) => {
                    pairs.insert(name, pair);
                }
                Err(message) => {
                    if let Some(last) = held.pairs.get(&name) {
                        pairs.insert(name.clone(), last.clone());
                    }
                    let before = held.problems.get(&name).filter(|(known, _)| *known == message);
                    let since = before.map(|(_, since)| *since);
                    if since.is_none() {
                        tracing::warn!(directory = %self.directory.display(), pair = %name, %message,
                            "a certificate is held back");
                    }
                    problems.insert(name, (message, since.unwrap_or_else(SystemTime::now)));
                }
            }
        }
        held.marks = marks;
        held.problems = problems;
        if pairs.is_empty() && !held.pairs.is_empty() {
            tracing::warn!(directory = %self.directory.display(), "all certificates are gone; the last ones stay");
            return;
        }
        held.pairs = pairs;
        self.shown.store(Arc::new(Shown::of(&held.pairs)));
        tracing::info!(directory = %self.directory.display(), pairs = held.pairs.len(), "certificates are read");
    }
}

/// The files changed.
#[derive(PartialEq)]
pub struct Change(Marks);

impl Shown {
    fn of(pairs: &BTreeMap<String, Pair>) -> Shown {
        let mut shown =
            Shown { first: pairs.values().next().map(|pair| pair.key.clone()), ..Shown::default() };
        for pair in pairs.values() {
            for name in &pair.names {
                // Of two certificates for one name the first by file name wins.
                match name.strip_prefix("*.") {
                    Some(parent) => shown.wildcard.entry(parent.to_owned()).or_insert(pair.key.clone()),
                    None => shown.exact.entry(name.clone()).or_insert(pair.key.clone()),
                };
            }
        }
        shown
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let parent = || self.wildcard.get(name.split_once('.')?.1);
            self.exact.get(&name).or_else(parent)
        });
        named.or(self.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load().choose(hello.server_name())
    }
}

fn pair_name(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?;
    let name = path.file_stem()?.to_str()?;
    (matches!(extension, "crt" | "key") && !name.starts_with('.')).then(|| name.to_owned())
}

fn look(directory: &Path) -> std::io::Result<Marks> {
    use std::os::unix::fs::MetadataExt as _;
    let mut marks = Marks::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if pair_name(&path).is_none() {
            continue;
        }
        // Behind links; a link that leads nowhere is a missing half.
        let mark = std::fs::metadata(&path)
            .map_or((0, None, 0), |file| (file.len(), file.modified().ok(), file.ino()));
        marks.insert(path, mark);
    }
    Ok(marks)
}

fn read_pair(directory: &Path, name: &str) -> Result<Pair, String> {
    let certificate = read_file(&directory.join(format!("{name}.crt")))?;
    let key = read_file(&directory.join(format!("{name}.key")))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`{name}.crt` is no PEM: {error}"))?;
    let leaf = chain.first().ok_or_else(|| format!("`{name}.crt` holds no certificate"))?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| format!("`{name}.crt` holds no certificate: {error}"))?;
    let (names, expiry) = (names_of(&parsed), parsed.validity().not_after.timestamp());
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| format!("`{name}.key` holds no private key: {error}"))?;
    let key = CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|error| format!("key and certificate do not go together: {error}"))?;
    Ok(Pair { key: Arc::new(key), names, expiry })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let length = std::fs::metadata(path).map_err(|error| format!("`{name}` cannot be read: {error}"))?.len();
    if length > FILE_LIMIT {
        return Err(format!("`{name}` is too large"));
    }
    std::fs::read(path).map_err(|error| format!("`{name}` cannot be read: {error}"))
}

/// The names a certificate is for; the old place for one is asked only where the new one is missing.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = match alternatives {
        Some(names) => names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        None => {
            let common = certificate.subject().iter_common_name();
            common.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase())).collect()
        }
    };
    names
}
