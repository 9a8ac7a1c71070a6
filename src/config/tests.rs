//! The process file of the contract, and its mistakes.

use super::*;
use graygate_telemetry::LogPath;

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Notes::of("graygate.yaml"))
}

#[test]
fn the_contract_s_file_is_read() {
    let config = parse(
        r#"
threads: 2
listen:
  - {address: "0.0.0.0:8080"}
  - {address: "0.0.0.0:8443", tls: {certificates: /etc/graygate/certificates, min_version: "1.2"}, h2: true}
  - {address: "0.0.0.0:8081", h2c: true}
admin: {address: "127.0.0.1:9090"}
documents:
  etcd: {endpoints: ["http://127.0.0.1:2379"], prefix: /graygate, username: u, password_file: p}
cache: /var/lib/graygate
trust: [127.0.0.0/8, 10.0.0.0/8]
version_from: [10.0.0.0/8]
version_header: x-gray-version
respond_version: trusted
baggage: true
access_log: {path: stdout, sample: 100%}
limits: {header_bytes: 64KiB, headers: 100, header_timeout: 10s, body: 100MiB, body_rate: 1KiB/s, keepalive: 60s, connections: 100000, connections_per_ip: 0}
shutdown: {grace: 20s}
"#,
    )
    .unwrap();
    assert_eq!(config.proxy.threads, 2);
    assert_eq!(config.proxy.limits, edge::Limits::default());
    assert_eq!(config.proxy.respond_version, RespondVersion::Trusted);
    let address = |text: &str| text.parse().unwrap();
    assert!(config.proxy.trust.forwarded.contains(address("127.0.0.1")));
    assert!(!config.proxy.trust.version.contains(address("127.0.0.1")));
    assert!(config.proxy.trust.version.contains(address("10.1.1.1")));
    assert!(matches!(config.documents, Source::Etcd(_)));
}

#[test]
fn everything_but_the_documents_has_a_default() {
    let config = parse("documents: {directory: conf/documents}\ntrust: [10.0.0.0/8]").unwrap();
    assert_eq!(config.proxy.listen, [Listener::plain("0.0.0.0:8080".parse().unwrap())]);
    assert_eq!(config.admin.address, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.proxy.trust.version_header, "x-gray-version");
    assert!(config.proxy.trust.version.contains("10.0.0.1".parse().unwrap()));
    assert!(!config.proxy.trust.baggage);
    assert_eq!(config.proxy.grace, Duration::from_secs(20));
    assert_eq!(config.access_log.map(|log| log.path), Some(LogPath::Stdout));
    let problems = parse("threads: 1").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("`documents` is missing"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let problems = parse(
        "thread: 2\nlisten: [{adress: a}]\ndocuments: {directory: a, etcd: {}}\ntrust: [x]\nlimits: {body: 5}\n\
         respond_version: yes\nversion_header: 'a b'\nadmin: {address: '127.0.0.1'}\nshutdown: {grace: 0s}",
    )
    .unwrap_err();
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "listen[0].adress",
            "admin.address",
            "documents",
            "trust[0]",
            "version_header",
            "respond_version",
            "limits.body",
            "shutdown.grace",
            "thread",
        ]
    );
    assert!(problems.iter().all(|problem| problem.document() == "graygate.yaml"));
    assert!(problems.iter().any(|problem| problem.help.contains("did you mean `threads`?")));
}

#[test]
fn the_admin_address_may_ask_for_a_token_and_say_where_it_is() {
    let config = parse(
        "documents: {directory: a}\nadmin: {address: '0.0.0.0:9090', advertise: 'https://10.0.0.7:9090/', \
         token_file: /t, tls: {certificates: /c}}",
    )
    .unwrap();
    assert_eq!(config.admin.advertise.as_deref(), Some("https://10.0.0.7:9090"));
    assert_eq!(config.admin.token_file.as_deref(), Some(Path::new("/t")));
    assert_eq!(config.admin_tls.map(|tls| tls.certificates), Some("/c".into()));
    for advertise in ["10.0.0.7:9090", "ftp://a", "http://", "http://a/path", "http://a/?q"] {
        let problems = parse(&format!(
            "documents: {{directory: a}}\nadmin: {{address: '127.0.0.1:1', advertise: '{advertise}'}}"
        ));
        assert_eq!(problems.unwrap_err()[0].field, "admin.advertise", "{advertise}");
    }
}

#[test]
fn addresses_do_not_collide() {
    let problems = parse(
        "documents: {directory: a}\nlisten: [{address: '127.0.0.1:9090'}, {address: '127.0.0.1:9090'}]",
    )
    .unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn listeners_say_what_they_speak() {
    let config = parse(
        "documents: {directory: a}\nlisten: [{address: '127.0.0.1:1', tls: {certificates: /c}}, \
         {address: '127.0.0.1:2', h2c: true, proxy_protocol: true}]",
    )
    .unwrap();
    let address = |text: &str| text.parse().unwrap();
    let tls = edge::Tls { certificates: "/c".into(), min_version: edge::TlsVersion::Tls12 };
    let encrypted = Listener { tls: Some(tls), ..Listener::plain(address("127.0.0.1:1")) };
    let behind = Listener { h2c: true, proxy_protocol: true, ..Listener::plain(address("127.0.0.1:2")) };
    assert_eq!(config.proxy.listen, [encrypted, behind]);
    let problems = parse(
        "documents: {directory: a}\nlisten: [{address: '127.0.0.1:1', h2: true}, \
         {address: '127.0.0.1:2', tls: {certificates: c, min_version: '1.1'}, h2c: true}, \
         {address: '127.0.0.1:3', tls: {}}]",
    )
    .unwrap_err();
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["listen[0].h2", "listen[1].tls.min_version", "listen[1].h2c", "listen[2].tls"]);
}
