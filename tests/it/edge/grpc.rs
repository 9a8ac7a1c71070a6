//! gRPC from end to end: calls of every shape, their trailers, deadlines, cancellations and errors.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::edge::certificate::{pair, shake};
use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED, instances};
use crate::harness::upstream::Refusing;
use crate::harness::wire::LIMIT;
use crate::support::etcd::Etcd;

const H2C: &str = "also h2c: true\n";
const GRPC: &str = "application/grpc+proto";

/// A server that echoes messages, hangs, or answers with nothing but trailers, by the method called.
#[derive(Clone)]
struct Server {
    name: &'static str,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    cancelled: Arc<Mutex<Vec<Reason>>>,
    /// A permit for each message that `Watch` may send; closed at its end.
    next: Arc<Semaphore>,
}

impl Server {
    async fn named(name: &'static str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let next = Arc::new(Semaphore::new(0));
        let server = Server { name, address, seen: Arc::default(), cancelled: Arc::default(), next };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    async fn serve(self, stream: TcpStream) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let (head, body) = request.into_parts();
            let method = head.uri.path().to_string();
            self.seen.lock().push(Request::from_parts(head, ()));
            tokio::spawn(self.clone().answer(method, body, respond));
        }
    }

    async fn answer(self, method: String, body: RecvStream, mut respond: SendResponse<Bytes>) {
        let head = Response::builder().header("content-type", GRPC);
        if method == "/t/Missing" {
            let head = head.header("grpc-status", "5").body(()).unwrap();
            respond.send_response(head, true).unwrap();
            return;
        }
        if method == "/t/Hang" {
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await;
            self.cancelled.lock().extend(reason);
            return;
        }
        if method == "/t/Count" {
            // Only the client streams: nothing is said until it has ended.
            let count = pieces(body).await.len().to_string();
            let mut sender = respond.send_response(head.body(()).unwrap(), false).unwrap();
            sender.send_data(message(&count), false).unwrap();
            sender.send_trailers(self.trailers()).unwrap();
            return;
        }
        let mut sender = respond.send_response(head.body(()).unwrap(), false).unwrap();
        if method == "/t/Watch" {
            // Only the server streams, each message when the test says so.
            let asked = pieces(body).await;
            while self.next.acquire().await.is_ok_and(|permit| {
                permit.forget();
                sender.send_data(asked.concat().into(), false).is_ok()
            }) {}
            sender.send_trailers(self.trailers()).unwrap();
            return;
        }
        // Who goes away in between has ended the call.
        let _ = self.echo(body, sender).await;
    }

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("served-by", self.name.parse().unwrap());
        trailers
    }

    async fn echo(&self, mut body: RecvStream, mut sender: SendStream<Bytes>) -> Result<(), h2::Error> {
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            sender.send_data(piece, false)?;
        }
        sender.send_trailers(self.trailers())
    }
}

/// Everything a client streams, until it ends.
async fn pieces(mut body: RecvStream) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = next(&mut body, piece.unwrap());
        if !piece.is_empty() {
            pieces.push(piece);
        }
    }
    pieces
}

/// A proxy in front of these versions of the service `s`, which speaks HTTP/2.
async fn in_front_of(config: &str, pools: &[(&str, SocketAddr)], lines: &str) -> Proxy {
    let service = format!("{}protocol: h2c\n{lines}", instances(pools));
    let only = ("routes/all.yaml", "service: s\npaths: [{prefix: /t}]\n");
    let empty = ("services/none.yaml", "protocol: h2c\n");
    let none = ("routes/none.yaml", "service: none\npaths: [{prefix: /none}]\n");
    Proxy::start(config, &[only, none, empty, WANTED, ("services/s.yaml", &service)]).await
}

type Client = SendRequest<Bytes>;

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn client(proxy: &Proxy) -> Client {
    speak(TcpStream::connect(proxy.second).await.unwrap()).await
}

/// A message as gRPC frames it.
fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes.into()
}

