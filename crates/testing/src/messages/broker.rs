//! A real RocketMQ 5 as child processes with small heaps.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::tools;

/// Java on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Milliseconds after which a push consumer's message is there again that a crash took along, unless the proxy renews it; a
/// minute by default.
const INVISIBLE: u32 = 20_000;

/// In which a proxy of a cluster tells the others of its clients.
const HEARTBEATS: &str = "DefaultHeartBeatSyncerTopic";

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

/// In memory where there is room: a broker refuses to write on a disk that is nine tenths full, whatever its settings say, and
/// then also forgets what waits for its next attempt.
fn folder() -> TempDir {
    const MEMORY: &str = "/dev/shm";
    const ROOM: u64 = 4 << 30;
    let free = || {
        let told = Command::new("df").args(["--block-size=1", "--output=avail", MEMORY]).output().ok()?;
        String::from_utf8(told.stdout).ok()?.lines().last()?.trim().parse::<u64>().ok()
    };
    if free().is_some_and(|free| free > ROOM) {
        return tempfile::tempdir_in(MEMORY).unwrap();
    }
    tempfile::tempdir().unwrap()
}

/// A program of the broker's, which can be killed and started again with what it has on its disk.
struct Node {
    main: &'static str,
    arguments: Vec<String>,
    log: &'static str,
    megabytes: u32,
    port: u16,
    child: Option<Child>,
}

/// How it is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A broker and its proxy in one process.
    One,
    /// Two brokers, and a proxy of both.
    Cluster,
}

/// A name server, brokers, and a proxy.
pub struct RocketMq {
    names: Child,
    nodes: Vec<Node>,
    brokers: &'static [&'static str],
    folder: TempDir,
    /// Where the proxy speaks gRPC.
    pub port: u16,
    name_port: u16,
}

