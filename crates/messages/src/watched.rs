//! A body that tells how it ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;

use super::frames::{Body, BoxError};

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Whole,
    /// It failed, or no one wants it any more.
    Abandoned,
}

/// Called once.
pub type AtEnd = Box<dyn FnOnce(End) + Send>;

pub struct Watched {
    inner: Body,
    at_end: Option<AtEnd>,
}

impl Watched {
    pub fn new(inner: Body, at_end: AtEnd) -> Watched {
        Watched { inner, at_end: Some(at_end) }
    }

    fn end(&mut self, end: End) {
        if let Some(at_end) = self.at_end.take() {
            at_end(end);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end(End::Abandoned);
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            None => self.end(End::Whole),
            Some(Ok(frame)) if frame.is_trailers() => self.end(End::Whole),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.end(End::Abandoned),
        }
        Poll::Ready(frame)
    }
}
