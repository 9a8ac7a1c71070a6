//! Registries behind TLS: authorities of one's own, names that are not the address, and strangers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use graygate_control::registries::settings::{EurekaSettings, NacosSettings, RegistrySettings, Tls};
use graygate_testing::registries::servers::free_pair;
use graygate_testing::registries::{providers, servers};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::watch::Watch;

/// What the certificate is made out to.
const NAME: &str = "registry.test";

/// A certificate that signs itself, as a file, and what a server needs of it.
fn certificate(folder: &Path, name: &str) -> (PathBuf, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (file, Arc::new(server))
}

/// Takes TLS off what comes in on a port, and passes it on to another.
async fn terminate(port: u16, server: Arc<ServerConfig>, behind: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let behind = SocketAddr::from(([127, 0, 0, 1], behind));
                let Ok(mut server) = TcpStream::connect(behind).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

fn known(ca: &Path, domain: &str) -> Option<Tls> {
    Some(Tls { ca: Some(ca.to_owned()), identity: None, domain: Some(domain.to_owned()) })
}

/// Neither another authority nor another name is taken, and the link says which registry it was.
async fn is_refused(settings: RegistrySettings) {
    let mut watch = Watch::new(settings, &["a"]);
    watch.until("a refusal", |watch| watch.links.iter().any(|said| said.starts_with("down"))).await;
    assert!(!watch.is_up, "{:?}", watch.links);
}

#[tokio::test(flavor = "multi_thread")]
async fn nacos_behind_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, server_config) = certificate(folder.path(), "ca.pem");
    let (stranger, _) = certificate(folder.path(), "stranger.pem");
    let server = servers::nacos();
    let port = free_pair();
    terminate(port + 1_000, server_config, server.port + 1_000).await;
    let settings = |tls| {
        RegistrySettings::Nacos(NacosSettings {
            addresses: vec![format!("127.0.0.1:{port}")],
            namespace: "public".into(),
            group: "DEFAULT_GROUP".into(),
            clusters: Vec::new(),
            login: None,
            tls,
        })
    };
    let _there = providers::nacos(&server, "a", "10.0.0.1:80", "{}");
    let mut watch = Watch::new(settings(known(&ca, NAME)), &["a"]);
    watch.shows("a", &["10.0.0.1:80"]).await;
    is_refused(settings(known(&stranger, NAME))).await;
    is_refused(settings(known(&ca, "another.test"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eureka_behind_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, server_config) = certificate(folder.path(), "ca.pem");
    let (stranger, _) = certificate(folder.path(), "stranger.pem");
    let server = servers::eureka();
    let port = servers::free_port();
    terminate(port, server_config, server.port).await;
    let settings = |tls| {
        let addresses = vec![format!("https://127.0.0.1:{port}/eureka")];
        RegistrySettings::Eureka(EurekaSettings {
            addresses,
            login: None,
            tls,
            every: Duration::from_millis(500),
        })
    };
    let _there = providers::eureka(&server, "a", "10.0.0.1:80", "{}");
    let mut watch = Watch::new(settings(known(&ca, NAME)), &["a"]);
    watch.shows("a", &["10.0.0.1:80"]).await;
    is_refused(settings(known(&stranger, NAME))).await;
    is_refused(settings(known(&ca, "another.test"))).await;
}
