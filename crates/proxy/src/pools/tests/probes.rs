//! Checks against real sockets, and the schedule that makes them.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::pools::probe::Checks;
use crate::pools::schedule::Schedule;
use graygate_rules::vocab::InstanceState;

/// Long enough for a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short, for checks that are meant to run into it.
const SHORT: Duration = Duration::from_millis(50);

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn http_check(statuses: &[u16]) -> Check {
    Check::Http {
        path: "/healthz?deep=1".into(),
        host: Some("patient.internal".into()),
        statuses: statuses.into(),
        headers: vec![("x-check".into(), "yes".into())],
    }
}

fn spec_of(check: Check, wire: Wire, timeout: Duration) -> HealthSpec {
    HealthSpec { check, timeout, transport: Transport { wire, tls: None }, ..tcp_check() }
}

/// What a check says, as text: empty when it is content.
async fn verdict(address: SocketAddr, check: Check, wire: Wire, timeout: Duration) -> String {
    let spec = spec_of(check, wire, timeout);
    match Checks::default().check(address, &spec).await {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// Answers each connection's first request head with `answer`, and hands the heads out.
fn serve_http1(listener: TcpListener, answer: String) -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (heads, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = heads.send(read_head(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
            // The answer has no length: the connection stays open and the check must not wait.
            tokio::spawn(async move { while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {} });
        }
    });
    received
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    let mut chunk = [0; 512];
    while !head.ends_with("\r\n\r\n") {
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "the head ends early: {head}");
        head.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
    }
    head
}

#[tokio::test]
async fn tcp_wants_a_connection() {
    let (listener, address) = listen().await;
    assert_eq!(verdict(address, Check::Tcp, Wire::Http1, PATIENCE).await, "");
    drop(listener);
    assert_ne!(verdict(address, Check::Tcp, Wire::Http1, PATIENCE).await, "", "refused");
}

#[tokio::test]
async fn http_wants_one_of_the_statuses() {
    for (answer, statuses, content) in [
        ("HTTP/1.1 200 OK\r\n\r\n", &[200][..], true),
        ("HTTP/1.0 200\r\n\r\n", &[200], true),
        ("HTTP/1.1 204 No Content\r\n\r\n", &[200, 204], true),
        // The framework reads one header: an interim answer is taken for the answer.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", &[200], false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\npartial", &[200], true),
        ("HTTP/1.1 204 No Content\r\n\r\n", &[200], false),
        ("HTTP/1.1 500 Oh\r\n\r\n", &[200], false),
        ("HTTP/1.1 503 Oh\r\n\r\n", &[200, 500], false),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", &[200], false),
    ] {
        let (listener, address) = listen().await;
        let _heads = serve_http1(listener, answer.into());
        let said = verdict(address, http_check(statuses), Wire::Http1, PATIENCE).await;
        assert_eq!(said.is_empty(), content, "{answer:?} said {said:?}");
    }
}

#[tokio::test]
async fn http_asks_as_it_was_told() {
    let (listener, address) = listen().await;
    let mut heads = serve_http1(listener, "HTTP/1.1 200 OK\r\n\r\n".into());
    assert_eq!(verdict(address, http_check(&[200]), Wire::Http1, PATIENCE).await, "");
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    for line in ["host: patient.internal", "x-check: yes", "connection: close"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn http_without_a_host_names_the_address() {
    let (listener, address) = listen().await;
    let mut heads = serve_http1(listener, "HTTP/1.1 200 OK\r\n\r\n".into());
    let check = Check::Http { path: "/".into(), host: None, statuses: vec![200], headers: Vec::new() };
    assert_eq!(verdict(address, check, Wire::Http1, PATIENCE).await, "");
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
}

#[tokio::test]
async fn silence_is_a_timeout_in_every_kind_of_check() {
    let grpc = Check::Grpc { service: String::new() };
    for (check, wire) in
        [(http_check(&[200]), Wire::Http1), (http_check(&[200]), Wire::Http2), (grpc, Wire::Http1)]
    {
        // Never accepted: the kernel completes the handshake, and no answer comes.
        let (_listener, address) = listen().await;
        let said = verdict(address, check.clone(), wire, SHORT).await;
        assert_eq!(said, "no answer within 50ms", "{check:?}");
    }
}

/// How a pretended HTTP/2 server answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    /// Body bytes and grpc-status.
    Grpc(&'static [u8], &'static str),
    /// An error in the first header block.
    GrpcRefusal(&'static str),
}

/// Answers every HTTP/2 request, and gives each one's method, path and body out.
fn serve_http2(
    listener: TcpListener,
    answer: Answer,
) -> tokio::sync::mpsc::UnboundedReceiver<(String, Bytes)> {
    let (requests, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let requests = requests.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer_http2(request, respond, answer, requests.clone()));
                }
            });
        }
    });
    received
}

