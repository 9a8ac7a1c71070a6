//! A real nginx beside graygate with what was imported from its file: the same requests, the same answerer.
//!
//! What the report calls the same has to be the same for every request. Shares are held to what the report says of them:
//! another hash, and each user stays where the hash puts it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use graygate_rules::import::{Input, Source, Verdict, import};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::harness::proxy::{Proxy, free_addresses};
use crate::support::eventually;

/// Upstreams: each says its name.
const UPSTREAMS: [&str; 3] = ["stable", "canary", "beta"];

struct Nginx {
    child: Child,
    _directory: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file under test with the addresses of this run in it, an nginx that runs it, and where that listens.
async fn nginx(text: &str) -> (Nginx, String, SocketAddr) {
    let [front, stable, canary, beta] = free_addresses();
    let addresses = [stable, canary, beta];
    let mut text = text.replace("LISTEN", &front.to_string());
    let mut answers = String::new();
    for (name, address) in UPSTREAMS.iter().zip(addresses) {
        text = text.replace(&format!("<{name}>"), &address.to_string());
        answers +=
            &format!("server {{ listen {address}; location / {{ return 200 \"{name} $request_uri\"; }} }}\n");
    }
    let directory = tempfile::tempdir().unwrap();
    // One process: workers would live on after a master that is killed.
    let whole = format!(
        "daemon off; master_process off; error_log stderr crit; pid nginx.pid; events {{}}\nhttp {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n{text}\n{answers} }}\n"
    );
    std::fs::write(directory.path().join("nginx.conf"), whole).unwrap();
    let child = Command::new("nginx")
        .arg("-p")
        .arg(directory.path())
        .args(["-c", "nginx.conf", "-e", "stderr"])
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx is there: `.ci/install-tools test`");
    let nginx = Nginx { child, _directory: directory };
    for address in addresses.into_iter().chain([front]) {
        eventually(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok()).await;
    }
    (nginx, text, front)
}

/// One request: what is asked, with which headers, from which address.
#[derive(Clone, Debug)]
struct Asked {
    target: &'static str,
    headers: String,
    from: Ipv4Addr,
}

/// The body of the answer, or the status where it is no 200.
async fn answer(asked: &Asked, address: SocketAddr) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((asked.from, 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let Asked { target, headers, .. } = asked;
    let head = format!("GET {target} HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    match head.split(' ').nth(1).unwrap() {
        "200" => body
            .lines()
            .find(|line| UPSTREAMS.iter().any(|name| line.starts_with(name)))
            .unwrap_or(body)
            .into(),
        status => status.into(),
    }
}

fn answerer(answer: &str) -> String {
    answer.split(' ').next().unwrap_or_default().into()
}

/// Targets, headers and addresses, each with each.
fn all(targets: &[&'static str], headers: &[&str], clients: &[u8]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for target in targets {
        for headers in headers {
            for client in clients {
                let lines: String = headers
                    .split('|')
                    .filter(|line| !line.is_empty())
                    .map(|line| format!("{line}\r\n"))
                    .collect();
                asked.push(Asked { target, headers: lines, from: Ipv4Addr::new(127, 0, 0, *client) });
            }
        }
    }
    asked
}

/// Both, with the same file: nginx's address, graygate's, and the report.
async fn both(text: &str) -> (Nginx, SocketAddr, Proxy, graygate_rules::import::Report) {
    let (nginx, text, front) = nginx(text).await;
    let imported = import(Source::Nginx, &[Input { name: "nginx.conf", text: &text }]);
    let documents: Vec<(String, String)> =
        imported.documents.iter().map(|(id, text)| (format!("{id}.yaml"), text.clone())).collect();
    let documents: Vec<(&str, &str)> =
        documents.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let proxy = Proxy::start("", &documents).await;
    (nginx, front, proxy, imported.report)
}

/// Everything the report calls the same is the same.
async fn same(text: &str, asked: Vec<Asked>) {
    let (_nginx, front, proxy, report) = both(text).await;
    let close = report.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Close(_)));
    assert_eq!(close.count(), 0, "{report}");
    let mut answerers = BTreeMap::new();
    for asked in asked {
        // The answerer alone: a path that nginx passes on as it came is passed on in its one spelling here.
        let theirs = answerer(&answer(&asked, front).await);
        assert_eq!(theirs, answerer(&answer(&asked, proxy.address).await), "{asked:?}\n{report}");
        *answerers.entry(theirs).or_insert(0) += 1;
    }
    assert!(answerers.len() > 1, "the requests tell nothing apart: {answerers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_choose_the_same() {
    let text = "
        upstream stable { server <stable>; } upstream canary { server <canary>; } upstream beta { server <beta>; }
        map $http_x_lane $by_lane { default ''; gray canary; '~^beta-[0-9]+$' beta; '~*old' stable; '' ''; }
        map $cookie_version $by_cookie { default stable; v2 canary; '~*^v3' beta; }
        map $by_lane $chosen { '' $by_cookie; default $by_lane; }
        server { listen LISTEN; location / { proxy_set_header Host $host; proxy_pass http://$chosen; } }";
    let headers = [
        "",
        "X-Lane: gray",
        "X-Lane: GRAY",
        "x-lane: beta-12",
        "x-lane: beta-x",
        "x-lane: so OLD",
        "x-lane:",
        "Cookie: version=v2",
        "Cookie: a=b; version=V2; c=d",
        "Cookie: version=V3.1",
        "Cookie: version=",
        "X-Lane: gray|Cookie: version=v3",
        "X-Lane: old|Cookie: version=v2",
        "X-Lane: no|Cookie: version=v2",
    ];
    same(text, all(&["/", "/a/b?version=v2"], &headers, &[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_networks_and_compound_maps_choose_the_same() {
    let text = "
        upstream stable { server <stable>; } upstream canary { server <canary>; } upstream beta { server <beta>; }
        geo $office { default no; 127.0.0.0/29 yes; 127.0.0.4/32 no; }
        map $arg_beta $asked { default no; 1 yes; }
        map $office$asked $chosen { yesyes beta; '~^yes' canary; default stable; }
        server { listen LISTEN; location / { proxy_set_header Host $host; proxy_pass http://$chosen; } }";
    same(
        text,
        all(&["/", "/?beta=1", "/?beta=11", "/x?a=1&beta=1", "/?beta="], &[""], &[1, 2, 4, 7, 8, 200]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_and_if_choose_the_same() {
    let text = r#"
        upstream stable { server <stable>; } upstream canary { server <canary>; } upstream beta { server <beta>; }
        server {
            listen LISTEN;
            set $up stable;
            if ($http_cookie ~* "lane=(gray|green)") { set $up canary; }
            if ($remote_addr ~ "^127\.0\.0\.9$") { set $up beta; }
            location / { proxy_set_header Host $host; proxy_pass http://$up; }
            location = /mine { set $mine stable; if ($arg_on) { set $mine canary; } if ($http_x_off != "") { set $mine beta; } proxy_set_header Host $host; proxy_pass http://$mine; }
        }"#;
    let headers = [
        "",
        "Cookie: lane=gray",
        "Cookie: x=1; LANE=Green",
        "Cookie: lane=blue",
        "X-Off: 1",
        "X-Off: 1|Cookie: lane=gray",
    ];
    same(
        text,
        all(&["/", "/mine", "/mine?on=1", "/mine?on=0", "/mine?on=", "/a?on=1"], &headers, &[1, 9, 99]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locations_and_paths_are_the_same() {
    let text = r"
        upstream stable { server <stable>; } upstream canary { server <canary>; } upstream beta { server <beta>; }
        server {
            listen LISTEN;
            proxy_set_header Host $host;
            location = /exact { proxy_pass http://canary; }
            location ~ ^/re/([a-z]+)/ { proxy_pass http://beta; }
            location ~* \.(png|gif)$ { proxy_pass http://canary; }
            location = /one.png { proxy_pass http://stable; }
            location / { proxy_pass http://stable; }
        }";
    let targets = [
        "/",
        "/exact",
        "/exact/",
        "/exactly",
        "/re/abc/",
        "/re/abc/x.png",
        "/re/12/x.PNG",
        "/re/abc",
        "/one.png",
        "/two.png?x=1",
        "/a/b.gifx",
        "//exact",
        "/a/../exact",
        "/%65xact",
        "/x%2Fy.png",
    ];
    same(text, all(&targets, &[""], &[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_that_are_replaced_lead_to_the_same_paths() {
    let text = r"
        upstream stable { server <stable>; } upstream canary { server <canary>; }
        server {
            listen LISTEN;
            proxy_set_header Host $host;
            location /svc/ { proxy_pass http://canary/; }
            location /v1/ { proxy_pass http://stable/v2/; }
            location /old/ { rewrite ^/old/(.*)$ /new/$1 break; proxy_pass http://canary; }
        }";
    let (_nginx, front, proxy, report) = both(text).await;
    // Only where the report says so do they differ: at the prefix without its slash.
    let differences = report.findings.iter().filter_map(|finding| finding.verdict.because());
    assert!(differences.clone().any(|why| why.contains("`/svc` without the slash is taken too")), "{report}");
    for asked in
        all(&["/svc/", "/svc/a/b?c=d", "/v1/", "/v1/x//y", "/old/", "/old/a/b", "/none"], &[""], &[1])
    {
        let (theirs, ours) = (answer(&asked, front).await, answer(&asked, proxy.address).await);
        assert_eq!(theirs, ours, "{asked:?}\n{report}");
    }
    let [at_prefix] = all(&["/svc"], &[""], &[1]).try_into().unwrap();
    assert_eq!(answer(&at_prefix, front).await, "301");
    assert_eq!(answer(&at_prefix, proxy.address).await, "canary /");
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_as_large_and_as_sticky_by_another_hash() {
    let text = "
        upstream stable { server <stable>; } upstream canary { server <canary>; } upstream beta { server <beta>; }
        split_clients \"${cookie_uid}salt\" $drawn { 20% canary; 10% beta; * stable; }
        map $http_x_force $chosen { default $drawn; stable stable; canary canary; }
        server { listen LISTEN; location / { proxy_set_header Host $host; proxy_pass http://$chosen; } }";
    let (_nginx, front, proxy, report) = both(text).await;
    let said = report.findings.iter().filter_map(|finding| finding.verdict.because());
    assert!(said.clone().any(|why| why.contains("another hash: who is in a share changes once")), "{report}");
    for forced in ["stable", "canary"] {
        for asked in all(&["/"], &[&format!("X-Force: {forced}|Cookie: uid=u1")], &[1]) {
            assert_eq!(answer(&asked, front).await, answer(&asked, proxy.address).await);
        }
    }
    const USERS: usize = 1_500;
    for (name, address) in [("nginx", front), ("graygate", proxy.address)] {
        let mut counts = BTreeMap::new();
        for user in 0..USERS {
            let [asked] = all(&["/"], &[&format!("Cookie: uid=user-{user}")], &[1]).try_into().unwrap();
            let first = answer(&asked, address).await;
            if user % 10 == 0 {
                assert_eq!(answer(&asked, address).await, first, "{name} moves user {user}");
            }
            *counts.entry(answerer(&first)).or_insert(0usize) += 1;
        }
        for (word, percent) in [("canary", 20), ("beta", 10), ("stable", 70)] {
            let found = counts.get(word).copied().unwrap_or_default() * 100;
            assert!(found.abs_diff(percent * USERS) < 4 * USERS, "{name}: {counts:?}");
        }
    }
}