async fn begin(client: &Client, method: &str, more: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
    let mut request = Request::post(format!("http://app.test{method}"))
        .header("content-type", GRPC)
        .header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let mut client = client.clone().ready().await.unwrap();
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

/// How a call ended.
struct Ended {
    /// Of HTTP, which is 200 whatever happened.
    status: u16,
    grpc: String,
    error: String,
    body: Vec<u8>,
    served_by: String,
}

async fn end(response: ResponseFuture) -> Ended {
    let response = timeout(LIMIT, response).await.expect("no response in time").unwrap();
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = timeout(LIMIT, body.data()).await.expect("the call does not end") {
        bytes.extend(next(&mut body, piece.unwrap()));
    }
    let trailers = timeout(LIMIT, body.trailers()).await.unwrap().unwrap();
    let trailers = trailers.unwrap_or_else(|| head.headers.clone());
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_string())
    };
    Ended {
        status: head.status.as_u16(),
        grpc: text(&trailers, "grpc-status"),
        error: text(&head.headers, "x-graygate-error"),
        body: bytes,
        served_by: text(&trailers, "served-by"),
    }
}

fn next(body: &mut RecvStream, piece: Bytes) -> Bytes {
    body.flow_control().release_capacity(piece.len()).unwrap();
    piece
}

