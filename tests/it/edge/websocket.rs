//! Connections that stop being requests: WebSocket, across a change of the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{accept_hdr_async, client_async};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, instances};
use crate::harness::upstream::Upstream;

/// Sends everything back.
async fn echo() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the library's own signature")]
                let choose = |request: &Request, mut response: Response| {
                    let wanted = request.headers()["sec-websocket-protocol"].clone();
                    response.headers_mut().insert("sec-websocket-protocol", wanted);
                    Ok(response)
                };
                let Ok(mut socket) = accept_hdr_async(stream, choose).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_binary() || message.is_text()) && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_lives_through_a_change() {
    let (address, count) = echo().await;
    let gray = Upstream::named("gray").await;
    let service = instances(&[("release", address), ("gray", gray.address)]);
    let proxy =
        Proxy::start("limits: {keepalive: 1s, header_timeout: 1s}", &[ALL, ("services/s.yaml", &service)])
            .await;
    let mut request = format!("ws://{}/chat", proxy.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat.v1".parse().unwrap());
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v1");
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    proxy.write("rules/all.yaml", "version: gray\n");
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    let before = count.load(Ordering::Relaxed);
    // Longer than any limit on requests, and larger than any buffer.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let large = Message::binary(vec![7; 4 << 20]);
    socket.send(large.clone()).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap() == large);
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    assert_eq!(count.load(Ordering::Relaxed), before, "it is still the same connection");
    socket.close(None).await.unwrap();
}
