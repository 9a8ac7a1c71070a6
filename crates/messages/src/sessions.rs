//! Sessions at the RocketMQ proxies in the name of clients that graygate speaks for.
//!
//! A proxy takes a client's receives only after its settings, which come in a stream that stays open. A client of base
//! that drains a lane has one more session for that, as another client of the lane's group. Owns: those streams.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::calls::Call;
use super::edit;
use super::filter;
use super::frames::{BoxError, Cut, cut, framed};
use super::upstream::{Upstreams, channel};
use super::wire;

const PUSH_CONSUMER: u64 = 2;
/// How long a proxy may take to answer settings.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(5);

/// Who speaks, and what it says of itself.
pub struct Speaker {
    /// Whose proxy it is.
    pub client: String,
    /// With the session's own client id.
    pub headers: HeaderMap,
    /// A `TelemetryCommand` with settings.
    pub settings: Vec<u8>,
}

/// A stream of settings that stays open until this is dropped.
struct Session {
    _sender: mpsc::Sender<Bytes>,
    headers: HeaderMap,
    is_over: Arc<AtomicBool>,
}

/// By client and lane.
pub struct Sessions {
    upstreams: Arc<Upstreams>,
    open: Mutex<HashMap<(String, String), Session>>,
}

impl Sessions {
    pub fn new(upstreams: Arc<Upstreams>) -> Sessions {
        Sessions { upstreams, open: Mutex::default() }
    }

    /// Opens the session where it is not open.
    pub async fn ensure(&self, lane: &str, speaker: Speaker) -> Result<(), BoxError> {
        let mut open = self.open.lock().await;
        let key = (speaker.client.clone(), lane.to_owned());
        if open.get(&key).is_some_and(|session| !session.is_over.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let (session, _) = timeout(SETTINGS_TIMEOUT, self.start(speaker)).await??;
        open.insert(key, session);
        Ok(())
    }

    /// What a proxy answers to these settings; their session ends with it.
    pub async fn answer(&self, speaker: Speaker) -> Result<Bytes, BoxError> {
        Ok(timeout(SETTINGS_TIMEOUT, self.start(speaker)).await??.1)
    }

    async fn start(&self, speaker: Speaker) -> Result<(Session, Bytes), BoxError> {
        let Speaker { client, headers, settings } = speaker;
        let (sender, body) = channel();
        sender.send(framed(&settings)).await?;
        let response = self.upstreams.call(&client, &Call::Telemetry.path(), headers.clone(), body).await?;
        let mut body = response.into_body();
        // Settings have been taken once they are answered.
        let mut buffer = BytesMut::new();
        let answer = loop {
            if let Cut::Message(answer) = cut(&mut buffer) {
                break answer;
            }
            let frame = body.frame().await.transpose()?.and_then(|frame| frame.into_data().ok());
            let Some(bytes) = frame else {
                return Err("the RocketMQ proxy refused the settings of a session".into());
            };
            buffer.extend_from_slice(&bytes);
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        tokio::spawn(async move {
            while let Some(Ok(_)) = body.frame().await {}
            ended.store(true, Ordering::Relaxed);
        });
        Ok((Session { _sender: sender, headers, is_over }, answer))
    }

    /// The lanes a client has sessions for, with the headers to speak with.
    pub async fn of(&self, client: &str) -> Vec<(String, HeaderMap)> {
        let open = self.open.lock().await;
        let own = open.iter().filter(|((of, _), _)| of == client);
        own.map(|((_, lane), session)| (lane.clone(), session.headers.clone())).collect()
    }

    /// Ends all sessions of a client.
    pub async fn close(&self, client: &str) {
        self.open.lock().await.retain(|(of, _), _| of != client);
    }
}

/// What a consumer of these topics says of itself.
pub fn settings(group: &str, topics: &BTreeSet<String>) -> Result<Vec<u8>, wire::Malformed> {
    let mut settings = Vec::new();
    wire::put_number(&mut settings, 1, PUSH_CONSUMER);
    let mut subscription = wire::set(&[], &[1, edit::NAME], group.as_bytes())?;
    for topic in topics {
        let entry = wire::set(&[], &[1, edit::NAME], topic.as_bytes())?;
        wire::put(&mut subscription, 2, &wire::set(&entry, &[2], &filter::all())?);
    }
    wire::put(&mut settings, 6, &subscription);
    wire::put(&mut settings, 7, &wire::set(&[], &[2], b"5.0.0")?);
    wire::set(&[], &[2], &settings)
}
