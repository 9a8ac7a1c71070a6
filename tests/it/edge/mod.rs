//! The edge towards clients: TLS, HTTP/2, the PROXY protocol, WebSocket, limits, and what is refused, with real clients.

mod arbitrary;
mod blocks;
mod both_ways;
mod both_ways_http2;
mod certificate;
mod framing;
mod grpc;
mod http2;
mod limits;
mod malformed;
mod streams;
mod threads;
mod tls;
mod websocket;
