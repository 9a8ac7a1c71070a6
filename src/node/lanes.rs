//! The gateway of messages, made of what the process file says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;

use super::follow::Member;
use crate::config::{MessageListener, Messages};
use graygate_messages::{Gateway, Listener, Settings};
use graygate_proxy::edge::CertificateSets;
use graygate_store::{Source, board, fleet};
use graygate_telemetry::Registry;

/// Where a process without a store remembers lanes, in its cache.
const FILE: &str = "lanes.json";
/// gRPC is HTTP/2, and a client that is not told so in the handshake goes.
const PROTOCOL: &[u8] = b"h2";

pub struct Surroundings<'a> {
    pub source: &'a Source,
    pub cache: Option<&'a Path>,
    pub member: &'a Member,
    pub certificates: &'a CertificateSets,
    pub registry: &'a Registry,
}

/// `None` where the process is no gateway.
pub fn gateway(messages: Option<&Messages>, at: &Surroundings<'_>) -> anyhow::Result<Option<Arc<Gateway>>> {
    let Some(messages) = messages else { return Ok(None) };
    let place = match (at.source, at.cache) {
        (Source::Etcd(settings), _) => board::Place::Etcd(settings.clone()),
        (Source::Directory(_), Some(cache)) => board::Place::File(cache.join(FILE)),
        (Source::Directory(_), None) => anyhow::bail!("`messages` needs a `cache` to remember lanes in"),
    };
    let listen = messages.listen.iter().map(|listener| listening(listener, at.certificates));
    let address: SocketAddr = at.member.address;
    let settings = Settings {
        id: fleet::id(&at.member.host, &address.to_string(), std::process::id()),
        listen: listen.collect::<anyhow::Result<_>>()?,
        proxies: messages.proxies.clone(),
        place,
    };
    Ok(Some(Arc::new(Gateway::new(settings, at.registry))))
}

fn listening(listener: &MessageListener, certificates: &CertificateSets) -> anyhow::Result<Listener> {
    let tls = match &listener.tls {
        None => None,
        Some(tls) => {
            let config = certificates.config(tls)?.context("the certificates of a listener are not there")?;
            let mut config = ServerConfig::clone(&config);
            config.alpn_protocols = vec![PROTOCOL.to_vec()];
            Some(Arc::new(config))
        }
    };
    let version = listener.version.as_ref().map(|version| version.as_str().to_owned());
    Ok(Listener { address: listener.address, version, tls })
}
