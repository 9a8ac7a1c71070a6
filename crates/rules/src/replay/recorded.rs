//! What a line of the access log tells of a request.
//!
//! Answers: what did the client send, as far as the log kept it? That is method, host, path, address and user agent: no
//! query, no cookie and no other header, so a condition on one of those finds it absent.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

/// A request as the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub method: String,
    pub host: Option<String>,
    /// As the client wrote it, without the query.
    pub path: String,
    pub client: IpAddr,
    pub user_agent: Option<String>,
}

/// The keys of the contract's access log that make a request; the others say what became of it.
#[derive(Deserialize)]
struct Line {
    method: String,
    path: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    client: Option<IpAddr>,
    #[serde(default)]
    user_agent: Option<String>,
}

/// Reads one line; `None` where it is no request, such as the line of a connection that sent none.
pub fn recorded(line: &str) -> Option<Recorded> {
    let line: Line = serde_json::from_str(line).ok()?;
    let Line { method, path, host, client, user_agent } = line;
    // A log that was cut down to method and path is still worth an answer.
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
    (!method.is_empty()).then_some(Recorded { method, host, path, client, user_agent })
}
