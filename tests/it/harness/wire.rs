//! HTTP/1.1 byte by byte: requests are written as the test spells them, answers are read as they came.
//!
//! No HTTP library in between: they normalise what these tests are about.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing here takes longer, however busy the machine is.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A message as it came: the first line, the headers in their order and case, the body without its framing.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The only value of a header; a second one fails the test.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} comes {} times: {self:?}", all.len());
        all.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Of an answer.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Of a request: the target as it was spelled.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection, kept as long as the other side keeps it.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection::over(stream)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends one request and reads its answer.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Message {
        self.send(bytes).await;
        self.answer().await
    }

    /// A request without a body, with a `Host`.
    pub async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Message {
        self.ask(request("GET", target, headers)).await
    }

    /// Whether the other side has closed; waits until it says anything at all.
    pub async fn ended(&mut self) -> bool {
        let mut byte = [0];
        match timeout(LIMIT, self.stream.read(&mut byte)).await.expect("the connection stays open") {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    pub fn over(stream: S) -> Connection<S> {
        Connection { stream, unread: Vec::new() }
    }

    /// The next answer; interim ones are passed over.
    pub async fn answer(&mut self) -> Message {
        loop {
            let read = timeout(LIMIT, self.message(false)).await.expect("no answer in time");
            let message = read.unwrap().expect("the connection ended without an answer");
            if message.status() >= 200 {
                return message;
            }
        }
    }

    /// The answer to a `HEAD`, which never has a body.
    pub async fn bodiless_answer(&mut self) -> Message {
        timeout(LIMIT, self.head()).await.expect("no answer in time").unwrap().expect("no answer")
    }

    /// The next bytes, whatever they are; some may have come with the head before them.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        match timeout(LIMIT, self.take(count)).await {
            Ok(read) => read.unwrap_or_else(|error| panic!("{error} behind {}", self.unread.escape_ascii())),
            Err(_) => panic!("nothing more behind {}", self.unread.escape_ascii()),
        }
    }

    /// The next message; `None` where the connection ended before it began.
    pub async fn message(&mut self, is_request: bool) -> io::Result<Option<Message>> {
        let Some(mut message) = self.head().await? else { return Ok(None) };
        let coding = message.header("transfer-encoding").is_some();
        let length = message.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let bodiless = !is_request && matches!(message.status(), 100..=199 | 204 | 304);
        message.body = match length {
            _ if bodiless => Vec::new(),
            _ if coding => self.chunks().await?,
            Some(length) => self.take(length).await?,
            None if is_request => Vec::new(),
            None => self.rest().await?,
        };
        Ok(Some(message))
    }

    async fn head(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Ok(Some(parse(&head)));
            }
            if !self.more().await? {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.unread))
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            body.extend(self.take(length).await?);
            self.line().await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A request without a body; `Host: app.test` unless the headers name another.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: app.test\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A request with a body of a known length.
pub fn with_body(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let mut bytes = request(method, target, &[("Content-Length", &length)]);
    bytes.extend(body.as_bytes());
    bytes
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn parse(head: &[u8]) -> Message {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let start = lines.next().unwrap_or_default().to_string();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_string(), value.trim().to_string())
    };
    Message { start, headers: lines.map(header).collect(), body: Vec::new() }
}
