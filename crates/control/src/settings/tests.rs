use super::*;

fn check(text: &str) -> Vec<String> {
    match Config::parse(text, Notes::of("control.yaml")) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.iter().map(|problem| format!("{}: {}", problem.field, problem.sentence())).collect()
        }
    }
}

#[test]
fn everything_the_reference_names_is_read() {
    let text = r#"
listen: {address: "0.0.0.0:9180", tls: {certificates: /etc/c}, hosts: [gray.example.com], path: /gray/}
documents: {etcd: {endpoints: ["http://127.0.0.1:2379"]}}
state: /var/lib/graygate-control
state_prefix: /control
proxies: {allow: ["10.0.0.0/8:9090", "127.0.0.0/8"]}
admin_token_file: /etc/token
trust: [10.0.0.0/8]
sessions: {idle: 10m, lifetime: 8h}
oidc: {issuer: "https://id.example.com", client_id: X, client_secret_file: F, claim: groups, roles: {gray-admins: {role: admin}, staff: {role: editor, services: [patient]}}, hosts: []}
audit: {keep: 30d}
four_eyes: [patient]
measures: {main: {prometheus: "http://127.0.0.1:9091"}}
channels:
  ops-mail: {smtp: "smtp://127.0.0.1:25", from: a@b, to: [c@d]}
  ops-chat: {webhook: "http://127.0.0.1:1/x", format: dingtalk, secret_file: F, headers: {x-a: b}}
  sms: {webhook: "https://sms.example.com/send", headers: {authorization: Bearer x}, body: '{"to": "1", "text": "{text}"}', ca: C, language: zh}
  night: {smtp: "smtp://mail.example.com?tls=required", from: Graygate <a@b.example>, to: [c@d.example], username: u, password_file: P}
registries: {}
"#;
    let config = Config::parse(text, Notes::of("control.yaml")).unwrap();
    assert_eq!(config.listen.path, "/gray");
    assert_eq!(config.sessions.idle, Duration::from_secs(600));
    assert!(
        matches!(&config.proxies, ProxiesFrom::Fleet(nets) if nets[0].1 == Some(9090) && nets[1].1.is_none())
    );
    assert_eq!(config.four_eyes, FourEyes::Services(["patient".to_owned()].into()));
    assert_eq!(config.oidc.unwrap().roles.len(), 2);
    assert_eq!((config.channels.len(), config.registries.is_empty()), (4, true));
}

#[test]
fn little_is_needed() {
    let config = Config::parse("documents: {directory: d}\nstate: s\n", Notes::of("c")).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:9180");
    assert_eq!(config.audit_kept, AUDIT_KEPT);
}

#[test]
fn all_mistakes_are_told_at_once() {
    for (text, expected) in [
        (
            "documents: {directory: d}\n",
            vec![": `state` is missing; with a directory of documents everything else is kept there"],
        ),
        (
            "documents: {directory: d}\nstate: s\nsesions: {}\naudit: {kep: 1d}\n",
            vec![
                "audit.kep: unknown field `kep`; did you mean `keep`?",
                "sesions: unknown field `sesions`; did you mean `sessions`?",
            ],
        ),
        (
            "documents: {directory: d}\nstate: s\nlisten: {address: \"0.0.0.0:9180\"}\n",
            vec![
                "listen.address: `0.0.0.0:9180` is not a loopback address, and there is no `tls`; add `tls`, or listen on \
                 127.0.0.1; behind an ingress that ends TLS write `behind_tls: true` and `trust`",
            ],
        ),
        (
            "documents: {directory: d}\nstate: s\nlisten: {address: \"0.0.0.0:9180\", behind_tls: true}\n",
            vec![": `listen.behind_tls` needs `trust`; name the ingress that ends TLS"],
        ),
        ("state: s\n", vec![": the field `documents` is missing"]),
        (
            "documents: {directory: d}\nstate: s\nchannels:\n  a: {smtp: \"smtp://h?tls=maybe\", from: a@b, to: [stranger]}\n  \
             b: {smtp: \"smtp://h:25\", from: a@b, to: [c@d], username: u, password_file: P}\n  \
             c: {webhook: \"http://h/\", format: slack, secret_file: F}\n  \
             d: {webhook: \"http://h/\", headers: {host: x}, body: \"{txt}\"}\n",
            vec![
                "channels.a.smtp: `smtp://h?tls=maybe` is not an address like `smtp://127.0.0.1:25`, \
                 `smtp://mail.example.com:587?tls=required` or `smtps://...`",
                "channels.a.to[0]: `stranger` is not a mail address",
                "channels.b: a password goes over TLS or loopback alone; write `smtps://...` or `smtp://...?tls=required`",
                "channels.c: this format is not signed; its secret is a part of the address; leave `secret_file` out",
                "channels.d.body: `{txt}` is nothing a notice has; it has `{id}`, `{services}`, `{version}`, `{plan}`, \
                 `{run}`, `{step}`, `{event}`, `{state}`, `{text}`, `{link}`, `{audit}`",
                "channels.d.headers.host: `host` is no header that can be set",
            ],
        ),
    ] {
        let mut found = check(text);
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
}
