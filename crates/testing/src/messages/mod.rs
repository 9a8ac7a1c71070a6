//! A real RocketMQ 5 and clients of it, as child processes with small heaps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Java on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Milliseconds after which a push consumer's message is there again that a crash took along, unless the proxy renews it; a
/// minute by default.
const INVISIBLE: u32 = 20_000;

/// A client that ends by itself.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Where `make message-tools` puts what tests start.
fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/graygate-tools");
    std::env::var("GRAYGATE_TOOLS").map_or_else(|_| home(), PathBuf::from).join("messages")
}

/// The first of so many ports in a row that are free: below those the system gives to connections, which could be taken
/// again before Java is there.
fn free_ports(count: u16) -> u16 {
    const LOWEST: u32 = 30_000;
    const PORTS: u32 = 2_700;
    static TURN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let turn = TURN.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = (LOWEST + std::process::id().wrapping_mul(197).wrapping_add(turn) % PORTS) as u16;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// A name server, a broker and a proxy.
pub struct RocketMq {
    names: Child,
    broker: Option<Child>,
    folder: TempDir,
    /// Where the proxy speaks gRPC.
    pub port: u16,
    name_port: u16,
}

impl Drop for RocketMq {
    fn drop(&mut self) {
        self.kill_broker();
        let _ = self.names.kill();
        let _ = self.names.wait();
    }
}

/// A topic that is there from the beginning: its name, and what kind of messages it takes.
pub type Topic<'n> = (&'n str, &'n str);

/// A group that is there from the beginning; others are made as they come.
pub struct Group<'n> {
    pub name: &'n str,
    pub in_order: bool,
    /// How often its members get a message again, every second; `None`: as RocketMQ does by itself.
    pub retries: Option<u32>,
}

impl RocketMq {
    pub fn start(topics: &[Topic<'_>], groups: &[Group<'_>]) -> RocketMq {
        let first = free_ports(6);
        let (name_port, port, remoting, copies) = (first, first + 1, first + 2, first + 4);
        // A broker also takes the second below its own.
        let broker = first + 5;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("conf")).unwrap();
        fs::write(path.join("names.conf"), format!("listenPort={name_port}\nbindAddress=127.0.0.1\n"))
            .unwrap();
        let store = path.join("store").display().to_string();
        let settings = format!(
            "brokerClusterName=test\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={broker}\n\
             bindAddress=127.0.0.1\nnamesrvAddr=127.0.0.1:{name_port}\nstorePathRootDir={store}\n\
             storePathCommitLog={store}/commitlog\nmappedFileSizeCommitLog=16777216\n\
             mappedFileSizeConsumeQueue=600000\nautoCreateTopicEnable=true\nenableMixedMessageType=true\nautoCreateSubscriptionGroup=true\n\
             defaultTopicQueueNums=2\nhaListenPort={copies}\ndiskMaxUsedSpaceRatio=99\n"
        );
        fs::write(path.join("broker.conf"), settings).unwrap();
        write_tables(&path.join("store/config"), topics, groups);
        let proxy = format!(
            "{{\"rocketMQClusterName\":\"test\",\"grpcServerPort\":{port},\"remotingListenPort\":{remoting},\
             \"namesrvAddr\":\"127.0.0.1:{name_port}\",\"localServeAddr\":\"127.0.0.1\",\"defaultInvisibleTimeMills\":{INVISIBLE}}}"
        );
        fs::write(path.join("proxy.json"), proxy).unwrap();
        let names =
            java(path, "names.log", 96, "org.apache.rocketmq.namesrv.NamesrvStartup", &["-c", "names.conf"]);
        let mut started = RocketMq { names, broker: None, folder, port, name_port };
        wait_for(name_port, &started.folder.path().join("names.log"));
        started.start_broker();
        started
    }

    /// Starts broker and proxy, with what they have on their disk.
    pub fn start_broker(&mut self) {
        let names = format!("127.0.0.1:{}", self.name_port);
        let main = "org.apache.rocketmq.proxy.ProxyStartup";
        let arguments = ["-n", &names, "-pm", "local", "-bc", "broker.conf", "-pc", "proxy.json"];
        self.broker = Some(java(self.folder.path(), "broker.log", 384, main, &arguments));
        wait_for(self.port, &self.folder.path().join("broker.log"));
    }

    pub fn kill_broker(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether the broker has such a topic by now.
    pub fn has_topic(&self, topic: &str) -> bool {
        let text = fs::read_to_string(self.folder.path().join("store/config/topics.json"));
        text.unwrap_or_default().contains(&format!("\"{topic}\""))
    }

    /// What RocketMQ's own tool says.
    fn ask(&self, arguments: &[&str]) -> String {
        let log = tempfile::Builder::new().tempfile_in(self.folder.path()).unwrap();
        let names = format!("127.0.0.1:{}", self.name_port);
        let arguments: Vec<&str> =
            arguments[..1].iter().chain(&["-n", &names]).chain(&arguments[1..]).copied().collect();
        let main = "org.apache.rocketmq.tools.command.MQAdminStartup";
        let name = log.path().file_name().unwrap().to_str().unwrap();
        let mut tool = java(self.folder.path(), name, 96, main, &arguments);
        assert!(tool.wait().unwrap().success());
        fs::read_to_string(log.path()).unwrap()
    }

    /// Where each queue of a topic ends.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let said = self.ask(&["topicStatus", "-t", topic]);
        let queues = said.lines().filter(|line| line.starts_with("broker-a"));
        queues.map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap()).collect()
    }

    /// How far a group was at each queue of a topic, a few seconds ago.
    pub fn positions(&self, topic: &str, group: &str) -> Vec<i64> {
        let path = self.folder.path().join("store/config/consumerOffset.json");
        let text = fs::read_to_string(path).unwrap_or_default();
        let (key, mut found) = (format!("\"{topic}@{group}\":{{"), Vec::new());
        let Some((_, after)) = text.split_once(&key) else { return found };
        for entry in after.split('}').next().unwrap_or_default().split(',') {
            let Some((queue, position)) = entry.split_once(':') else { continue };
            let queue: usize = queue.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
            found.resize(found.len().max(queue + 1), 0);
            found[queue] = position.trim().parse().unwrap();
        }
        found
    }
}

