//! A relay in front of a store that counts what it sends, and that can hold everything back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Relay {
    pub endpoint: String,
    sent: Arc<AtomicU64>,
    /// Whether bytes of clients go on to the store.
    flows: watch::Sender<bool>,
}

impl Relay {
    /// Stands before the store at `endpoint`, for as long as the test's runtime lives.
    pub async fn before(endpoint: &str) -> Relay {
        let store = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let (flows, flowing) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let store = TcpStream::connect(&store).await.unwrap();
                tokio::spawn(relay(client, store, counter.clone(), flowing.clone()));
            }
        });
        Relay { endpoint, sent, flows }
    }

    /// From now on what clients say waits here, as it would in a process that was stopped.
    pub fn hold(&self) {
        self.flows.send_replace(false);
    }

    /// What waited goes on, late.
    pub fn release(&self) {
        self.flows.send_replace(true);
    }

    /// Bytes that clients got so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn relay(
    client: TcpStream,
    store: TcpStream,
    sent: Arc<AtomicU64>,
    mut flowing: watch::Receiver<bool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_store, mut to_store) = store.into_split();
    tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut piece).await {
            let _ = flowing.wait_for(|flows| *flows).await;
            if to_store.write_all(&piece[..count]).await.is_err() {
                break;
            }
        }
    });
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from_store.read(&mut piece).await {
        sent.fetch_add(count as u64, Ordering::Relaxed);
        if to_client.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
}