/// One message there, and whatever comes back.
async fn unary(client: &Client, method: &str, more: &[(&str, &str)]) -> Ended {
    let (response, mut sender) = begin(client, method, more).await;
    // Who is answered already may be cut off.
    let _ = sender.send_data(message("hello"), true);
    end(response).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_every_shape_arrive_with_their_trailers() {
    let server = Server::named("release").await;
    let pools = [("release", server.address)];
    let plain = in_front_of(H2C, &pools, "").await;
    let directory = tempfile::tempdir().unwrap();
    pair(directory.path(), "a", &["app.test"]);
    let tls = format!("also tls: {{certificates: {}}}, h2: true\n", directory.path().display());
    let encrypted = in_front_of(&tls, &pools, "").await;
    let shaken = shake(encrypted.second, "app.test", rustls::ALL_VERSIONS, &["h2"]).await.unwrap();
    for client in [client(&plain).await, speak(shaken).await] {
        let ended = unary(&client, "/t/Echo", &[]).await;
        assert_eq!((ended.status, &*ended.grpc, &*ended.served_by), (200, "0", "release"));
        assert_eq!(ended.body, message("hello"));
        let seen = server.seen.lock().last().unwrap().headers().clone();
        assert_eq!(seen["te"], "trailers");
        assert_eq!(seen["content-type"], GRPC);
        assert_eq!(seen["x-gray-version"], "release");
        // Both sides speak in turn: each message comes back before the next one is sent.
        let (response, mut sender) = begin(&client, "/t/Echo", &[]).await;
        let response = timeout(LIMIT, response).await.expect("the response waits for the request").unwrap();
        let mut body = response.into_body();
        for text in ["one", "two", "three"] {
            sender.send_data(message(text), false).unwrap();
            let piece = timeout(LIMIT, body.data()).await.expect("the message is held back");
            assert_eq!(next(&mut body, piece.unwrap().unwrap()), message(text));
        }
        sender.send_data(Bytes::new(), true).unwrap();
        while let Some(rest) = timeout(LIMIT, body.data()).await.unwrap() {
            assert!(rest.unwrap().is_empty());
        }
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        let ended = unary(&client, "/t/Missing", &[]).await;
        assert_eq!((ended.status, &*ended.grpc, ended.body.len()), (200, "5", 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_may_stream_alone() {
    let server = Server::named("release").await;
    let proxy = in_front_of(H2C, &[("release", server.address)], "").await;
    let client = client(&proxy).await;
    let (response, mut sender) = begin(&client, "/t/Count", &[]).await;
    for _ in 0..3 {
        sender.send_data(message("one"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sender.send_data(Bytes::new(), true).unwrap();
    let ended = end(response).await;
    assert_eq!((&*ended.grpc, ended.body), ("0", message("3").to_vec()));
    let (response, mut sender) = begin(&client, "/t/Watch", &[]).await;
    sender.send_data(message("event"), true).unwrap();
    let mut body = timeout(LIMIT, response).await.unwrap().unwrap().into_body();
    for _ in 0..3 {
        server.next.add_permits(1);
        let piece = timeout(LIMIT, body.data()).await.expect("the event is held back");
        assert_eq!(next(&mut body, piece.unwrap().unwrap()), message("event"));
    }
    server.next.close();
    assert!(timeout(LIMIT, body.data()).await.unwrap().is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

/// Instances that take connections and requests back, as HTTP/2 lets them.
mod leaving {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Reads up to a request's end.
    async fn asked(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.read_exact(&mut [0; 24]).await?;
        loop {
            let mut header = [0; 9];
            stream.read_exact(&mut header).await?;
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await?;
            // HEADERS or DATA with END_STREAM.
            if header[3] < 2 && header[4] & 1 == 1 {
                return Ok(());
            }
        }
    }

    /// Every other connection is told to go, its requests unread.
    pub async fn sends_away(server: Server) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut is_odd = false;
            while let Ok((mut stream, _)) = listener.accept().await {
                is_odd = !is_odd;
                if !is_odd {
                    tokio::spawn(server.clone().serve(stream));
                    continue;
                }
                const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
                const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                stream.write_all(&SETTINGS).await.unwrap();
                if asked(&mut stream).await.is_ok() {
                    let _ = stream.write_all(&GOAWAY).await;
                    while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
                }
            }
        });
        address
    }

    /// Two of three requests are refused, and every tenth one is its connection's last.
    pub async fn refuses(server: Server) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, asked) = (server.clone(), asked.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let count = asked.fetch_add(1, Ordering::Relaxed) + 1;
                        if count % 10 == 0 {
                            connection.graceful_shutdown();
                        }
                        let method = request.uri().path().to_string();
                        let (server, body) = (server.clone(), request.into_body());
                        tokio::spawn(async move {
                            if count % 3 == 0 {
                                return server.answer(method, body, respond).await;
                            }
                            pieces(body).await;
                            respond.send_reset(Reason::REFUSED_STREAM);
                        });
                    }
                });
            }
        });
        address
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_has_not_looked_at_is_asked_again() {
    let server = Server::named("release").await;
    for address in [leaving::sends_away(server.clone()).await, leaving::refuses(server.clone()).await] {
        let proxy = in_front_of(H2C, &[("release", address)], "retries: 0\n").await;
        let client = client(&proxy).await;
        for n in 0..30 {
            let ended = unary(&client, "/t/Echo", &[]).await;
            let answer = (&*ended.grpc, ended.body);
            assert_eq!(answer, ("0", message("hello").to_vec()), "{n}: {:?}", proxy.log().last());
        }
        let tried = |outcome| [("service", "s"), ("version", "release"), ("outcome", outcome)];
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.get("graygate_upstream_tries_total", &tried("response")), Some(30.0));
        assert!(metrics.get("graygate_upstream_tries_total", &tried("stale")) >= Some(1.0));
        assert_eq!(metrics.sum("graygate_ejections_total"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_decides_and_release_answers_for_a_version_that_refuses() {
    let (release, gray) = (Server::named("release").await, Server::named("gray").await);
    let proxy = in_front_of(H2C, &[("release", release.address), ("gray", gray.address)], "").await;
    let calls = client(&proxy).await;
    assert_eq!(unary(&calls, "/t/Echo", &[]).await.served_by, "release");
    assert_eq!(unary(&calls, "/t/Echo", &[("x-want", "gray")]).await.served_by, "gray");
    let refusing = Refusing::new();
    let proxy = in_front_of(H2C, &[("release", release.address), ("gray", refusing.address)], "").await;
    let ended = unary(&client(&proxy).await, "/t/Echo", &[("x-want", "gray")]).await;
    assert_eq!((&*ended.served_by, ended.body), ("release", message("hello").to_vec()));
    assert_eq!(release.seen.lock().last().unwrap().headers()["x-gray-version"], "gray");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_errors_are_statuses_of_grpc() {
    let server = Server::named("release").await;
    let timeouts = "timeouts: {read: 300ms}\nretries: 0\n";
    let pools = [("release", server.address)];
    let proxy = in_front_of(&format!("{H2C}limits: {{body: 1KiB}}"), &pools, timeouts).await;
    let client = client(&proxy).await;
    for (method, grpc, error) in [
        ("/other/Method", "12", "no_route"),
        ("/none/Method", "14", "no_instance"),
        ("/t/Hang", "4", "upstream_timeout"),
    ] {
        let ended = unary(&client, method, &[]).await;
        assert_eq!((ended.status, &*ended.grpc, &*ended.error), (200, grpc, error), "{method}");
    }
    let (response, mut sender) = begin(&client, "/t/Hang", &[]).await;
    sender.send_data(message(&"x".repeat(2_000)), false).unwrap();
    let ended = end(response).await;
    assert_eq!((ended.status, &*ended.grpc, &*ended.error), (200, "8", "body_too_large"));
    assert_eq!(unary(&client, "/t/Echo", &[]).await.grpc, "0", "the connection is still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_waits_behind_the_clients_deadline_and_who_cancels_is_heard() {
    let server = Server::named("release").await;
    let pools = [("release", server.address)];
    let hasty = in_front_of(H2C, &pools, "timeouts: {read: 10s, request: 300ms}\n").await;
    let proxy = in_front_of(H2C, &pools, "retries: 0\n").await;
    let client = client(&proxy).await;
    let begun = Instant::now();
    let late = unary(&speak(TcpStream::connect(hasty.second).await.unwrap()).await, "/t/Hang", &[]).await;
    until(async || server.cancelled.lock().len() == 1).await;
    let ended = unary(&client, "/t/Hang", &[("grpc-timeout", "300m")]).await;
    for ended in [late, ended] {
        assert_eq!((&*ended.grpc, &*ended.error), ("4", "upstream_timeout"));
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    until(async || server.cancelled.lock().len() == 2).await;
    assert_eq!(server.seen.lock().last().unwrap().headers()["grpc-timeout"], "300m");
    let (response, mut sender) = begin(&client, "/t/Hang", &[]).await;
    until(async || server.seen.lock().len() == 3).await;
    sender.send_reset(Reason::CANCEL);
    drop(response);
    until(async || server.cancelled.lock().len() == 3).await;
    let outcome = [("service", "s"), ("version", "release"), ("outcome", "client_gone")];
    until(async || proxy.metrics().await.get("graygate_upstream_tries_total", &outcome) == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_and_a_real_server_do_not_notice() {
    let etcd = Etcd::start().await;
    let address = etcd.endpoint().trim_start_matches("http://").parse().unwrap();
    let service = format!("{}protocol: h2c\n", instances(&[("release", address)]));
    let proxy = Proxy::start(H2C, &[ALL, ("services/s.yaml", &service)]).await;
    let mut client = etcd_client::Client::connect([format!("http://{}", proxy.second)], None).await.unwrap();
    let mut watch = client.watch("key", None).await.unwrap();
    for value in ["one", "two", "three"] {
        client.put("key", value, None).await.unwrap();
        let answer = client.get("key", None).await.unwrap();
        assert_eq!(answer.kvs()[0].value_str().unwrap(), value);
        let told = timeout(LIMIT, async {
            loop {
                let message = watch.message().await.unwrap().unwrap();
                if let Some(event) = message.events().first() {
                    break event.kv().unwrap().value_str().unwrap().to_string();
                }
            }
        });
        assert_eq!(told.await.expect("the event is held back"), value);
    }
    let broken = client.compact(1_000_000, None).await.unwrap_err();
    assert!(broken.to_string().contains("future revision"), "{broken}");
}
