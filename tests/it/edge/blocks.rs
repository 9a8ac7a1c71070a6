//! Header blocks of HTTP/2, byte by byte: what the library refuses before anyone sees it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::proxy::Proxy;
use crate::harness::sample::in_front_of;
use crate::harness::upstream::Upstream;
use crate::harness::wire::LIMIT;

const H2C: &str = "also h2c: true\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const OK: Fate = Fate::Answered(200);
const BAD: Fate = Fate::Answered(400);

/// What a client hears of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered(u16),
    Reset,
}

/// A client that writes frames itself.
pub(super) struct Client {
    stream: TcpStream,
    next: u8,
}

impl Client {
    pub(super) async fn of(proxy: &Proxy) -> Client {
        let mut stream = TcpStream::connect(proxy.second).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await.unwrap();
        Client { stream, next: 1 }
    }

    /// Sends one request, its block in as many frames as there are parts.
    pub(super) async fn ask(&mut self, parts: &[&[u8]]) -> Fate {
        let id = self.next;
        self.next += 2;
        let mut bytes = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let end = if n + 1 == parts.len() { END_HEADERS } else { 0 };
            match n {
                0 => bytes.extend(frame(HEADERS, END_STREAM | end, id, part)),
                _ => bytes.extend(frame(CONTINUATION, end, id, part)),
            }
        }
        self.stream.write_all(&bytes).await.unwrap();
        self.fate(id).await
    }

    async fn fate(&mut self, id: u8) -> Fate {
        loop {
            let (kind, stream, payload) = self.frame().await;
            assert_ne!(kind, GOAWAY, "{payload:?}");
            match (kind, payload.first()) {
                _ if stream != u32::from(id) => {}
                (RESET, _) => return Fate::Reset,
                // The standard's own table has these whole.
                (HEADERS, Some(0x88)) => return OK,
                (HEADERS, Some(0x8c)) => return BAD,
                (HEADERS, _) => panic!("another answer: {payload:x?}"),
                _ => {}
            }
        }
    }

    /// The next frame: its type, its stream and what it carries.
    async fn frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut header = [0; 9];
        let read = timeout(LIMIT, self.stream.read_exact(&mut header)).await;
        read.expect("no frame").expect("the connection ended");
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        (header[3], u32::from_be_bytes([header[5], header[6], header[7], header[8]]), payload)
    }
}

fn frame(kind: u8, flags: u8, stream: u8, block: &[u8]) -> Vec<u8> {
    let length = block.len() as u16;
    [&[0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, stream][..], block].concat()
}

/// `GET http://a/` with a path as it stands in a block.
fn asking(path: &[u8]) -> Vec<u8> {
    [&[0x82, 0x86, 0x01, 0x01, b'a'][..], path].concat()
}

