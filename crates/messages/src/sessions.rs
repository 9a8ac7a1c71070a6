//! Sessions at the RocketMQ proxies in the name of clients that graygate speaks for.
//!
//! A proxy takes a client's receives only after its settings, which come in a stream that stays open. A client of base
//! that drains a lane has one more session for that, as another client of the lane's group. Owns: those streams.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::calls::Call;
use super::frames::{BoxError, framed};
use super::upstream::{Upstreams, channel};

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
        let session = timeout(SETTINGS_TIMEOUT, self.start(speaker)).await??;
        open.insert(key, session);
        Ok(())
    }

    async fn start(&self, speaker: Speaker) -> Result<Session, BoxError> {
        let Speaker { client, headers, settings } = speaker;
        let (sender, body) = channel();
        sender.send(framed(&settings)).await?;
        let response = self.upstreams.call(&client, &Call::Telemetry.path(), headers.clone(), body).await?;
        let mut body = response.into_body();
        // Settings have been taken once they are answered.
        let first = body.frame().await.transpose()?;
        if !first.is_some_and(|frame| frame.is_data()) {
            return Err("the RocketMQ proxy refused the settings of a session".into());
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        tokio::spawn(async move {
            while let Some(Ok(_)) = body.frame().await {}
            ended.store(true, Ordering::Relaxed);
        });
        Ok(Session { _sender: sender, headers, is_over })
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
