//! The short path: a plain request from its head to its answer, without the framework's pipeline.
//!
//! Answers: is this request one that the short path serves, and what becomes of it? It is decided, edited, counted and
//! logged by the same functions as any other; only its bytes go another way. `exchange` is one request's way, `client` what
//! it knows of who asks, over `h1` or `h2`; `upstream` keeps connections to instances, `response` reads a response's head and
//! `passing` its body. Over HTTP/1 `head` is the request's and `lines` writes the response's; `rooms` lends bytes their room.
//! Never: a decision of its own. What is not plain is handed to the framework, with what is known of it.

mod client;
mod exchange;
mod h1;
mod h2;
mod head;
mod lines;
mod passing;
mod response;
mod rooms;
mod upstream;

pub use self::response::{Asked, Framing, find as find_response};

use std::time::{Instant, SystemTime};

use pingora::connectors::TransportConnector;
use pingora::protocols::http::custom::server::Session as _;
use pingora::server::ShutdownWatch;

use self::client::Client;
use self::exchange::{End, Exchange, Path};
use self::h1::Http1;
use self::h2::Http2;
use self::head::PlainHead;
use self::lines::Connection;
use super::context::{Context, Passage};
use super::gate::{Decided, Gate};
use super::intake::Verdict;
use crate::edge::{ClientStream, H2Stream, PlainRequest, Served, ShortPath};
use graygate_rules::spec::Wire;

/// Serves plain requests.
pub struct Short {
    gate: Gate,
    connector: TransportConnector,
}

impl Short {
    /// Over the same hooks as the pipeline, and connections made by `connector`.
    pub fn new(gate: Gate, connector: TransportConnector) -> Short {
        Short { gate, connector }
    }

    /// One answer of one upstream.
    async fn exchange(&self, client: &mut impl Client, context: Context) -> End {
        let path = Path { gate: &self.gate, connector: &self.connector };
        Exchange::new(path, client, context).serve().await
    }
}

impl ShortPath for Short {
    async fn serve(
        &self,
        client: &mut ClientStream,
        request: PlainRequest,
        shutdown: &ShutdownWatch,
    ) -> Served {
        let mut context = Context::begin(Instant::now(), SystemTime::now());
        let mut head = PlainHead::of(&request);
        let verdict = self.gate.intake().take_in(&mut head, h1::peer(client), &mut context);
        if !is_short(&verdict, &context) {
            drop(head);
            return Served::HandedOver(request, Box::new(Decided { context, verdict }));
        }
        let mut client = Http1::new(client, &request, head, shutdown);
        match self.exchange(&mut client, context).await {
            End::Answered => match client.part().await {
                Connection::Kept => Served::Kept(request.into_bytes()),
                Connection::Closed => Served::Closed,
            },
            End::Broken => Served::Closed,
            End::Undone(decided) => {
                drop(client);
                Served::HandedOver(request, decided)
            }
        }
    }

    async fn serve_stream(&self, mut stream: H2Stream) -> Option<H2Stream> {
        let mut context = Context::begin(Instant::now(), SystemTime::now());
        let peer = h2::peer(&stream);
        let verdict = self.gate.intake().take_in(stream.req_header_mut(), peer, &mut context);
        let decided = match is_short(&verdict, &context) {
            true => match self.exchange(&mut Http2::new(&mut stream), context).await {
                End::Answered | End::Broken => return None,
                End::Undone(decided) => decided,
            },
            false => Box::new(Decided { context, verdict }),
        };
        stream.hand(decided);
        Some(stream)
    }
}

/// Whether nothing but one answer of one upstream is asked for, over HTTP/1.
fn is_short(verdict: &Verdict, context: &Context) -> bool {
    let is_simple = |passage: &Passage| {
        let wire = passage.runtime.peers.wire();
        wire == Wire::Http1 && passage.copying.is_none() && passage.rescue.is_none()
    };
    matches!(verdict, Verdict::Proxy) && context.passage().is_some_and(is_simple)
}
