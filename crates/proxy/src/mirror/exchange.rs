//! A copy on its way: sent, its answer read and dropped, its status compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::{ALPN, HttpPeer};
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::sync::oneshot;

use super::shadow::{Place, Shadow};
use graygate_rules::spec::Wire;
use graygate_rules::vocab::MirrorOutcome;

/// Copies on one HTTP/2 connection at a time.
const H2_STREAMS: usize = 100;

/// Everything about one copy.
pub(super) struct Exchange {
    pub shadow: Arc<Shadow>,
    pub address: SocketAddr,
    pub header: Box<RequestHeader>,
    pub body: Bytes,
    pub place: Place,
}

/// Sends the copy, and counts it once: how it ended, and whether its status is the real answer's. Where the client left
/// before that, there is nothing to compare.
pub(super) async fn exchange(copy: Exchange, real: oneshot::Receiver<u16>) {
    let Exchange { shadow, address, header, body, place } = copy;
    let began = Instant::now();
    let exchanged = send(&shadow, address, *header, body);
    let answered = tokio::time::timeout(shadow.pool.timeouts.request, exchanged).await;
    drop(place);
    shadow.metrics.took(began.elapsed());
    let status = match answered {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            tracing::debug!(%error, %address, "a copy failed");
            return shadow.count(MirrorOutcome::Failed);
        }
        Err(_) => return shadow.count(MirrorOutcome::Failed),
    };
    let differs = real.await.is_ok_and(|real| real != status);
    shadow.count(if differs { MirrorOutcome::Differs } else { MirrorOutcome::Answered });
}

/// The answer's status, once all of it has come. A kept connection that had died costs a second try.
async fn send(shadow: &Shadow, address: SocketAddr, header: RequestHeader, body: Bytes) -> Result<u16> {
    let mut peer = peer(shadow, address);
    let header = framed(header, &peer, shadow.pool.peers.wire(), &body)?;
    let (first, was_kept) = try_once(shadow, (&peer, address), header.clone(), body.clone()).await;
    match first {
        Err(_) if was_kept => {
            // Another group has no kept connections.
            peer.group_key = 1;
            try_once(shadow, (&peer, address), header, body).await.0
        }
        first => first,
    }
}

/// The outcome, and whether the connection was a kept one.
async fn try_once(
    shadow: &Shadow,
    (peer, address): (&HttpPeer, SocketAddr),
    header: RequestHeader,
    body: Bytes,
) -> (Result<u16>, bool) {
    let (mut session, was_kept) = match shadow.connector.get_http_session(peer).await {
        Ok(connected) => connected,
        Err(error) => {
            shadow.absent.note(address, Instant::now());
            return (Err(error), false);
        }
    };
    session.set_read_timeout(Some(shadow.pool.timeouts.read));
    session.set_write_timeout(Some(shadow.pool.timeouts.read));
    let exchanged = async {
        session.write_request_header(Box::new(header)).await?;
        if !body.is_empty() {
            session.write_request_body(body, false).await?;
        }
        session.finish_request_body().await?;
        let status = loop {
            session.read_response_header().await?;
            let status = session.response_header().map_or(0, |response| response.status.as_u16());
            if status / 100 != 1 || status == 101 {
                break status;
            }
        };
        while session.read_response_body().await?.is_some() {}
        Ok(status)
    };
    let exchanged = exchanged.await;
    if exchanged.is_ok() {
        shadow.connector.release_http_session(session, peer, Some(shadow.pool.timeouts.idle)).await;
    } else {
        session.shutdown().await;
    }
    (exchanged, was_kept)
}

fn peer(shadow: &Shadow, address: SocketAddr) -> HttpPeer {
    let timeouts = shadow.pool.timeouts;
    let mut peer = shadow.pool.peers.peer(address);
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.read);
    options.idle_timeout = Some(timeouts.idle);
    options.max_h2_streams = H2_STREAMS;
    if shadow.pool.peers.wire() == Wire::Http2 {
        options.alpn = ALPN::H2;
        options.set_http_version(2, 2);
    }
    peer
}

/// The head as its connection wants it: the body's length is known, and nothing concerns the client's connection.
fn framed(mut header: RequestHeader, peer: &HttpPeer, wire: Wire, body: &Bytes) -> Result<RequestHeader> {
    for name in
        [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::EXPECT, header::TRAILER]
    {
        header.remove_header(&name);
    }
    let usually_has_body = matches!(header.method, Method::POST | Method::PUT | Method::PATCH);
    if body.is_empty() && !usually_has_body {
        header.remove_header(&header::CONTENT_LENGTH);
    } else {
        header.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    match wire {
        Wire::Http1 => header.set_version(Version::HTTP_11),
        Wire::Http2 => {
            header.set_version(Version::HTTP_2);
            let scheme = if peer.sni.is_empty() { "http" } else { "https" };
            let uri = target(&mut header, scheme)?;
            header.set_uri(uri);
        }
    }
    Ok(header)
}

/// What HTTP/2 says in pseudo-headers; its requests have no `Host`.
fn target(header: &mut RequestHeader, scheme: &str) -> Result<Uri> {
    let invalid = || "no target for HTTP/2";
    let host = header.remove_header(&header::HOST);
    let host = host.ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "no host"))?;
    let authority =
        Authority::try_from(host.as_bytes()).or_err_with(ErrorType::InvalidHTTPHeader, invalid)?;
    let path =
        PathAndQuery::try_from(header.raw_path()).or_err_with(ErrorType::InvalidHTTPHeader, invalid)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    uri.or_err_with(ErrorType::InvalidHTTPHeader, invalid)
}