/// A literal path that later requests may refer to.
fn path(text: &[u8]) -> Vec<u8> {
    [&[0x44, text.len() as u8][..], text].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_no_uri_holds_is_served_escaped_as_over_http1() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let mut client = Client::of(&proxy).await;
    for (text, expected) in [
        (&b"/x?q=<b>"[..], "/x?q=%3Cb%3E"),
        (b"/x?q=\"b\"", "/x?q=%22b%22"),
        (b"/x?q=\xff", "/x?q=%FF"),
        (b"/<a>`", "/%3Ca%3E%60"),
        (b"/plain?x", "/plain?x"),
    ] {
        assert_eq!(client.ask(&[&asking(&path(text))]).await, OK, "{}", text.escape_ascii());
        assert_eq!(upstream.last().target(), expected);
        // The same again, as a reference to the field that was sent.
        assert_eq!(client.ask(&[&asking(&[0xbe])]).await, OK);
        assert_eq!(upstream.last().target(), expected);
        // With a name that is such a reference, and another value; over several frames.
        let named = asking(&[&[0x0f, 0x2f][..], &[text.len() as u8], text].concat());
        for cut in 1..named.len() {
            let (first, second) = named.split_at(cut);
            assert_eq!(client.ask(&[first, second]).await, OK);
            assert_eq!(upstream.last().target(), expected, "cut at {cut}");
            if client.next > 200 {
                client = Client::of(&proxy).await;
                assert_eq!(client.ask(&[&asking(&path(text))]).await, OK);
            }
        }
        client = Client::of(&proxy).await;
    }
    // In the code that most clients use.
    assert_eq!(client.ask(&[&asking(&[0x44, 0x84, 0x63, 0xfc, 0xff, 0xf9])]).await, OK);
    assert_eq!(upstream.last().target(), "/?%3C");
    let log = proxy.logged(upstream.asked().len()).await;
    assert!(log.iter().all(|line| line["status"] == 200), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http1_refuses_is_answered_and_counted_and_costs_no_other_stream() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let bad: Vec<Vec<u8>> = vec![
        // As it is, and in the code that most clients use.
        asking(&path(b"/\xff")),
        asking(&[0x44, 0x84, 0x63, 0xff, 0xff, 0xee]),
        asking(&path(b"/a b")),
        asking(&path(b"/a#b")),
        asking(&path(b"/?a#b")),
        asking(&path(b"/\x7f")),
        asking(&path(b"/\0")),
        asking(&path(b"")),
        asking(&path(b"a")),
        asking(&path(b"http://a/")),
        // Hosts, schemes and methods.
        [&[0x82, 0x86, 0x84][..], &[0x41, 0x02, b'a', b'<']].concat(),
        [&[0x82, 0x86, 0x84][..], &[0x41, 0x02, b'a', 0xff]].concat(),
        [&[0x82, 0x86, 0x84][..], &[0x41, 0x00]].concat(),
        [&[0x82, 0x84, 0x41, 0x01, b'a'][..], &[0x46, 0x01, b'<']].concat(),
        [&[0x86, 0x84, 0x41, 0x01, b'a'][..], &[0x42, 0x01, b'<']].concat(),
        // Fields whose bytes no field may have.
        [asking(&[0x84]), vec![0x40, 0x01, b'x', 0x01, b'\n']].concat(),
        [asking(&[0x84]), vec![0x40, 0x01, b'X', 0x01, b'y']].concat(),
    ];
    let count = bad.len();
    for block in bad {
        let mut client = Client::of(&proxy).await;
        let before = upstream.asked().len();
        assert_eq!(client.ask(&[&asking(&[0x84])]).await, OK);
        assert_eq!(client.ask(&[&block]).await, BAD, "{block:x?}");
        assert_eq!(client.ask(&[&asking(&[0x84])]).await, OK, "after {block:x?}");
        for cut in 1..block.len() {
            let (first, second) = block.split_at(cut);
            let mut client = Client::of(&proxy).await;
            assert_eq!(client.ask(&[first, second]).await, BAD, "{block:x?} cut at {cut}");
        }
        assert_eq!(upstream.asked().len(), before + 2, "{block:x?}");
    }
    let refused = proxy.metrics().await.get("graygate_unrouted_total", &[("reason", "bad_request")]);
    assert!(refused.unwrap() >= 2.0 * count as f64, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_text_may_come_under_a_name_of_the_table() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let mut client = Client::of(&proxy).await;
    // `:path: /x` is kept, and its name is asked for again with another value.
    assert_eq!(client.ask(&[&asking(&path(b"/x"))]).await, OK);
    let block = asking(&[0x7e, 0x02, b'/', 0xff]);
    assert_eq!(client.ask(&[&block]).await, BAD);
    let (first, second) = block.split_at(6);
    assert_eq!(client.ask(&[first, second]).await, BAD);
    assert_eq!(client.ask(&[&asking(&[0x84])]).await, OK);
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_that_are_none_reset_their_stream_alone() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let mut client = Client::of(&proxy).await;
    let post = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x40, 0x01, b'X', 0x01, b'y']);
    client.stream.write_all(&[frame(HEADERS, END_HEADERS, 1, &post), trailers].concat()).await.unwrap();
    assert_eq!(client.fate(1).await, Fate::Reset);
    client.next = 3;
    assert_eq!(client.ask(&[&asking(&[0x84])]).await, OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_thousands_of_fields_ends_its_connection() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let mut stream = Client::of(&proxy).await.stream;
    // A field that is kept, and thousands of times the same one again, a byte each.
    let block = [&asking(&[0x84]), &[0x40, 0x01, b'x', 0x01, b'y'][..], &[0xbe; 4_000]].concat();
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("the connection goes on");
    assert!(ended.is_ok() || !rest.is_empty() || upstream.asked().is_empty());
    assert!(upstream.asked().is_empty());
}
