//! Connections: from accept to the bytes of one request, and back for the next one.
//!
//! Answers: who may connect, what is spoken, where does a request begin and end, and for how long is anyone waited for?
//! `accepting` hands connections to `serving_threads`, `accept` admits each, `listener` agrees on TLS and HTTP/2, `h1` and `h2` make requests of its bytes; the
//! framework gets each as `h1_stream` or `h2_stream`, unless it is plain (`head` and `plain_stream` say
//! which are) and `short` says who serves it without.
//! `waits` bounds how long a request waits.
//! Never: decisions, routes or upstreams. What it refuses itself it answers from `responses` and reports to `refused`.

mod accept;
mod accepting;
mod blocks;
mod certificates;
mod chunks;
mod client_io;
mod client_socket;
mod client_stream;
mod fields;
mod frames;
mod h1;
mod h1_response;
mod h1_stream;
mod h2;
mod h2_stream;
mod handed;
mod head;
mod hpack;
mod huffman;
mod listener;
mod mended;
mod open_connections;
mod plain;
mod plain_stream;
mod proxy_protocol;
mod refused;
mod rest;
mod serving;
mod serving_threads;
mod session;
mod settings;
mod short;
mod target;
mod waits;

pub use accept::Edge;
pub use accepting::{Accepting, Sockets};
pub use certificates::HeldBack;
pub use chunks::ChunkScanner;
pub use client_stream::{Apart, ClientStream, WRITE_STALL};
pub use h1_response::{write_head, write_status};
pub use h2_stream::H2Stream;
#[cfg(test)]
pub use h2_stream::asked_over_h2;
pub use handed::Handed;
pub use head::{HEADERS_LIMIT, Line, Span};
pub use listener::{CertificateSets, Speaks};
pub use plain::Plain;
pub use refused::Refused;
pub use serving::Serving;
pub use serving_threads::ServingThreads;
pub use session::{take_handed, waits};
pub use settings::{Limits, Listener, Tls, TlsVersion};
#[cfg(test)]
pub use short::plain_request;
pub use short::{NoShortPath, PlainRequest, Served, ShortPath};
pub use target::authority;
pub use waits::{Alarm, Waits};