impl Drop for RocketMq {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.kill(node));
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
    pub fn start(layout: Layout, topics: &[Topic<'_>], groups: &[Group<'_>]) -> RocketMq {
        let brokers: &[&str] = match layout {
            Layout::One => &["broker-a"],
            Layout::Cluster => &["broker-a", "broker-b"],
        };
        let first = free_ports(10);
        let (name_port, port, remoting) = (first, first + 1, first + 2);
        let folder = folder();
        let path = folder.path();
        fs::create_dir(path.join("conf")).unwrap();
        fs::write(path.join("names.conf"), format!("listenPort={name_port}\nbindAddress=127.0.0.1\n"))
            .unwrap();
        // A broker takes the second port below its own as well, and one for copies.
        let ports = [(first + 5, first + 4), (first + 8, first + 9)];
        for (name, ports) in brokers.iter().zip(ports) {
            write_broker(path, name, name_port, ports);
            write_tables(&path.join(format!("{name}/config")), topics, groups);
        }
        let mode = if layout == Layout::One { "local" } else { "cluster" };
        let proxy = json!({
            "rocketMQClusterName": "test", "proxyMode": mode, "grpcServerPort": port, "remotingListenPort": remoting,
            "namesrvAddr": format!("127.0.0.1:{name_port}"), "localServeAddr": "127.0.0.1",
            "defaultInvisibleTimeMills": INVISIBLE,
        });
        fs::write(path.join("proxy.json"), proxy.to_string()).unwrap();
        let main = "org.apache.rocketmq.namesrv.NamesrvStartup";
        let names = java(path, "names.log", 96, main, &["-c", "names.conf"].map(str::to_owned));
        let started = RocketMq { names, nodes: nodes(layout, first), brokers, folder, port, name_port };
        started.begun()
    }

    fn begun(mut self) -> RocketMq {
        wait_for(self.name_port, &self.folder.path().join("names.log"));
        // Brokers side by side; a proxy of a cluster ends at once where the name server has not heard of them yet.
        let (proxy, brokers) = self.nodes.split_last_mut().unwrap();
        for broker in brokers.iter_mut() {
            broker.spawn(self.folder.path());
        }
        brokers.iter().for_each(|broker| broker.listens(self.folder.path()));
        proxy.spawn(self.folder.path());
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).is_err() {
            let log = self.folder.path().join(proxy.log);
            assert!(Instant::now() < until, "{}", fs::read_to_string(log).unwrap_or_default());
            if proxy.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                proxy.spawn(self.folder.path());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// How many programs there are that can be killed: brokers, and their proxy where it is one of its own.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Starts one again, and waits until it listens.
    pub fn begin(&mut self, node: usize) {
        self.nodes[node].spawn(self.folder.path());
        self.nodes[node].listens(self.folder.path());
    }

    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether a broker has such a topic by now.
    pub fn has_topic(&self, topic: &str) -> bool {
        let text = |broker: &&str| {
            fs::read_to_string(self.folder.path().join(format!("{broker}/config/topics.json")))
        };
        let mut texts = self.brokers.iter().filter_map(|broker| text(broker).ok());
        texts.any(|text| text.contains(&format!("\"{topic}\"")))
    }

    /// What RocketMQ's own tool says.
    fn ask(&self, arguments: &[&str]) -> String {
        let log = tempfile::Builder::new().tempfile_in(self.folder.path()).unwrap();
        let names = format!("127.0.0.1:{}", self.name_port);
        let arguments = [&arguments[..1], &["-n", &names], &arguments[1..]].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let main = "org.apache.rocketmq.tools.command.MQAdminStartup";
        let name = log.path().file_name().unwrap().to_str().unwrap();
        let mut tool = java(self.folder.path(), name, 96, main, &arguments);
        assert!(tool.wait().unwrap().success());
        fs::read_to_string(log.path()).unwrap()
    }

    /// How many messages of a topic a group has not come to yet, at the brokers that it ever asked.
    pub fn behind(&self, topic: &str, group: &str) -> i64 {
        let positions: Vec<Vec<i64>> =
            self.brokers.iter().map(|broker| self.positions(broker, topic, group)).collect();
        if positions.iter().all(Vec::is_empty) {
            return 0;
        }
        let said = self.ask(&["topicStatus", "-t", topic]);
        let of = |broker: &str, positions: &[i64]| -> i64 {
            let queues = said.lines().filter(|line| line.starts_with(broker));
            let ends = queues.map(|line| line.split_whitespace().nth(3).unwrap().parse::<i64>().unwrap());
            ends.enumerate().map(|(at, end)| end - positions.get(at).unwrap_or(&0)).sum()
        };
        let asked = self.brokers.iter().zip(&positions).filter(|(_, positions)| !positions.is_empty());
        asked.map(|(broker, positions)| of(broker, positions)).sum()
    }

    /// How far a group was at each queue of a topic, a few seconds ago.
    fn positions(&self, broker: &str, topic: &str, group: &str) -> Vec<i64> {
        let path = self.folder.path().join(format!("{broker}/config/consumerOffset.json"));
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

impl Node {
    fn spawn(&mut self, folder: &Path) {
        self.child = Some(java(folder, self.log, self.megabytes, self.main, &self.arguments));
    }

    fn listens(&self, folder: &Path) {
        wait_for(self.port, &folder.join(self.log));
    }
}

/// The proxy comes last.
fn nodes(layout: Layout, first: u16) -> Vec<Node> {
    let node = |main, arguments: &[&str], log, megabytes, port| Node {
        main,
        arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
        log,
        megabytes,
        port,
        child: None,
    };
    let names = format!("127.0.0.1:{first}");
    let (broker, proxy) =
        ("org.apache.rocketmq.broker.BrokerStartup", "org.apache.rocketmq.proxy.ProxyStartup");
    match layout {
        Layout::One => {
            let arguments = ["-n", &names, "-pm", "local", "-bc", "broker-a.conf", "-pc", "proxy.json"];
            vec![node(proxy, &arguments, "proxy.log", 384, first + 1)]
        }
        Layout::Cluster => vec![
            node(broker, &["-c", "broker-a.conf"], "broker-a.log", 256, first + 5),
            node(broker, &["-c", "broker-b.conf"], "broker-b.log", 256, first + 8),
            node(proxy, &["-n", &names, "-pm", "cluster", "-pc", "proxy.json"], "proxy.log", 256, first + 1),
        ],
    }
}

fn write_broker(folder: &Path, name: &str, name_port: u16, (port, copies): (u16, u16)) {
    let store = folder.join(name).display().to_string();
    let settings = format!(
        "brokerClusterName=test\nbrokerName={name}\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={port}\n\
         bindAddress=127.0.0.1\nnamesrvAddr=127.0.0.1:{name_port}\nstorePathRootDir={store}\n\
         storePathCommitLog={store}/commitlog\nmappedFileSizeCommitLog=16777216\n\
         mappedFileSizeConsumeQueue=600000\nautoCreateTopicEnable=true\nenableMixedMessageType=true\nautoCreateSubscriptionGroup=true\n\
         defaultTopicQueueNums=2\nhaListenPort={copies}\ndiskMaxUsedSpaceRatio=99\n"
    );
    fs::write(folder.join(format!("{name}.conf")), settings).unwrap();
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
    let topics: Map<String, Value> = topics.iter().chain(&[(HEARTBEATS, "NORMAL")]).map(topic).collect();
    let groups: Map<String, Value> = groups.iter().map(group).collect();
    fs::create_dir_all(folder).unwrap();
    let topics = json!({"dataVersion": version, "topicConfigTable": topics});
    fs::write(folder.join("topics.json"), topics.to_string()).unwrap();
    let groups = json!({"dataVersion": version, "subscriptionGroupTable": groups});
    fs::write(folder.join("subscriptionGroup.json"), groups.to_string()).unwrap();
}

fn java(folder: &Path, log: &str, megabytes: u32, main: &str, arguments: &[String]) -> Child {
    let log = fs::OpenOptions::new().append(true).create(true).open(folder.join(log)).unwrap();
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