async fn answer_http2(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: Answer,
    requests: tokio::sync::mpsc::UnboundedSender<(String, Bytes)>,
) {
    let head = format!("{} {}", request.method(), request.uri());
    let mut body = Vec::new();
    let mut stream = request.into_body();
    while let Some(Ok(chunk)) = stream.data().await {
        body.extend_from_slice(&chunk);
    }
    let _ = requests.send((head, body.into()));
    let response = http::Response::builder().header("content-type", "application/grpc");
    match answer {
        Answer::Status(status) => {
            let response = http::Response::builder().status(status).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
        Answer::Grpc(body, status) => {
            let mut sending = respond.send_response(response.body(()).unwrap(), false).unwrap();
            sending.send_data(Bytes::from_static(body), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            sending.send_trailers(trailers).unwrap();
        }
        Answer::GrpcRefusal(status) => {
            let response = response.header("grpc-status", status).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
    }
}

#[tokio::test]
async fn http_checks_speak_http2_where_the_service_does() {
    for (status, content) in [(200, true), (500, false)] {
        let (listener, address) = listen().await;
        let mut requests = serve_http2(listener, Answer::Status(status));
        let said = verdict(address, http_check(&[200]), Wire::Http2, PATIENCE).await;
        assert_eq!(said.is_empty(), content, "{said}");
        let (head, _) = requests.recv().await.unwrap();
        assert_eq!(head, "GET https://patient.internal/healthz?deep=1");
    }
}

#[tokio::test]
async fn grpc_wants_serving() {
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    for (answer, expected) in [
        (Answer::Grpc(SERVING, "0"), ""),
        (Answer::Grpc(&[0, 0, 0, 0, 2, 8, 2], "0"), "the service does not serve"),
        (Answer::Grpc(&[0, 0, 0, 0, 0], "0"), "the service does not serve"),
        (Answer::Grpc(SERVING, "13"), "the health call failed"),
        (Answer::Grpc(&[0, 0, 0, 0, 9, 8, 1], "0"), "the health answer could not be read"),
        (Answer::Grpc(&[1, 0, 0, 0, 2, 8, 1], "0"), "the health answer could not be read"),
        (Answer::Grpc(&[8; 2000], "0"), "the health answer is too long"),
        (Answer::GrpcRefusal("5"), "the service is not known there"),
        (Answer::GrpcRefusal("12"), "there is no health service"),
        (Answer::Status(404), "status 404 Not Found"),
    ] {
        let (listener, address) = listen().await;
        let mut requests = serve_http2(listener, answer);
        let check = Check::Grpc { service: "acme.Patient".into() };
        assert_eq!(verdict(address, check, Wire::Http1, PATIENCE).await, expected, "{answer:?}");
        let (head, body) = requests.recv().await.unwrap();
        assert_eq!(head, format!("POST http://{address}/grpc.health.v1.Health/Check"));
        assert_eq!(body.as_ref(), b"\0\0\0\0\x0e\x0a\x0cacme.Patient");
    }
}

#[tokio::test]
async fn long_grpc_names_keep_their_length() {
    let (listener, address) = listen().await;
    let mut requests = serve_http2(listener, Answer::Grpc(&[0, 0, 0, 0, 2, 8, 1], "0"));
    let check = Check::Grpc { service: "s".repeat(300) };
    assert_eq!(verdict(address, check, Wire::Http1, PATIENCE).await, "");
    let (_, body) = requests.recv().await.unwrap();
    assert_eq!(&body[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    assert_eq!(body.len(), 308);
}

/// Waits until an instance is in a state.
async fn until(instance: &Instance, state: InstanceState) {
    let reached = async {
        while instance.state(Instant::now()) != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
async fn the_background_task_follows_instances_and_generations() {
    static STATUS: AtomicU16 = AtomicU16::new(200);
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 {} x\r\n\r\n", STATUS.load(Ordering::SeqCst));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let (gone, refused) = listen().await;
    drop(gone);
    let registry = Arc::new(Registry::new(0));
    let stop = tokio_stop();
    let checks = tokio::spawn(run_checks(registry.clone(), stop.1));
    let mut spec = service(&[&["release"]], vec![instance("release", 1), instance("release", 2)]);
    spec.instances[0].address = address;
    spec.instances[1].address = refused;
    spec.health = Some(HealthSpec {
        interval: Duration::from_millis(1),
        ..spec_of(http_check(&[200]), Wire::Http1, PATIENCE)
    });
    // Built after the task began: a generation's new instances are found.
    let pools = registry.build(std::slice::from_ref(&spec)).remove(0);
    let all = by_port(&pools);
    let (served, dead) = (&all[&address.port()], &all[&refused.port()]);
    until(served, InstanceState::Healthy).await;
    assert_eq!(port_for_release(&pools, Instant::now()), address.port());
    STATUS.store(500, Ordering::SeqCst);
    until(served, InstanceState::Unhealthy).await;
    STATUS.store(200, Ordering::SeqCst);
    until(served, InstanceState::Healthy).await;
    assert_eq!(dead.state(Instant::now()), InstanceState::Unhealthy);
    // Another check: both are unknown, then judged by it.
    spec.health = Some(spec_of(http_check(&[201]), Wire::Http1, PATIENCE));
    STATUS.store(201, Ordering::SeqCst);
    registry.build(std::slice::from_ref(&spec));
    until(served, InstanceState::Healthy).await;
    drop(stop.0);
    tokio::time::timeout(PATIENCE, checks).await.unwrap().unwrap();
}

/// A shutdown that resolves when its first half is dropped.
fn tokio_stop() -> (tokio::sync::oneshot::Sender<()>, impl Future<Output = ()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    (stop, async move { drop(stopped.await) })
}

#[tokio::test]
async fn no_more_checks_run_at_once_than_allowed() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    const INSTANCES: usize = 300;
    let registry = Arc::new(Registry::new(0));
    let mut instances = Vec::new();
    let release = Arc::new(tokio::sync::Notify::new());
    for _ in 0..INSTANCES {
        let (listener, address) = listen().await;
        instances.push(InstanceSpec { address, ..instance("release", 1) });
        let release = release.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let open = OPEN.fetch_add(1, Ordering::SeqCst) + 1;
            MOST.fetch_max(open, Ordering::SeqCst);
            read_head(&mut stream).await;
            if open == crate::pools::prober::CHECKS_AT_ONCE {
                release.notify_one();
            }
            release.notified().await;
            release.notify_one();
            OPEN.fetch_sub(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        });
    }
    let spec = ServiceSpec {
        health: Some(HealthSpec {
            interval: Duration::from_secs(3600),
            ..spec_of(http_check(&[200]), Wire::Http1, PATIENCE)
        }),
        ..service(&[&["release"]], instances)
    };
    let pools = registry.build(&[spec]).remove(0);
    let checks = tokio::spawn(run_checks(registry, std::future::pending()));
    for one in by_port(&pools).values() {
        until(one, InstanceState::Healthy).await;
    }
    checks.abort();
    assert_eq!(MOST.load(Ordering::SeqCst), crate::pools::prober::CHECKS_AT_ONCE);
}

#[test]
fn checks_come_at_once_then_at_intervals_with_jitter() {
    let registry = Registry::new(0);
    let mut spec = release_of(&[1, 1]);
    spec.health = Some(tcp_check());
    let _pools = registry.build(std::slice::from_ref(&spec));
    let start = Instant::now();
    let mut schedule = Schedule::default();
    schedule.adopt(registry.targets(), start);
    let first = schedule.take_due(start).unwrap();
    let second = schedule.take_due(start).unwrap();
    assert_ne!(first.id, second.id);
    assert!(schedule.take_due(start).is_none(), "both are being checked");
    // Chance moves the interval of 5 s by at most a tenth either way.
    schedule.ended(&first, start, 0.0);
    schedule.ended(&second, start, 1.0);
    let after = |millis| start + Duration::from_millis(millis);
    assert_eq!(schedule.next(), Some(after(4_500)));
    assert!(schedule.take_due(after(4_499)).is_none());
    assert_eq!(schedule.take_due(after(4_500)).unwrap().id, first.id);
    assert_eq!(schedule.next(), Some(after(5_500)));
    // An unchanged generation changes nothing; another check is due at once.
    schedule.adopt(registry.targets(), after(4_600));
    assert_eq!(schedule.next(), Some(after(5_500)));
    spec.health.as_mut().unwrap().check = Check::Grpc { service: String::new() };
    registry.build(std::slice::from_ref(&spec));
    schedule.adopt(registry.targets(), after(4_700));
    assert_eq!(schedule.take_due(after(4_700)).unwrap().id, second.id);
    // The running check was the old one's: when it ends, the new one follows at once.
    schedule.ended(&first, after(4_800), 0.5);
    assert_eq!(schedule.take_due(after(4_800)).unwrap().id, first.id);
    // Who left is not checked again.
    registry.build(&[]);
    schedule.adopt(registry.targets(), after(4_900));
    schedule.ended(&second, after(4_900), 0.5);
    assert_eq!(schedule.next(), None);
}
