//! A client that sends bytes as they are written and reads an answer to its end, if it has one.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for bytes: more than any timeout a test configures.
const SILENCE: Duration = Duration::from_secs(15);

pub struct Client {
    pub stream: TcpStream,
    unread: BytesMut,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Lower case, line by line.
    pub head: String,
    pub body: Vec<u8>,
    /// The body came to the end its head promised.
    pub is_whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and `x-graygate-error`.
    pub fn verdict(&self) -> (u16, &str) {
        (self.status, self.header("x-graygate-error").unwrap_or(""))
    }

    pub fn is_good(&self) -> bool {
        self.status == 200 && self.is_whole
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, unread: BytesMut::new() })
    }

    pub async fn send(&mut self, text: &str) {
        // A server that has already answered and closed shows in what is read.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    pub async fn get(&mut self, path: &str) -> Option<Answer> {
        self.ask("GET", path, "", "").await
    }

    /// One request; `more` are further header lines, each with its line end.
    pub async fn ask(&mut self, method: &str, path: &str, more: &str, body: &str) -> Option<Answer> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        self.send(&format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{more}{length}\r\n{body}")).await;
        self.answer_to(method).await
    }

    pub async fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET").await
    }

    /// The next final answer; `None` where the connection ends before its head does.
    async fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let mut answer = self.head().await?;
        while answer.status < 200 && answer.status != 101 {
            answer = self.head().await?;
        }
        let bodiless = method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
        let length: Option<usize> = answer.header("content-length").map(|length| length.parse().unwrap());
        let chunked = answer.header("transfer-encoding").is_some();
        answer.is_whole = match (bodiless, chunked, length) {
            (true, ..) => true,
            (_, true, _) => self.chunks(&mut answer.body).await.is_some(),
            (_, _, Some(length)) => self.exactly(length, &mut answer.body).await,
            _ => {
                while self.more().await {}
                answer.body.extend_from_slice(&self.unread.split());
                true
            }
        };
        Some(answer)
    }

    async fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.unread.split_to(end + 4)).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: Vec::new(), is_whole: false })
    }

    async fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        while self.unread.len() < length {
            if !self.more().await {
                body.extend_from_slice(&self.unread.split());
                return false;
            }
        }
        body.extend_from_slice(&self.unread.split_to(length));
        true
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let end = loop {
                match self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                    Some(end) => break end,
                    None => self.more().await.then_some(())?,
                }
            };
            let line = self.unread.split_to(end + 2);
            let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).ok()?, 16).ok()?;
            self.exactly(size, body).await.then_some(())?;
            let mut line_end = Vec::new();
            self.exactly(2, &mut line_end).await.then_some(())?;
            if size == 0 {
                return Some(());
            }
        }
    }

    /// Reads something; false at the end.
    async fn more(&mut self) -> bool {
        let read = timeout(SILENCE, self.stream.read_buf(&mut self.unread)).await;
        read.expect("the proxy says something in time").is_ok_and(|count| count > 0)
    }

    /// Reads this many bytes, whatever they are.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(self.exactly(count, &mut bytes).await, "{:?}", String::from_utf8_lossy(&bytes));
        bytes
    }

    /// Whether the other side closes without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.remaining() == 0 && !self.more().await
    }
}
