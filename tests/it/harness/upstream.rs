//! An upstream whose behaviour a test writes, and that remembers every byte it was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wire::{Connection, Message};
use tokio::io::AsyncWriteExt as _;

/// What the upstream does with one request.
pub enum Act {
    /// These bytes.
    Answer(String),
    /// Never anything.
    Hang,
    /// The connection ends without an answer.
    Close,
    /// These bytes, once the test has called [`Upstream::release`].
    Hold(String),
    /// These bytes, and then the end of the connection.
    AnswerAndClose(String),
}

type Script = dyn Fn(&Message) -> Act + Send + Sync;

/// One address that answers as told.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Upstream {
    /// Answers every request with 200 and its own name.
    pub async fn named(name: &'static str) -> Upstream {
        Upstream::scripted(move |_| Act::Answer(ok(name))).await
    }

    pub async fn scripted(script: impl Fn(&Message) -> Act + Send + Sync + 'static) -> Upstream {
        Upstream::accepting(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    fn accepting(
        listener: TcpListener,
        script: impl Fn(&Message) -> Act + Send + Sync + 'static,
    ) -> Upstream {
        let mut upstream = Upstream {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            serving: None,
        };
        upstream.serve(listener, Arc::new(script));
        upstream
    }

    fn serve(&mut self, listener: TcpListener, script: Arc<Script>) {
        let (seen, connections, gate) = (self.seen.clone(), self.connections.clone(), self.gate.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                open.spawn(converse(stream, seen.clone(), gate.clone(), script.clone()));
            }
        }));
    }

    /// Lets one held answer go.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Every request so far, health checks included.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().clone()
    }

    /// The last request that is not a health check.
    #[track_caller]
    pub fn last(&self) -> Message {
        self.asked().pop().expect("the upstream was not asked")
    }

    /// The requests that are not health checks.
    pub fn asked(&self) -> Vec<Message> {
        self.seen().into_iter().filter(|message| !message.target().starts_with("/healthz")).collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests it was sent so far, health checks included.
    pub fn count(&self) -> usize {
        self.seen.lock().len()
    }

    /// Closes the listener and every connection; the address refuses from now on.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn converse(
    stream: TcpStream,
    seen: Arc<Mutex<Vec<Message>>>,
    gate: Arc<Semaphore>,
    script: Arc<Script>,
) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::over(stream);
    while let Ok(Some(message)) = connection.message(true).await {
        let act = script(&message);
        seen.lock().push(message);
        let bytes = match act {
            Act::Answer(bytes) => bytes,
            Act::Hang => return std::future::pending().await,
            Act::Close => return,
            Act::Hold(bytes) => {
                gate.acquire().await.unwrap().forget();
                bytes
            }
            Act::AnswerAndClose(bytes) => {
                let _ = connection.stream.write_all(bytes.as_bytes()).await;
                return;
            }
        };
        if connection.stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// 200 with a text.
pub fn ok(text: &str) -> String {
    answer("200 OK", &[], text)
}

pub fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An address that refuses connections for as long as this lives: bound, and no one listens.
pub struct Refusing {
    pub address: SocketAddr,
    socket: TcpSocket,
}

impl Refusing {
    pub fn new() -> Refusing {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Refusing { address: socket.local_addr().unwrap(), socket }
    }

    /// From now on someone listens there, who answers with this name.
    pub fn becomes(self, name: &'static str) -> Upstream {
        Upstream::accepting(self.socket.listen(16).unwrap(), move |_| Act::Answer(ok(name)))
    }
}