/// What a broker reads at its start: its own tool for this takes seconds for each entry.
fn write_tables(folder: &Path, topics: &[Topic<'_>], groups: &[Group<'_>]) {
    let version = json!({"counter": 1, "stateVersion": 0, "timestamp": 1});
    let topic = |(name, kind): &Topic<'_>| {
        let entry = json!({
            "attributes": {"message.type": kind}, "order": false, "perm": 6, "readQueueNums": 2, "topicFilterType": "SINGLE_TAG",
            "topicName": name, "topicSysFlag": 0, "writeQueueNums": 2,
        });
        ((*name).to_owned(), entry)
    };
    let group = |group: &Group<'_>| {
        let mut entry = json!({"groupName": group.name, "consumeMessageOrderly": group.in_order});
        if let Some(retries) = group.retries {
            let each = json!({"initial": 1_000, "max": 1_000, "multiplier": 2});
            entry["retryMaxTimes"] = retries.into();
            entry["groupRetryPolicy"] = json!({"type": "EXPONENTIAL", "exponentialRetryPolicy": each});
        }
        (group.name.to_owned(), entry)
    };
    let topics: Map<String, Value> = topics.iter().map(topic).collect();
    let groups: Map<String, Value> = groups.iter().map(group).collect();
    fs::create_dir_all(folder).unwrap();
    let topics = json!({"dataVersion": version, "topicConfigTable": topics});
    fs::write(folder.join("topics.json"), topics.to_string()).unwrap();
    let groups = json!({"dataVersion": version, "subscriptionGroupTable": groups});
    fs::write(folder.join("subscriptionGroup.json"), groups.to_string()).unwrap();
}

fn java(folder: &Path, log: &str, megabytes: u32, main: &str, arguments: &[&str]) -> Child {
    let log = fs::File::create(folder.join(log)).unwrap();
    Command::new("java")
        .arg(format!("-Xmx{megabytes}m"))
        .arg(format!("-Duser.home={}", folder.display()))
        .args(["-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=384m", "-XX:+UseSerialGC"])
        .args(["--add-exports", "java.base/sun.nio.ch=ALL-UNNAMED", "-cp"])
        .arg(format!("{}/rocketmq/lib/*", tools().display()))
        .arg(main)
        .args(arguments)
        .env("ROCKETMQ_HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("java: {error}; `make message-tools` brings what the tests need"))
}

fn wait_for(port: u16, log: &Path) {
    let until = Instant::now() + START_LIMIT;
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < until, "nothing listens on {port}; `make message-tools`? {}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
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
    /// Of a kind of `client.py`, or with `node-` before it of `client.cjs`, once it is ready.
    pub fn start(kind: &str, arguments: &[&str]) -> Client {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/messages");
        let (program, script, kind) = match kind.strip_prefix("node-") {
            Some(kind) => ("node", "client.cjs", kind),
            None => ("python3", "client.py", kind),
        };
        let mut child = Command::new(program)
            .arg(scripts.join(script))
            .arg(kind)
            .args(arguments)
            .env("PYTHONPATH", tools().join("python"))
            .env("NODE_PATH", tools().join("node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
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
        let client = Client { child, commands, heard, reader: Some(reader) };
        client.wait(Duration::from_secs(120), |told| told.iter().any(|told| told.word == "ready"));
        client
    }

    pub fn told(&self) -> Vec<Told> {
        self.heard.told.lock().unwrap().clone()
    }

    /// Waits until what it told is enough.
    pub fn wait(&self, limit: Duration, enough: impl Fn(&[Told]) -> bool) {
        let told = self.heard.told.lock().unwrap();
        let waited = self.heard.more.wait_timeout_while(told, limit, |told| !enough(told)).unwrap();
        assert!(!waited.1.timed_out(), "the client told only {:?}", summary(&waited.0));
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
