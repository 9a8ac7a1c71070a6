//! A body that tells how it ended: the one place where bodies go on as they are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;

use super::frames::{Body, BoxError};

/// How an answer ended.
pub enum End {
    Whole,
    Failed,
    /// No one wants it any more; with what was not read of it.
    Unwanted(Body),
}

/// Called once.
pub type AtEnd = Box<dyn FnOnce(End) + Send>;

pub struct Watched {
    /// `None` once it has ended.
    inner: Option<Body>,
    at_end: Option<AtEnd>,
}

impl Watched {
    pub fn new(inner: Body, at_end: AtEnd) -> Watched {
        Watched { inner: Some(inner), at_end: Some(at_end) }
    }

    fn end(&mut self, end: End) {
        self.inner = None;
        if let Some(at_end) = self.at_end.take() {
            at_end(end);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(rest) = self.inner.take() {
            self.end(End::Unwanted(rest));
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        match &frame {
            None => self.end(End::Whole),
            Some(Ok(frame)) if frame.is_trailers() => self.end(End::Whole),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.end(End::Failed),
        }
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt as _, Full};
    use parking_lot::Mutex;

    use super::*;

    fn watched(inner: Body) -> (Watched, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = told.clone();
        let word = |end: End| match end {
            End::Whole => "whole",
            End::Failed => "failed",
            End::Unwanted(_) => "unwanted",
        };
        (Watched::new(inner, Box::new(move |end| telling.lock().push(word(end).to_owned()))), told)
    }

    fn whole() -> Body {
        Full::new(Bytes::from_static(b"body")).map_err(|never| match never {}).boxed_unsync()
    }

    #[tokio::test]
    async fn an_end_is_told_once_whatever_it_is() {
        let (body, told) = watched(whole());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "body");
        assert_eq!(*told.lock(), ["whole"]);
        let (body, told) = watched(whole());
        drop(body);
        assert_eq!(*told.lock(), ["unwanted"]);
        let (mut body, told) = watched(Broken.boxed_unsync());
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!(*told.lock(), ["failed"]);
    }

    /// A connection that is lost.
    struct Broken;

    impl hyper::body::Body for Broken {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Err("lost".into())))
        }
    }
}
