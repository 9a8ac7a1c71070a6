//! The short path: a plain request from its head to its answer, without the framework's pipeline.
//!
//! Answers: is this request one that the short path serves, and what becomes of it? It is decided, edited, counted and
//! logged by the same functions as any other; only its bytes go another way. `exchange` is one request's way, `client`
//! watches who asks, `upstream` keeps connections to instances, `response` reads a response's head and `passing` its body, `head` is the request's and `lines` writes the response's; `rooms` lends both their bytes.
//! Never: a decision of its own. What is not plain is handed to the framework, with what is known of it.

mod client;
mod exchange;
mod head;
mod lines;
mod passing;
mod response;
mod rooms;
mod upstream;

pub use self::response::{Asked, Framing, find as find_response};

use std::time::{Instant, SystemTime};

use pingora::connectors::TransportConnector;
use pingora::server::ShutdownWatch;

use self::client::peer;
use self::exchange::{End, Exchange, Path};
use self::head::PlainHead;
use super::context::{Context, Passage};
use super::gate::{Decided, Gate};
use super::intake::Verdict;
use crate::edge::{ClientStream, PlainRequest, Served, ShortPath};
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
        let verdict = self.gate.intake().take_in(&mut head, peer(client), &mut context);
        let end = match verdict {
            Verdict::Proxy if context.passage().is_some_and(is_short) => {
                let path = Path { gate: &self.gate, connector: &self.connector, shutdown };
                Exchange::new(path, client, context).serve(&request, head).await
            }
            verdict => {
                // Nothing else holds the request's bytes.
                drop(head);
                End::Undone(Box::new(Decided { context, verdict }))
            }
        };
        match end {
            End::Kept => Served::Kept(request.into_bytes()),
            End::Closed => Served::Closed,
            End::Undone(decided) => Served::HandedOver(request.into_bytes(), Some(decided)),
        }
    }
}

/// Whether nothing but one answer of one upstream is asked for, over HTTP/1.
fn is_short(passage: &Passage) -> bool {
    passage.runtime.peers.wire() == Wire::Http1 && passage.copying.is_none() && passage.rescue.is_none()
}
