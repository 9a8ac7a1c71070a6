//! One process takes over from another, and clients do not notice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::proxy::until;
use crate::harness::sample::in_front_of;
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::{Connection, LIMIT, request};

const UPGRADES: usize = 5;
/// Answers that have to come between two upgrades.
const BETWEEN: usize = 200;

/// Clients that keep their connections, and clients that never do.
struct Load {
    done: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr, may_be_refused: bool) -> Load {
        let (done, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let client =
            |n| tokio::spawn(client(address, n % 2 == 0, may_be_refused, done.clone(), ends.clone()));
        let clients = (0..6).map(client).collect();
        Load { done, ends, clients }
    }

    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until(async || self.done.load(Ordering::Relaxed) >= before + BETWEEN).await;
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// Asks and asks. An answer that is not whole or not good fails the test, and so does none unless it may be refused.
async fn client(
    address: SocketAddr,
    keeps: bool,
    may_be_refused: bool,
    done: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
) {
    let mut kept: Option<Connection> = None;
    let headers: &[(&str, &str)] = if keeps { &[] } else { &[("Connection", "close")] };
    while !ends.load(Ordering::Relaxed) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match TcpStream::connect(address).await {
                Ok(stream) => Connection::over(stream),
                Err(error) => {
                    assert!(may_be_refused, "{error}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        let sent =
            tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &request("GET", "/", headers)).await;
        let answer = match sent {
            Ok(()) => connection.message(false).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(Some(answer)) => {
                assert_eq!((answer.status(), &*answer.text()), (200, "up"));
                done.fetch_add(1, Ordering::Relaxed);
                let last = answer.header("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
                kept = (keeps && !last).then_some(connection);
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => panic!("half an answer"),
            other => assert!(may_be_refused, "no answer: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_upgrades_fail_no_request() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let load = Load::on(proxy.address, false);
    for _ in 0..UPGRADES {
        load.goes_on().await;
        let next = proxy.successor();
        proxy.signal("-QUIT");
        assert_eq!(proxy.ended().await.code(), Some(0));
        // The one that went did so because this one serves: no one has to wait.
        assert_eq!(next.ask_admin("/readyz").await.status(), 200);
        proxy = next;
    }
    load.goes_on().await;
    load.end().await;
    assert!(!proxy.file("upgrade.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_successor_nothing_ends() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let load = Load::on(proxy.address, false);
    proxy.signal("-QUIT");
    until(async || proxy.stderr().contains("SIGQUIT is refused")).await;
    load.goes_on().await;
    // A successor that cannot start is none.
    let config = std::fs::read_to_string(proxy.file("graygate.yaml")).unwrap();
    std::fs::write(proxy.file("graygate.yaml"), config.clone() + "thread: 1\n").unwrap();
    assert_eq!(proxy.successor().ended().await.code(), Some(1));
    std::fs::write(proxy.file("graygate.yaml"), config).unwrap();
    load.goes_on().await;
    // And the same process can still be replaced.
    let next = proxy.successor();
    proxy.signal("-QUIT");
    assert_eq!(proxy.ended().await.code(), Some(0));
    load.goes_on().await;
    load.end().await;
    drop(next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_cuts_no_answer_short() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let load = Load::on(proxy.address, true);
    for _ in 0..3 {
        load.goes_on().await;
        proxy.signal("-TERM");
        until(async || TcpStream::connect(proxy.address).await.is_err()).await;
        assert_eq!(proxy.ended().await.code(), Some(0));
        proxy = proxy.again();
    }
    load.goes_on().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait() {
    let upstream = Upstream::scripted(|_| Act::Hold(ok("never"))).await;
    for second in ["-TERM", "-INT"] {
        let mut proxy = in_front_of("shutdown: {grace: 10m}", &upstream).await;
        let before = upstream.asked().len();
        let mut running = proxy.connect().await;
        running.send(request("GET", "/", &[])).await;
        until(async || upstream.asked().len() > before).await;
        proxy.signal("-TERM");
        until(async || proxy.stderr().contains("requests under way may finish")).await;
        proxy.signal(second);
        let status = tokio::time::timeout(LIMIT, proxy.ended()).await.expect("the second is not heard");
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_who_serves() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let manager = tokio::net::UnixDatagram::bind(proxy.file("notify.sock")).unwrap();
    let next_word = async || {
        let mut bytes = [0; 1024];
        let length =
            tokio::time::timeout(LIMIT, manager.recv(&mut bytes)).await.expect("nothing is said").unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_string()
    };
    let mut next = proxy.successor();
    proxy.signal("-QUIT");
    assert_eq!(next_word().await, format!("MAINPID={}\nREADY=1", next.id()));
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!([next_word().await, next_word().await], ["WATCHDOG=1", "WATCHDOG=1"]);
    next.signal("-TERM");
    // One that leaves to a successor says nothing: the service goes on.
    while next_word().await != "STOPPING=1" {}
    assert_eq!(next.ended().await.code(), Some(0));
    let _again = next.again();
    let mut words = next_word().await;
    while words == "WATCHDOG=1" {
        words = next_word().await;
    }
    assert_eq!(words, "READY=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_answers_at_the_admin_address_of_its_own_file() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let config = std::fs::read_to_string(proxy.file("graygate.yaml")).unwrap();
    let config = config.replace(&proxy.admin.to_string(), &proxy.second.to_string());
    std::fs::write(proxy.file("graygate.yaml"), config).unwrap();
    let mut next = proxy.successor();
    next.admin = proxy.second;
    proxy.signal("-QUIT");
    assert_eq!(proxy.ended().await.code(), Some(0));
    next.ready().await;
    assert!(TcpStream::connect(proxy.admin).await.is_err(), "no one is left at the old one");
    assert_eq!(next.get("/", &[]).await.text(), "up");
}
