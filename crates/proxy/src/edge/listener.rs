//! The listeners: what each of them speaks, and the certificates of those that encrypt.
//!
//! Answers: what is agreed on before a first request? Owns the configurations of TLS and following their certificates.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::version::{TLS12, TLS13};
use tokio::time::timeout;

use super::certificates::{Certificates, HeldBack, LOOK_EVERY, QUIET};
use super::client_io::ClientIo;
use super::frames::PREFACE;
use super::settings::{Listener, Tls, TlsVersion};
use crate::metrics::Metrics;
use graygate_telemetry::{Counter, Gauge};

/// One listener at work.
pub struct BoundListener {
    pub listener: Listener,
    pub connections: Arc<Gauge>,
    tls: Option<Arc<ServerConfig>>,
    refused: [Arc<Counter>; Refusal::ALL.len()],
}

/// Why a connection ended before anything was asked on it.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// Too many connections, of all clients or of this one.
    Limit,
    /// No header of the PROXY protocol, or a broken one.
    ProxyProtocol,
    /// The handshake failed or took too long.
    Tls,
}

impl Refusal {
    const ALL: [&str; 3] = ["limit", "proxy_protocol", "tls"];
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    Http1,
    Http2,
}

impl BoundListener {
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(counter) = self.refused.get(refusal as usize) {
            counter.increment();
        }
    }

    /// Shakes hands where the listener encrypts, and finds out what is spoken; `None`: nothing.
    pub async fn agree(&self, mut io: ClientIo, limit: Duration) -> Option<(ClientIo, Speaks)> {
        if let Some(config) = &self.tls {
            let Ok(Ok(io)) = timeout(limit, io.encrypt(config.clone())).await else {
                self.refuse(Refusal::Tls);
                return None;
            };
            let speaks = if io.chose_h2() { Speaks::Http2 } else { Speaks::Http1 };
            return Some((io, speaks));
        }
        if !self.listener.h2c {
            return Some((io, Speaks::Http1));
        }
        // Who stops within the preface is a client of HTTP/1 that is slow, and is told so.
        match timeout(limit, knows_h2(&mut io)).await {
            Ok(true) => Some((io, Speaks::Http2)),
            Ok(false) => Some((io, Speaks::Http1)),
            Err(_) if io.ahead().is_empty() => None,
            Err(_) => Some((io, Speaks::Http1)),
        }
    }
}

/// Whether the connection begins as HTTP/2 does; nothing of it is used up.
async fn knows_h2(io: &mut ClientIo) -> bool {
    loop {
        let seen = io.ahead();
        if seen.starts_with(PREFACE) {
            return true;
        }
        if !PREFACE.starts_with(seen) || !io.read_ahead().await.is_ok_and(|count| count > 0) {
            return false;
        }
    }
}

/// The certificates of all listeners, each directory once.
#[derive(Clone, Default)]
pub struct CertificateSets(Vec<Arc<Certificates>>);

impl CertificateSets {
    /// Reads every directory; the error says which listener has none that can be used, and why.
    pub fn open(listeners: &[Listener]) -> Result<CertificateSets, Vec<(usize, String)>> {
        let mut sets = CertificateSets::default();
        let mut mistakes = Vec::new();
        for (i, listener) in listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            if sets.of(tls).is_none() {
                match Certificates::open(&tls.certificates) {
                    Ok(set) => sets.0.push(Arc::new(set)),
                    Err(message) => mistakes.push((i, message)),
                }
            }
        }
        if mistakes.is_empty() { Ok(sets) } else { Err(mistakes) }
    }

    fn of(&self, tls: &Tls) -> Option<&Arc<Certificates>> {
        self.0.iter().find(|set| set.directory() == tls.certificates)
    }

    /// What a listener of another program shows, out of these; `None` where its directory is not among them.
    pub fn config(&self, tls: &Tls) -> Result<Option<Arc<ServerConfig>>, rustls::Error> {
        self.of(tls).map(|set| server_config(tls, set, false)).transpose()
    }

    /// The listeners at work.
    pub fn bind(
        &self,
        listeners: &[Listener],
        metrics: &Metrics,
    ) -> Result<Vec<BoundListener>, rustls::Error> {
        self.measure(metrics);
        let bind = |listener: &Listener| {
            let name = listener.address.to_string();
            let tls = listener.tls.as_ref().and_then(|tls| Some((tls, self.of(tls)?)));
            Ok(BoundListener {
                connections: metrics.connections(&name),
                tls: tls.map(|(tls, set)| server_config(tls, set, listener.h2)).transpose()?,
                refused: Refusal::ALL.map(|reason| metrics.connections_refused(&name, reason)),
                listener: listener.clone(),
            })
        };
        listeners.iter().map(bind).collect()
    }

    /// The pairs that are held back, with the directory each is in.
    pub fn held_back(&self) -> Vec<(String, HeldBack)> {
        let of = |set: &Arc<Certificates>| {
            let directory = set.directory().display().to_string();
            set.held_back().into_iter().map(move |pair| (directory.clone(), pair)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Takes changes of the files, for as long as it is polled.
    pub async fn follow(&self, metrics: &Metrics) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for set in &self.0 {
                let Some(mut change) = set.changed() else { continue };
                // Until two looks agree; a file that never stops changing is read at the next turn.
                for _ in 0..10 {
                    tokio::time::sleep(QUIET).await;
                    match set.changed() {
                        Some(now) if now == change => break,
                        Some(now) => change = now,
                        None => break,
                    }
                }
                set.take(change);
            }
            self.measure(metrics);
        }
    }

    fn measure(&self, metrics: &Metrics) {
        let of = |set: &Arc<Certificates>| {
            let directory = set.directory().display().to_string();
            set.expiries().into_iter().map(move |(name, expiry)| (directory.clone(), name, expiry))
        };
        let expiries = self.0.iter().flat_map(|set| of(set).collect::<Vec<_>>()).collect();
        metrics.set_certificates(expiries, self.held_back().len());
    }
}

fn server_config(
    tls: &Tls,
    certificates: &Arc<Certificates>,
    h2: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&TLS12, &TLS13],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = match h2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}
