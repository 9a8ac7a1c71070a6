//! The edge towards clients: TLS, HTTP/2, the PROXY protocol, WebSocket, limits, and what is refused, with real clients.

#![cfg(test)]

#[path = "../support/harness.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod harness;

#[path = "../proxy/sample.rs"]
mod sample;

#[path = "../support/etcd.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod etcd;

#[path = "../support/strict.rs"]
mod strict;

mod arbitrary;
mod certificate;
mod framing;
mod grpc;
mod http2;
mod limits;
mod malformed;
mod streams;
mod tls;
mod websocket;
