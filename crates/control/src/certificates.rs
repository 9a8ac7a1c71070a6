//! Certificates of a directory: pairs `name.crt` and `name.key`, by the name a client asks for.
//!
//! Owns: reading the pairs, the choice, and reading them again when files change. A broken pair is left out and told;
//! where nothing can be read any more, what was read before stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Marks = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The pairs of a directory.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    pairs: ArcSwap<Vec<Pair>>,
}

#[derive(Clone, Debug)]
struct Pair {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads the directory; the error says why nothing of it can be used.
    pub fn open(directory: &Path) -> Result<Arc<Certificates>, String> {
        let (pairs, problems) = read_all(directory)?;
        match (pairs.is_empty(), problems.first()) {
            (false, _) => {}
            (true, Some(problem)) => return Err(problem.clone()),
            (true, None) => return Err("there is no pair of `name.crt` and `name.key` in it".to_owned()),
        }
        problems.iter().for_each(|problem| tracing::warn!(problem, "a certificate is left out"));
        Ok(Arc::new(Certificates { directory: directory.to_owned(), pairs: ArcSwap::from_pointee(pairs) }))
    }

    /// What a listener needs.
    pub fn server(self: &Arc<Certificates>) -> Result<Arc<rustls::ServerConfig>, String> {
        let provider = Arc::new(default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads changed files, for as long as anyone uses them.
    pub async fn follow(self: Arc<Certificates>) {
        let mut seen = marks(&self.directory);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = marks(&self.directory);
            if now == seen {
                continue;
            }
            seen = now;
            match read_all(&self.directory) {
                Ok((pairs, problems)) => {
                    problems.iter().for_each(|problem| tracing::warn!(problem, "a certificate is left out"));
                    if !pairs.is_empty() {
                        self.pairs.store(Arc::new(pairs));
                        tracing::info!("certificates are read again");
                    }
                }
                Err(error) => tracing::warn!(error, "certificates cannot be read; those read before stay"),
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pairs = self.pairs.load();
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let wildcard =
            asked.as_deref().and_then(|name| name.split_once('.')).map(|(_, rest)| format!("*.{rest}"));
        let named = |name: &Option<String>| {
            let name = name.as_ref()?;
            pairs.iter().find(|pair| pair.names.contains(name))
        };
        named(&asked).or_else(|| named(&wildcard)).or_else(|| pairs.first()).map(|pair| pair.key.clone())
    }
}

fn marks(directory: &Path) -> Marks {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let marks = entries.filter_map(|entry| {
        let found = std::fs::metadata(entry.path()).ok()?;
        Some((entry.path(), (found.len(), found.modified().ok())))
    });
    marks.collect()
}

fn read_all(directory: &Path) -> Result<(Vec<Pair>, Vec<String>), String> {
    let shown = directory.display();
    let entries = std::fs::read_dir(directory).map_err(|error| format!("{shown}: {error}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
    files.sort();
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match read_pair(&file) {
            Ok(pair) => pairs.push(pair),
            Err(error) => problems.push(format!("{}: {error}", file.display())),
        }
    }
    Ok((pairs, problems))
}

fn read_pair(file: &Path) -> Result<Pair, String> {
    let chain = CertificateDer::pem_file_iter(file).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_file(file.with_extension("key"))
        .map_err(|error| format!("its key: {error}"))?;
    let first = chain.first().ok_or("no certificate in it")?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| error.to_string())?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|found| &found.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let names = names.collect();
    let signing = default_provider().key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| format!("key and certificate do not belong together: {error}"))?;
    Ok(Pair { names, key: Arc::new(certified) })
}
