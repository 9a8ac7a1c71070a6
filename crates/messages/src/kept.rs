//! Receives whose client goes while they wait: they are read to their end, and what they bring is given back.
//!
//! A broker pops a message for a poll whether or not anyone still wants it, and would keep it for its invisible time, a
//! minute. Owns: those answers, and handing messages back. Never: what is handed out.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::calls::Call;
use super::edit;
use super::frames::{Body, BoxError, Edited, framed, streamed};
use super::upstream::{Upstreams, whole};
use super::watched::{End, Watched};
use super::wire::{self, Malformed};

/// When what was not handed out is there again.
const BACK_AFTER: u64 = 1;

/// How a message is given back: in whose name, and out of which group.
#[derive(Clone)]
pub struct Back {
    pub upstreams: Arc<Upstreams>,
    /// Whose proxy it is.
    pub client: String,
    pub headers: HeaderMap,
    pub group: String,
    pub topic: String,
}

impl Back {
    /// The message of an answer of a receive, if it has one.
    pub fn give(&self, answer: &[u8]) {
        let Ok(Some(request)) = self.request(answer) else { return };
        let back = self.clone();
        tokio::spawn(async move {
            let path = Call::ChangeInvisibleDuration.path();
            // Where it fails the message is there again after its invisible time.
            let _ = back.upstreams.unary(&back.client, &path, back.headers, &request).await;
        });
    }

    fn request(&self, answer: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let handle = wire::text(answer, &[2, 3, 12])?;
        if handle.is_empty() {
            return Ok(None);
        }
        let request = wire::set(&[], edit::group::FIRST, self.group.as_bytes())?;
        let mut request = wire::set(&request, edit::topic::SECOND, self.topic.as_bytes())?;
        wire::put(&mut request, 3, handle.as_bytes());
        wire::put(&mut request, 4, &edit::duration(BACK_AFTER));
        wire::put(&mut request, 5, wire::text(answer, &[2, 3, 3])?.as_bytes());
        Ok(Some(request))
    }

    /// Receives, and goes on to the end whatever becomes of the caller.
    pub async fn receive(self, headers: HeaderMap, request: &[u8]) -> Result<Response<Body>, BoxError> {
        let (sender, receiver) = oneshot::channel();
        let (back, body) = (self.clone(), whole(framed(request)));
        tokio::spawn(async move {
            let path = Call::ReceiveMessage.path();
            let response = back.upstreams.call(&back.client, &path, headers, body).await;
            if let Err(Ok(response)) = sender.send(response) {
                back.rest(streamed(response.into_body())).await;
            }
        });
        let response: Response<Incoming> = receiver.await??;
        let at_end = Box::new(move |end| {
            if let (End::Unwanted(rest), Ok(runtime)) = (end, tokio::runtime::Handle::try_current()) {
                runtime.spawn(self.rest(rest));
            }
        });
        Ok(response.map(|body| Watched::new(streamed(body), at_end).boxed_unsync()))
    }

    /// Reads what is no longer wanted.
    async fn rest(self, body: Body) {
        let give = Box::new(move |answer: Bytes| {
            self.give(&answer);
            None
        });
        let mut body = Edited::new(body, give);
        while let Some(Ok(_)) = body.frame().await {}
    }
}
