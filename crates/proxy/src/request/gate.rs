//! The hooks of the framework, in the order they run: the table of contents of a request.
//!
//! Answers: what happens to a request, step by step? Owns the order; each step's work lives in a file of its own.
//! Never: documents, or a decision of its own.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::answer::is_interim;
use super::context::Context;
use super::headers::Sender;
use super::intake::{Intake, Verdict};
use super::report::Told;
use super::settings::Settings;
use super::{answer, attempt, headers, intake, observed, peer, report, rescue};
use crate::edge::{WRITE_STALL, take_handed, waits};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::observe::Observer;
use graygate_rules::vocab::ErrorReason;
use graygate_telemetry::AccessLog;

/// Longest pause in a request's body.
const BODY_PAUSE: Duration = Duration::from_secs(60);
/// Longest wait for the rest of a body that is not needed any more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The proxy: what the framework calls for every request.
#[derive(Clone)]
pub struct Gate {
    pub live: Arc<Live>,
    pub settings: Arc<Settings>,
    pub metrics: Metrics,
    pub access_log: Option<AccessLog>,
    pub observer: Arc<Observer>,
}

/// A request that was decided before the framework read it.
pub struct Decided {
    pub context: Context,
    pub verdict: Verdict,
}

impl Gate {
    pub fn intake(&self) -> Intake<'_> {
        Intake { live: &self.live, settings: &self.settings, observer: &self.observer }
    }

    /// The verdict on a request: the one it comes with, or a new one.
    fn verdict(&self, session: &mut Session, context: &mut Context) -> Verdict {
        if let Some(decided) = take_handed(session).and_then(|handed| handed.downcast::<Decided>().ok()) {
            *context = decided.context;
            intake::admit_again(session.req_header_mut(), context);
            return decided.verdict;
        }
        let peer = intake::peer_of(session);
        self.intake().take_in(session.req_header_mut(), peer, context)
    }
}

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::begin(Instant::now(), SystemTime::now())
    }

    // The framework would add response compression here, which costs every request and is not wanted.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _context: &mut Context) -> Result<()> {
        session.set_read_timeout(Some(BODY_PAUSE));
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        if session.req_header().version == Version::HTTP_10 {
            // Its clients must not be believed to wait for an interim response (RFC 9110, 10.1.1).
            session.req_header_mut().remove_header(&header::EXPECT);
        }
        if session.req_header().version == Version::HTTP_2 {
            // Over HTTP/1 the connection itself watches for a client that takes nothing.
            session.set_write_timeout(Some(WRITE_STALL));
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        match self.verdict(session, context) {
            Verdict::Proxy => return Ok(false),
            Verdict::Redirect(status, location) => answer::redirect(session, status, &location).await?,
            Verdict::Override(change) => answer::change_override(session, &change).await?,
            Verdict::Limited(refusal) => {
                context.error = Some(ErrorReason::RateLimited);
                answer::limited(session, refusal).await?;
            }
            Verdict::Error(reason) => {
                context.error = Some(reason);
                answer::error(session, reason).await?;
            }
        }
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> Result<()> {
        let passage = context.routed()?;
        if end {
            attempt::sent_whole(session, passage, Instant::now());
            if let Some(waits) = waits(session) {
                waits.body_ended();
            }
        }
        // The framework would write an empty last piece as a chunk that ends the body, and then end the body.
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        if !passage.body.pass(body.as_ref().map_or(0, |body| body.len() as u64)) {
            context.error = Some(ErrorReason::BodyTooLarge);
            let error = Error::explain(ErrorType::HTTPStatus(413), "the request body is too large");
            return Err(error.into_down());
        }
        if let Some(copying) = &mut passage.copying {
            copying.pass(body.as_deref().unwrap_or_default(), end);
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        peer::next_peer(session, context, Instant::now())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        match context.passage_mut() {
            Some(passage) => attempt::failed_to_connect(passage, error, Instant::now()),
            None => error,
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let passage = context.routed()?;
        passage.body.begin_try();
        passage.upgrades = request.headers.contains_key(header::UPGRADE);
        headers::edit_request(&self.settings, &Sender::of(session), request, passage);
        request.set_raw_path(passage.rewritten.target.as_bytes())?;
        if passage.copying.is_some() {
            headers::copy_request(&self.settings, request, passage)?;
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let error = error.more_context(format!("peer {peer}"));
        match context.passage_mut() {
            Some(passage) => attempt::failed_after_sending(session, passage, error, reused),
            None => error,
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let passage = context.routed()?;
        if is_interim(response) {
            if passage.due.is_some() {
                attempt::sent_whole(session, passage, Instant::now());
            }
            return Ok(());
        }
        if response.status == 101 && !passage.upgrades {
            let error =
                Error::explain(ErrorType::InvalidHTTPHeader, "the upstream switched protocols unasked");
            return Err(error.into_up());
        }
        let now = Instant::now();
        let status = response.status.as_u16();
        if passage.rescue.is_some() && rescue::turns_away(session, passage, status, now) {
            // What a version has to say ends with its own answer.
            observed::answered(passage, response, now);
            attempt::turned_away(passage, status, now);
            rescue::go_on(passage, now);
            return Err(rescue::elsewhere());
        }
        attempt::answered(passage, status, now);
        observed::answered(passage, response, now);
        if let Some(waits) = waits(session) {
            waits.response_began();
        }
        if response.status == 101 {
            // What follows is no longer a request with an end: silence is allowed, and every byte is passed on.
            session.set_read_timeout(None);
        }
        Ok(())
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        context: &mut Context,
    ) -> Result<()> {
        observed::trailed(context.routed()?, trailers, Instant::now());
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        if is_interim(response) {
            headers::strip_interim(response);
            return Ok(());
        }
        headers::edit_response(&self.settings, response, context.routed()?)?;
        headers::settle_framing(session, response);
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let reason = context.error.or_else(|| attempt::reason_of(error));
        context.error = reason;
        if let Some(passage) = context.passage_mut() {
            observed::over(passage, Instant::now());
        }
        let Some(reason) = reason else {
            // The client is gone: there is no one to answer.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        if answer::error(session, reason).await.is_err() {
            tracing::debug!(%reason, "the client left before the error was sent");
        }
        FailToProxy { error_code: reason.status(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, context: &mut Context) {
        let at = Instant::now();
        if let Some(passage) = context.passage_mut() {
            attempt::end(passage, at);
            observed::over(passage, at);
        }
        let told = || Told::of(session);
        let status = session.response_written().map(|response| response.status.as_u16());
        let ended = report::Ended { status, at };
        report::finish(&self.metrics, self.access_log.as_ref(), context, ended, told);
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        // The access log has one line for it; a second one would be a flood when an upstream is down.
        true
    }
}
