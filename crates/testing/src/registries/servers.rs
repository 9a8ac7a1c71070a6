//! Real registries as child processes: started on free ports with small heaps, killed and started again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The slowest (a Spring application on a busy machine) takes a minute.
const START_LIMIT: Duration = Duration::from_secs(120);
const NACOS_GRPC: u16 = 1_000;

/// Where `make registry-tools` puts what Debian has not got.
pub fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/graygate-tools");
    std::env::var("GRAYGATE_TOOLS").map_or_else(|_| home(), PathBuf::from).join("registries")
}

/// A port that is free, and stays so unless another process is very quick.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port that is free together with the one a thousand above it.
pub fn free_pair() -> u16 {
    loop {
        let port = free_port();
        if port < u16::MAX - NACOS_GRPC && TcpListener::bind(("127.0.0.1", port + NACOS_GRPC)).is_ok() {
            return port;
        }
    }
}

/// A server: what it is started with, and the process while it runs.
pub struct Server {
    pub port: u16,
    pub folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    ready: Vec<u16>,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn new(program: impl Into<PathBuf>, port: u16) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let ready = vec![port];
        let (arguments, environment) = (Vec::new(), Vec::new());
        Server { port, folder, program: program.into(), arguments, environment, ready, child: None }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, with what it has on its disk, and waits until it listens.
    pub fn start(&mut self) {
        self.start_without_waiting();
        let until = Instant::now() + START_LIMIT;
        for port in self.ready.clone() {
            while std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
                let child = self.child.as_mut().unwrap();
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{:?} ended with {ended:?}:\n{}", self.program, self.log());
                assert!(Instant::now() < until, "{:?} does not listen:\n{}", self.program, self.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn start_without_waiting(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let hint = "`make registry-tools` brings what the tests need";
        self.child = Some(child.unwrap_or_else(|error| panic!("{:?}: {error}; {hint}", self.program)));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it for a while, as a machine that hangs does: connections stay open and nothing answers.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

pub fn zookeeper() -> Server {
    let port = free_port();
    let mut server = Server::new("java", port);
    let folder = server.folder.path().display().to_string();
    let settings = format!(
        "tickTime=500\ndataDir={folder}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         admin.enableServer=false\n4lw.commands.whitelist=*\n"
    );
    fs::write(server.folder.path().join("zoo.cfg"), settings).unwrap();
    let path = format!("{folder}:/usr/share/java/zookeeper.jar");
    let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    server.arguments = words(&["-Xmx96m", "-XX:TieredStopAtLevel=1", "-cp", &path, main, "zoo.cfg"]);
    server.start();
    server
}

/// An independent implementation of Nacos' protocol: the original is not to be had from a package registry.
pub fn nacos() -> Server {
    nacos_with(&[])
}

pub fn nacos_with(more: &[(&str, &str)]) -> Server {
    let port = free_pair();
    let mut server = Server::new(tools().join("rnacos/bin/rnacos"), port);
    server.ready.push(port + NACOS_GRPC);
    let folder = server.folder.path().join("data").display().to_string();
    let (http, grpc) = (port.to_string(), (port + NACOS_GRPC).to_string());
    let own = [
        ("RNACOS_SDK_HOST", "127.0.0.1"),
        ("RNACOS_HTTP_PORT", &http),
        ("RNACOS_GRPC_PORT", &grpc),
        ("RNACOS_HTTP_CONSOLE_PORT", "0"),
        ("RNACOS_CONFIG_DB_DIR", &folder),
        // Five refused logins, as before its accounts are known, shut a user out for a minute.
        ("RNACOS_API_LOGIN_ONE_MINUTE_LIMIT", "10000"),
    ];
    server.environment =
        own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    server.start();
    server
}

/// What the console's button does.
pub fn set_enabled(server: &Server, service: &str, address: &str, enabled: bool) {
    let (ip, port) = address.rsplit_once(':').unwrap();
    let url = format!(
        "http://{}/nacos/v1/ns/instance?serviceName={service}&ip={ip}&port={port}&enabled={enabled}&ephemeral=true",
        server.address()
    );
    let answered = Command::new("curl").args(["-sf", "-X", "PUT", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "ok", "{url}");
}

pub fn eureka() -> Server {
    let port = free_port();
    let mut server = Server::new("java", port);
    let tools = tools().join("eureka").display().to_string();
    let path = format!("{tools}/classes:{tools}/lib/*");
    let at = format!("--server.port={port}");
    server.arguments = words(&[
        "-Xmx200m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &path,
        "graygate.EurekaServer",
        &at,
        "--server.address=127.0.0.1",
        "--eureka.client.register-with-eureka=false",
        "--eureka.client.fetch-registry=false",
        "--eureka.server.response-cache-update-interval-ms=500",
        "--eureka.server.use-read-only-response-cache=false",
        // What registers while the cache loads is unseen until the cache expires.
        "--eureka.server.response-cache-auto-expiration-in-seconds=1",
        "--eureka.server.eviction-interval-timer-in-ms=1000",
        "--eureka.server.enable-self-preservation=false",
    ]);
    server.start();
    server
}

/// A name server for the zone `test`, which is read again when it is told to.
pub fn dns(zone: &str) -> Server {
    let port = free_port();
    let mut server = Server::new("named", port);
    let folder = server.folder.path().display().to_string();
    let settings = format!(
        "options {{ directory \"{folder}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; pid-file none; session-keyfile none; dnssec-validation no; }};\n\
         controls {{ }};\nzone \"test\" {{ type primary; file \"zone\"; }};\n"
    );
    fs::write(server.folder.path().join("named.conf"), settings).unwrap();
    server.arguments = words(&["-f", "-n", "1", "-c", &format!("{folder}/named.conf")]);
    server.write_zone(1, zone);
    server.start();
    server
}

impl Server {
    fn write_zone(&self, serial: u32, records: &str) {
        let head = "$TTL 1\n@ IN SOA ns.test. admin.test. ";
        let zone = format!("{head}({serial} 60 60 60 1)\n@ IN NS ns.test.\nns IN A 127.0.0.1\n{records}\n");
        fs::write(self.folder.path().join("zone"), zone).unwrap();
    }

    /// Changes the zone of a name server; the serial has to grow.
    pub fn set_zone(&self, serial: u32, records: &str) {
        self.write_zone(serial, records);
        self.signal("HUP");
    }
}

impl Server {
    /// Changes the zone of a name server that does not run.
    pub fn set_zone_of_dead(&self, serial: u32, records: &str) {
        self.write_zone(serial, records);
    }
}

pub fn etcd() -> Server {
    let port = free_port();
    let mut server = Server::new("etcd", port);
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
    server.arguments = words(&["--data-dir", "data", "--listen-client-urls", &client]);
    server.arguments.extend(words(&["--advertise-client-urls", &client, "--listen-peer-urls", &peer]));
    let cluster = format!("default={peer}");
    server.arguments.extend(words(&["--initial-advertise-peer-urls", &peer, "--initial-cluster", &cluster]));
    server.start();
    server
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
