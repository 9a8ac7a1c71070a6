//! The edge towards clients: TLS, HTTP/2, the PROXY protocol, WebSocket, limits, and what is refused, with real clients.

#[cfg(test)]
#[path = "../support/harness.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod harness;
#[cfg(test)]
#[path = "../proxy/sample.rs"]
mod sample;

#[cfg(test)]
mod certificate;
#[cfg(test)]
#[path = "../support/etcd.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod etcd;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod websocket;
