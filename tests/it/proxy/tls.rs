//! Towards instances over TLS: who is believed, what is shown, and what a refusal means for the user.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED};
use crate::harness::upstream::{Upstream, ok};
use crate::harness::wire::Connection;
use tokio::io::AsyncWriteExt as _;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, and its key; an expired one was good in 2001.
fn certificate(authority: &Authority, names: &[&str], expired: bool) -> (rcgen::Certificate, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 12, 31);
    }
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// An instance that answers over TLS; with `asks` only who shows a certificate of that authority.
async fn serve(own: (rcgen::Certificate, KeyPair), asks: Option<&Authority>, alpn: &[&[u8]]) -> SocketAddr {
    let chain = vec![CertificateDer::from(own.0.der().to_vec())];
    let key = PrivateKeyDer::try_from(own.1.serialize_der()).unwrap();
    let builder = ServerConfig::builder();
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|word| word.to_vec()).collect();
    let is_h2 = alpn == [b"h2"];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if is_h2 {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data("h2".into(), true).unwrap();
                    }
                    return;
                }
                let mut connection = Connection::over(stream);
                while let Ok(Some(_)) = connection.message(true).await {
                    connection.stream.write_all(ok("tls").as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// Status and body of one request to this instance, and how many connections to it failed.
async fn ask(instance: SocketAddr, lines: &str) -> (u16, String, f64) {
    let service =
        format!("instances:\n  - {{address: \"{instance}\", version: release}}\nretries: 0\n{lines}");
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let answer = proxy.get("/", &[]).await;
    let labels = [("service", "s"), ("version", "release"), ("outcome", "connect_failed")];
    let failed = proxy.metrics().await.get("graygate_upstream_tries_total", &labels).unwrap_or(0.0);
    (answer.status(), answer.text(), failed)
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_to_be_who_it_should_be() {
    let (good, other) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let ca = write(&folder.path().join("ca.pem"), &good.pem());
    let named = serve(certificate(&good, &["patient.internal"], false), None, &[]).await;
    let addressed = serve(certificate(&good, &["127.0.0.1"], false), None, &[]).await;
    let foreign = serve(certificate(&other, &["patient.internal"], false), None, &[]).await;
    let expired = serve(certificate(&good, &["patient.internal"], true), None, &[]).await;
    let h2 = serve(certificate(&good, &["patient.internal"], false), None, &[b"h2"]).await;
    let name = format!("server_name: patient.internal, ca: {ca}");
    let refused = |failed| (502, "the upstream failed to answer\n".to_string(), failed);
    let fine = |text: &str| (200, text.to_string(), 0.0);
    for (case, address, lines, expected) in [
        ("the name", named, format!("tls: {{{name}}}"), fine("tls")),
        ("the address", addressed, format!("tls: {{ca: {ca}}}"), fine("tls")),
        ("h2", h2, format!("protocol: h2\ntls: {{{name}}}"), fine("h2")),
        ("no verifying", foreign, "tls: {verify: false}".into(), fine("tls")),
        ("another name", named, format!("tls: {{server_name: other.internal, ca: {ca}}}"), refused(1.0)),
        ("not the address", named, format!("tls: {{ca: {ca}}}"), refused(1.0)),
        ("another authority", foreign, format!("tls: {{{name}}}"), refused(1.0)),
        ("the system's authorities", named, "tls: {server_name: patient.internal}".into(), refused(1.0)),
        ("expired", expired, format!("tls: {{{name}}}"), refused(1.0)),
    ] {
        let (status, text, failed) = ask(address, &lines).await;
        let text = if expected.0 == 200 { text } else { expected.1.clone() };
        assert_eq!((status, text, failed), expected, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_believed_costs_the_user_nothing() {
    let (good, other) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let ca = write(&folder.path().join("ca.pem"), &good.pem());
    let release = serve(certificate(&good, &["127.0.0.1"], false), None, &[]).await;
    let gray = serve(certificate(&other, &["127.0.0.1"], false), None, &[]).await;
    let service = crate::harness::sample::instances(&[("release", release), ("gray", gray)])
        + &format!("tls: {{ca: {ca}}}\n");
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let answer = proxy.get("/", &[("x-want", "gray")]).await;
    assert_eq!((answer.status(), &*answer.text()), (200, "tls"));
    let fell_back = &[("service", "s"), ("from", "gray"), ("to", "release"), ("reason", "connect_failed")];
    proxy.metric_becomes("graygate_fallbacks_total", fell_back, 1.0).await;
    let tried = [("service", "s"), ("version", "gray"), ("outcome", "connect_failed")];
    assert_eq!(proxy.metrics().await.get("graygate_upstream_tries_total", &tried), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown_where_one_is_asked_for() {
    let (own, clients) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(&folder.path().join(name), text);
    let ca = file("ca.pem", &own.pem());
    let (certificate_of_ours, key) = certificate(&clients, &["graygate"], false);
    let (chain, key) = (file("own.pem", &certificate_of_ours.pem()), file("own.key", &key.serialize_pem()));
    let address = serve(certificate(&own, &["127.0.0.1"], false), Some(&clients), &[]).await;
    let shown = format!("tls: {{ca: {ca}, certificate: {chain}, key: {key}}}");
    assert_eq!(ask(address, &shown).await, (200, "tls".into(), 0.0));
    let (status, ..) = ask(address, &format!("tls: {{ca: {ca}}}")).await;
    assert_eq!(status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_taken_and_broken_ones_held_back() {
    let (own, next, clients) = (authority(), authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(&folder.path().join(name), text);
    let (shown, key) = certificate(&clients, &["graygate"], false);
    let (chain, key) = (file("own.pem", &shown.pem()), file("own.key", &key.serialize_pem()));
    let ca = file("ca.pem", &own.pem());
    let asks = Some(&clients);
    let old = serve(certificate(&own, &["127.0.0.1"], false), asks, &[]).await;
    let new = serve(certificate(&next, &["127.0.0.1"], false), asks, &[]).await;
    // Every request comes on a connection of its own.
    let service = crate::harness::sample::instances(&[("release", old), ("gray", new)])
        + "fallback: {gray: none}\nretries: 0\ntimeouts: {idle: 1ms}\n"
        + &format!("outlier: off\ntls: {{ca: {ca}, certificate: {chain}, key: {key}}}\n");
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let status = async |version| proxy.get("/", &[("x-want", version)]).await.status();
    let problems = async || {
        let problems = proxy.status().await["problems"].clone();
        let field = |one: &serde_json::Value| one["field"].as_str().unwrap().to_string();
        problems.as_array().unwrap().iter().map(field).collect::<Vec<_>>()
    };
    assert_eq!((status("release").await, status("gray").await), (200, 502));
    // Another authority, and nothing but the file says so.
    file("ca.pem", &(own.pem() + &next.pem()));
    until(async || status("gray").await == 200).await;
    // A key of another certificate is a problem, and the pair before it is still shown.
    file("own.key", &KeyPair::generate().unwrap().serialize_pem());
    until(async || problems().await == ["tls.key"]).await;
    assert_eq!((status("release").await, status("gray").await), (200, 200));
    file("ca.pem", "rubbish");
    until(async || problems().await == ["tls.ca", "tls.key"]).await;
    assert_eq!((status("release").await, status("gray").await), (200, 200));
    // A service that never had a good pair shows none, and says so.
    proxy.write("services/other.yaml", &service);
    until(async || problems().await.len() == 4).await;
    let (shown, private) = certificate(&clients, &["graygate"], false);
    file("own.pem", &shown.pem());
    file("own.key", &private.serialize_pem());
    file("ca.pem", &next.pem());
    until(async || problems().await.is_empty()).await;
    until(async || (status("release").await, status("gray").await) == (502, 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_are_problems_at_their_field() {
    let folder = tempfile::tempdir().unwrap();
    let rubbish = write(&folder.path().join("rubbish.pem"), "no certificate");
    let gone = folder.path().join("gone.pem").display().to_string();
    let up = Upstream::named("up").await;
    let service = format!(
        "instances:\n  - {{address: \"{}\", version: release}}\n\
         tls: {{ca: {gone}, certificate: {rubbish}, key: {gone}}}\n",
        up.address
    );
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let status = proxy.status().await;
    let fields: Vec<&str> =
        status["problems"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["tls.ca", "tls.certificate", "tls.key"]);
    // No one is believed in the place of an authority that cannot be read.
    assert_eq!(proxy.get("/", &[]).await.status(), 502);
}
