//! A real RocketMQ 5 and clients of it, as child processes.

mod broker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

pub use broker::{Group, Layout, RocketMq, Topic};

/// A client gives up that a busy broker keeps waiting for ten seconds, and may not even end: it is started again.
const STARTS: usize = 3;
const START_LIMIT: Duration = Duration::from_secs(60);
/// A client that ends by itself.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Where `make message-tools` puts what tests start.
fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/graygate-tools");
    std::env::var("GRAYGATE_TOOLS").map_or_else(|_| home(), PathBuf::from).join("messages")
}

/// Something a client told, and when.
#[derive(Clone, Debug)]
pub struct Told {
    pub word: String,
    pub id: String,
    pub more: Vec<String>,
    pub at: Instant,
}

#[derive(Default)]
struct Heard {
    told: Mutex<Vec<Told>>,
    more: Condvar,
}

/// A client of RocketMQ in a process of its own.
pub struct Client {
    /// What it was started with, for a test that fails.
    what: String,
    errors: NamedTempFile,
    child: Child,
    commands: Option<ChildStdin>,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    /// Of a kind of `client.py`, or with `node-` before it of `client.cjs`, with `java-` of `Client.java`, once it is ready.
    pub fn start(kind: &str, arguments: &[&str]) -> Client {
        for _ in 1..STARTS {
            let client = Client::begin(kind, arguments);
            if client.tells(START_LIMIT, Client::is_ready) {
                return client;
            }
        }
        let client = Client::begin(kind, arguments);
        client.wait(START_LIMIT, Client::is_ready);
        client
    }

    fn is_ready(told: &[Told]) -> bool {
        told.iter().any(|told| told.word == "ready")
    }

    fn begin(kind: &str, arguments: &[&str]) -> Client {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/messages");
        let (program, script, kind) = match kind.split_once('-') {
            Some(("node", kind)) => ("node", "client.cjs", kind),
            Some(("java", kind)) => ("java", "Client.java", kind),
            _ => ("python3", "client.py", kind),
        };
        let errors = NamedTempFile::new().unwrap();
        let mut child = Command::new(program)
            .arg(scripts.join(script))
            .arg(kind)
            .args(arguments)
            .env("PYTHONPATH", tools().join("python"))
            .env("CLASSPATH", tools().join("java/lib/*"))
            .env("JDK_JAVA_OPTIONS", "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
            .env("NODE_PATH", tools().join("node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let heard = Arc::new(Heard::default());
        let hearing = heard.clone();
        let reader = std::thread::spawn(move || {
            for line in answers.lines().map_while(Result::ok) {
                let mut words = line.split(' ').map(str::to_owned);
                let word = words.next().unwrap_or_default();
                let id = words.next().unwrap_or_default();
                let told = Told { word, id, more: words.collect(), at: Instant::now() };
                hearing.told.lock().unwrap().push(told);
                hearing.more.notify_all();
            }
        });
        let what = format!("{program} {kind} {}", arguments.join(" "));
        Client { what, errors, child, commands, heard, reader: Some(reader) }
    }

    pub fn told(&self) -> Vec<Told> {
        self.heard.told.lock().unwrap().clone()
    }

    /// Waits until what it told is enough.
    pub fn wait(&self, limit: Duration, enough: impl Fn(&[Told]) -> bool) {
        let is_enough = self.tells(limit, enough);
        let errors = || std::fs::read_to_string(self.errors.path()).unwrap_or_default();
        assert!(is_enough, "`{}` told only {:?}\n{}", self.what, summary(&self.told()), errors());
    }

    /// Whether it tells enough in time.
    fn tells(&self, limit: Duration, enough: impl Fn(&[Told]) -> bool) -> bool {
        let told = self.heard.told.lock().unwrap();
        let waited = self.heard.more.wait_timeout_while(told, limit, |told| !enough(told)).unwrap();
        !waited.1.timed_out()
    }

    /// Sends messages, and waits until the broker has them. `how`: what a line may say behind an id.
    pub fn send(&mut self, ids: &[String], how: &str) {
        let commands = self.commands.as_mut().unwrap();
        for id in ids {
            writeln!(commands, "send {id} {how}").unwrap();
        }
        commands.flush().unwrap();
        let last = ids.last().unwrap().clone();
        self.wait(Duration::from_secs(120), |told| {
            told.iter().any(|told| told.word == "sent" && told.id == last)
        });
    }

    /// Ids it has acknowledged, with how often.
    pub fn done(&self) -> BTreeMap<String, usize> {
        let mut done = BTreeMap::new();
        for told in self.told().into_iter().filter(|told| told.word == "done") {
            *done.entry(told.id).or_insert(0) += 1;
        }
        done
    }

    /// Says something without waiting for the answer.
    pub fn say(&mut self, line: &str) {
        let commands = self.commands.as_mut().unwrap();
        // One that is dead says no more.
        let _ = writeln!(commands, "{line}");
    }

    /// Ends as a crash does; returns all it ever told.
    pub fn kill(mut self) -> Vec<Told> {
        let _ = self.child.kill();
        self.ended()
    }

    /// Ends as a deployment does: what it handles is finished first.
    pub fn stop(mut self) -> Vec<Told> {
        self.commands = None;
        let until = Instant::now() + STOP_LIMIT;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        self.ended()
    }

    fn ended(&mut self) -> Vec<Told> {
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.told()
    }
}

fn summary(told: &[Told]) -> Vec<String> {
    told.iter().rev().take(20).map(|told| format!("{} {}", told.word, told.id)).collect()
}
