//! An upstream that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::faults::graygate::PATIENCE;
use crate::harness::ports::free_addresses;

/// Between two bytes of a drip, and between data and what ends it.
const BEAT: Duration = Duration::from_millis(20);

/// What an upstream does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Healthy,
    /// No one listens, and every connection is gone.
    Refuse,
    /// Reads and never answers.
    Hang,
    /// Resets the connection once it has the request.
    Reset,
    ResetInHeader,
    ResetInBody,
    /// Half of the body, and then nothing.
    StallInBody,
    Garbage,
    /// Answers, and closes without having said so.
    CloseIdle,
    /// One byte of a header at a time, without end.
    Drip,
    Slow,
    /// 500 for everything but `/healthz`.
    Errors,
    /// 500 for everything.
    Sick,
    /// A body of ten pieces with a pause in front of each.
    Stream,
    /// 101 and then an echo.
    Upgrade,
    /// 103, and then nothing.
    Interim,
}

pub struct Upstream {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start(name: &'static str) -> Upstream {
        let [address] = free_addresses();
        let (mode, watched) = watch::channel(Mode::Healthy);
        let requests = Arc::<AtomicUsize>::default();
        let listener = TcpListener::bind(address).await.unwrap();
        let serving = Serving { name, mode: watched, requests: requests.clone() };
        let task = tokio::spawn(serve(address, listener, serving));
        Upstream { address, mode, requests, task }
    }

    /// One that refused listens again only after a while.
    pub async fn wait_until_open(&self) {
        let begun = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "{} does not listen", self.address);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Requests it has read, checks not counted.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Serving {
    name: &'static str,
    mode: watch::Receiver<Mode>,
    requests: Arc<AtomicUsize>,
}

async fn serve(address: SocketAddr, listener: TcpListener, serving: Serving) {
    let mut listener = Some(listener);
    let mut mode = serving.mode.clone();
    loop {
        let is_open = *mode.borrow_and_update() != Mode::Refuse;
        match listener.take().filter(|_| is_open) {
            Some(open) => {
                tokio::select! {
                    accepted = open.accept() => {
                        tokio::spawn(converse(accepted.unwrap().0, serving.clone()));
                    }
                    changed = mode.changed() => if changed.is_err() { return },
                }
                listener = Some(open);
            }
            None if is_open => listener = TcpListener::bind(address).await.ok(),
            None => {
                if mode.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, serving: Serving) {
    let mut mode = serving.mode.clone();
    let gone = async move {
        // An error says that the upstream is gone altogether.
        let _ = mode.wait_for(|mode| *mode == Mode::Refuse).await;
    };
    tokio::select! {
        _ = Connection { stream, unread: BytesMut::new(), serving }.answer_all() => {}
        () = gone => {}
    }
}

struct Connection {
    stream: TcpStream,
    unread: BytesMut,
    serving: Serving,
}

impl Connection {
    /// Answers one request after another; how it ended is not asked here.
    async fn answer_all(mut self) -> Option<()> {
        loop {
            let head = self.read_request().await?;
            let is_check = head.contains(" /healthz ");
            if !is_check {
                self.serving.requests.fetch_add(1, Ordering::Relaxed);
            }
            let mode = *self.serving.mode.borrow();
            let is_seen = matches!(mode, Mode::Hang | Mode::Reset | Mode::Sick);
            let mode = if is_check && !is_seen { Mode::Healthy } else { mode };
            self.act(mode, &head).await?;
        }
    }

    async fn read_request(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            (self.stream.read_buf(&mut self.unread).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&self.unread.split_to(end)).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            (self.stream.read_buf(&mut self.unread).await.ok()? > 0).then_some(())?;
        }
        self.unread.advance(length);
        Some(head)
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).await.ok()
    }

    async fn respond(&mut self, status: &str) -> Option<()> {
        let name = self.serving.name;
        let length = name.len();
        self.say(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{name}")).await
    }

    /// Resets the connection, once what was said has arrived.
    async fn reset(&mut self) -> Option<()> {
        sleep(BEAT).await;
        self.stream.set_zero_linger().ok()?;
        None
    }

    /// Does nothing while the mode lasts, then closes.
    async fn wait(&mut self) -> Option<()> {
        let mut mode = self.serving.mode.clone();
        let now = *mode.borrow_and_update();
        // An error says that the upstream is gone altogether.
        let _ = mode.wait_for(|mode| *mode != now).await;
        None
    }

    async fn act(&mut self, mode: Mode, head: &str) -> Option<()> {
        match mode {
            Mode::Healthy | Mode::Refuse => self.respond("200 OK").await,
            Mode::Errors | Mode::Sick => self.respond("500 Internal Server Error").await,
            Mode::Hang => self.wait().await,
            Mode::Reset => self.reset().await,
            Mode::ResetInHeader => {
                self.say("HTTP/1.1 200 OK\r\ncontent-le").await?;
                self.reset().await
            }
            Mode::ResetInBody => {
                self.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ").await?;
                self.reset().await
            }
            Mode::StallInBody => {
                self.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ").await?;
                self.wait().await
            }
            Mode::Garbage => {
                self.say("\u{1}\u{2} what is this?\r\n\r\n").await?;
                self.wait().await
            }
            Mode::CloseIdle => {
                self.respond("200 OK").await?;
                None
            }
            Mode::Drip => {
                self.say("HTTP/1.1 200 OK\r\nx-drip: ").await?;
                loop {
                    self.say("x").await?;
                    sleep(BEAT).await;
                }
            }
            Mode::Slow => {
                sleep(5 * BEAT).await;
                self.respond("200 OK").await
            }
            Mode::Stream => {
                self.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                for _ in 0..10 {
                    sleep(10 * BEAT).await;
                    self.say("5\r\npiece\r\n").await?;
                }
                self.say("0\r\n\r\n").await
            }
            Mode::Upgrade => {
                assert!(head.contains("upgrade: websocket"), "{head}");
                self.say(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )
                .await?;
                loop {
                    let said = self.unread.split();
                    self.stream.write_all(&said).await.ok()?;
                    (self.stream.read_buf(&mut self.unread).await.ok()? > 0).then_some(())?;
                }
            }
            Mode::Interim => {
                self.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
                self.wait().await
            }
        }
    }
}
