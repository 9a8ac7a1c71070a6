//! Starts that fail, and `echo`.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::commands::typed::{GOOD, directory, text, typed};
use crate::harness::proxy::{BINARY, Proxy, free_addresses, until};
use crate::harness::wire::{Connection, request};

#[test]
fn every_mistake_of_the_process_file_is_printed_and_nothing_listens() {
    let [address] = free_addresses();
    let place = directory(&[]);
    let file = place.path().join("graygate.yaml");
    let config = format!(
        "listen: [{{address: \"{address}\"}}, {{adress: x}}]\ndocuments: {{directory: x}}\ntrust: [here]\nlimits: {{body: big}}\nrespondversion: never\n"
    );
    std::fs::write(&file, config).unwrap();
    let said = typed(&["run", "--config", text(&file)]);
    assert_eq!(said.status, 1);
    for wanted in
        ["listen[1]", "adress", "trust[0]", "limits.body", "respondversion", "did you mean `respond_version`"]
    {
        assert!(said.errors.contains(wanted), "{wanted} is missing in\n{}", said.errors);
    }
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(typed(&["run", "--config", "/nowhere.yaml"]).status, 1);
}

#[test]
fn a_start_that_cannot_work_ends_with_one() {
    let documents = directory(&GOOD);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let held_address = held.local_addr().unwrap();
    let [free, admin] = free_addresses();
    assert_ne!(taken, free);
    let file = documents.path().join(".graygate.yaml");
    let run = |listen, admin, documents: &str| {
        let config = format!(
            "listen: [{{address: \"{listen}\"}}]\nadmin: {{address: \"{admin}\"}}\ndocuments: {{directory: {documents}}}\n"
        );
        std::fs::write(&file, config).unwrap();
        typed(&["run", "--config", text(&file)])
    };
    let said = run(held_address, admin, text(documents.path()));
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.errors.contains(&held_address.to_string()), "{said:?}");
    let said = run(free, held_address, text(documents.path()));
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.errors.contains(&held_address.to_string()), "{said:?}");
    let said = run(free, admin, "/nowhere/documents");
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.errors.contains("/nowhere/documents"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_says_who_it_is_and_what_it_got() {
    let [address] = free_addresses();
    let mut child = Command::new(BINARY)
        .args(["echo", "--address", &address.to_string(), "--version", "v1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    let service = format!("instances: [{{address: \"{address}\", version: release}}]");
    let proxy = Proxy::start("", &[("routes/all.yaml", "service: s"), ("services/s.yaml", &service)]).await;
    let mut connection = Connection::open(proxy.address).await;
    let seen =
        connection.ask(request("GET", "/a//b?c=%zz", &[("X-Case", "1"), ("X-Case", "2")])).await.json();
    assert_eq!((&seen["version"], &seen["path"]), (&"v1".into(), &"/a/b?c=%zz".into()));
    let headers = seen["headers"].as_array().unwrap();
    let cases: Vec<_> = headers.iter().filter(|header| header[0] == "X-Case").collect();
    assert_eq!(cases.len(), 2, "the case of names stays: {headers:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
