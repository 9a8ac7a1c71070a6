//! One session with a ZooKeeper server, read-only: questions in order, signs of life, events.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::wire::{self, Ask, Reply, Watching};
use crate::registries::link::{LinkError, within};
use crate::registries::settings::Auth;

/// Until a session stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// One question.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// What is asked of the server: how long it keeps our watches without a sign of life. Only we lose by its end.
const SESSION_MS: i32 = 6_000;

/// Why a node said nothing.
#[derive(Debug)]
pub enum NoAnswer {
    /// There is no such node.
    Absent,
    /// It may not be read with this authentication.
    Forbidden,
    Lost(LinkError),
}

pub struct Connection {
    stream: TcpStream,
    unread: BytesMut,
    xid: i32,
    /// Nodes of which something changed, and was not told yet.
    events: VecDeque<String>,
    /// A third of what the server grants.
    ping_every: Duration,
    last_sent: Instant,
    last_heard: Instant,
}

impl Connection {
    pub async fn open(address: &str, auth: Option<&Auth>) -> Result<Connection, LinkError> {
        within(CONNECT_LIMIT, "a session", async {
            let stream = TcpStream::connect(address).await.map_err(|e| LinkError::Connect(e.to_string()))?;
            let _ = stream.set_nodelay(true);
            let mut connection = Connection {
                stream,
                unread: BytesMut::new(),
                xid: 0,
                events: VecDeque::new(),
                ping_every: Duration::MAX,
                last_sent: Instant::now(),
                last_heard: Instant::now(),
            };
            connection.send(wire::connect(SESSION_MS)).await?;
            let granted = wire::connected(connection.frame().await?);
            let granted = granted.ok_or_else(|| LinkError::Refused("the server grants no session".into()))?;
            connection.ping_every = Duration::from_millis(u64::try_from(granted).unwrap_or(3_000) / 3);
            if let Some(auth) = auth {
                connection.authenticate(auth).await?;
            }
            Ok(connection)
        })
        .await
    }

    async fn authenticate(&mut self, auth: &Auth) -> Result<(), LinkError> {
        self.send(wire::auth(&auth.scheme, &auth.secret)).await?;
        match self.reply_to(wire::AUTH).await?.error {
            0 => Ok(()),
            _ => Err(LinkError::Refused("the server does not take `auth`".to_owned())),
        }
    }

    pub async fn children(&mut self, path: &str, watching: Watching) -> Result<Vec<String>, NoAnswer> {
        let body = self.ask(Ask::Children, path, watching).await?;
        wire::children(body).ok_or_else(|| malformed("a list of children"))
    }

    pub async fn content(&mut self, path: &str, watching: Watching) -> Result<Bytes, NoAnswer> {
        let body = self.ask(Ask::Content, path, watching).await?;
        wire::content(body).ok_or_else(|| malformed("a node's content"))
    }

    /// Watches a node that may not be there.
    pub async fn watch_existence(&mut self, path: &str) -> Result<(), NoAnswer> {
        self.ask(Ask::Exists, path, Watching::Yes).await.map(|_| ())
    }

    /// Brings the server up to date with its leader.
    pub async fn sync(&mut self, path: &str) -> Result<(), NoAnswer> {
        self.ask(Ask::Sync, path, Watching::No).await.map(|_| ())
    }

    async fn ask(&mut self, ask: Ask, path: &str, watching: Watching) -> Result<Bytes, NoAnswer> {
        self.xid = self.xid.wrapping_add(1).max(1);
        let xid = self.xid;
        let answered = within(ANSWER_LIMIT, "a question", async {
            self.send(wire::request(xid, ask, path, watching)).await?;
            self.reply_to(xid).await
        });
        let reply = answered.await.map_err(NoAnswer::Lost)?;
        match reply.error {
            0 => Ok(reply.body),
            wire::NO_NODE => Err(NoAnswer::Absent),
            wire::NO_AUTH => Err(NoAnswer::Forbidden),
            code => Err(NoAnswer::Lost(LinkError::Refused(format!("the server's error {code}")))),
        }
    }

    /// Waits for the answer to a question; events on the way are kept.
    async fn reply_to(&mut self, xid: i32) -> Result<Reply, LinkError> {
        loop {
            let reply = self.reply().await?;
            if reply.xid == xid {
                return Ok(reply);
            }
        }
    }

    /// The next thing the server says, events and signs of life taken care of.
    async fn reply(&mut self) -> Result<Reply, LinkError> {
        let frame = self.frame().await?;
        let reply = wire::reply(frame).ok_or_else(|| LinkError::Malformed("an answer is torn".to_owned()))?;
        if reply.xid == wire::WATCH
            && let Some(path) = wire::event(reply.body.clone())
        {
            self.events.push_back(path);
        }
        Ok(reply)
    }

    /// Waits until something changed, and says of which node. Safe to drop at any time.
    pub async fn changed(&mut self) -> Result<String, LinkError> {
        loop {
            if let Some(path) = self.events.pop_front() {
                return Ok(path);
            }
            let ping_at = self.last_sent + self.ping_every;
            let silent_at = self.last_heard + self.ping_every * 2;
            tokio::select! {
                reply = self.reply() => drop(reply?),
                () = tokio::time::sleep_until(silent_at) => {
                    return Err(LinkError::Timeout { what: "a sign of life", limit: self.ping_every * 2 });
                }
                () = tokio::time::sleep_until(ping_at) => self.send(wire::ping()).await?,
            }
        }
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), LinkError> {
        self.last_sent = Instant::now();
        self.stream.write_all(&frame).await.map_err(|error| LinkError::Lost(error.to_string()))
    }

    /// The next whole frame. What was read of one stays where it is when this is dropped.
    async fn frame(&mut self) -> Result<Bytes, LinkError> {
        loop {
            if let Some(frame) = self.whole_frame()? {
                self.last_heard = Instant::now();
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.unread).await;
            if read.map_err(|error| LinkError::Lost(error.to_string()))? == 0 {
                return Err(LinkError::Lost("the server closed the connection".to_owned()));
            }
        }
    }

    fn whole_frame(&mut self) -> Result<Option<Bytes>, LinkError> {
        let Some(head) = self.unread.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > wire::FRAME_LIMIT {
            return Err(LinkError::Malformed(format!("a frame of {length} bytes")));
        }
        if self.unread.len() < 4 + length {
            return Ok(None);
        }
        let _ = self.unread.split_to(4);
        Ok(Some(self.unread.split_to(length).freeze()))
    }
}

fn malformed(what: &str) -> NoAnswer {
    NoAnswer::Lost(LinkError::Malformed(what.to_owned()))
}
