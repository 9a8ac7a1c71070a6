//! A real etcd for one test: on free ports, in a directory of its own, gone when the test is.

use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
use graygate_store::etcd::{DEFAULT_PREFIX, EtcdSettings, EtcdTls, Password};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for an etcd on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// One member that is its own cluster.
pub struct Etcd {
    child: Option<Child>,
    directory: TempDir,
    ports: (u16, u16),
    tls: bool,
    login: Option<(String, String)>,
}

impl Etcd {
    /// Starts without TLS and without users.
    pub async fn start() -> Etcd {
        Etcd::start_with(false).await
    }

    /// Starts with TLS; clients without a certificate signed by the test's authority are refused.
    pub async fn start_tls() -> Etcd {
        Etcd::start_with(true).await
    }

    async fn start_with(tls: bool) -> Etcd {
        let mut etcd = Etcd {
            child: None,
            directory: tempfile::tempdir().unwrap(),
            ports: free_ports(),
            tls,
            login: None,
        };
        if tls {
            certify(etcd.directory.path());
        }
        // Another process may take the ports between finding and using them.
        while !etcd.spawn().await {
            etcd.ports = free_ports();
        }
        etcd
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports.0)
    }

    /// Settings that reach this etcd, credentials included.
    pub fn settings(&self) -> EtcdSettings {
        let mut settings = EtcdSettings::new(vec![self.endpoint()], DEFAULT_PREFIX);
        settings.tls = self.tls.then(|| EtcdTls {
            ca: Some(self.file("ca.crt")),
            certificate: Some(self.file("client.crt")),
            key: Some(self.file("client.key")),
            domain: None,
        });
        if let Some((user, password)) = &self.login {
            settings.username = Some(user.clone());
            settings.password = Some(Password::Text(password.clone()));
        }
        settings
    }

    /// A client of the test's own.
    pub async fn client(&self) -> Client {
        let mut options = ConnectOptions::new().with_keep_alive_while_idle(false);
        if self.tls {
            let read = |name| fs::read(self.file(name)).unwrap();
            let ca = Certificate::from_pem(read("ca.crt"));
            let identity = etcd_client::Identity::from_pem(read("client.crt"), read("client.key"));
            options = options.with_tls(TlsOptions::new().ca_certificate(ca).identity(identity));
        }
        if let Some((user, password)) = &self.login {
            options = options.with_user(user, password).with_auto_token_refresh(true);
        }
        Client::connect([self.endpoint()], Some(options)).await.unwrap()
    }

    /// Writes a key below the prefix; returns the store's revision.
    pub async fn put(&self, name: &str, value: impl Into<Vec<u8>>) -> u64 {
        let answer = self.client().await.put(key(name), value, None).await.unwrap();
        answer.header().unwrap().revision() as u64
    }

    pub async fn delete(&self, name: &str) {
        self.client().await.delete(key(name), None).await.unwrap();
    }

    /// The value of a key below the prefix.
    pub async fn get(&self, name: &str) -> Option<String> {
        let mut answer = self.client().await.get(key(name), None).await.unwrap();
        let pair = answer.take_kvs().pop()?;
        Some(pair.value_str().unwrap().to_owned())
    }

    /// Forgets all history before the current revision.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let now = client.get("x", None).await.unwrap().header().unwrap().revision();
        client.compact(now, None).await.unwrap();
    }

    /// From now on only `root` with this password may do anything.
    pub async fn require_login(&mut self, password: &str) {
        let mut client = self.client().await;
        client.role_add("root").await.unwrap();
        client.user_add("root", password, None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
        self.login = Some(("root".to_owned(), password.to_owned()));
    }

    /// Ends it the hard way (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again with its data and ports.
    pub async fn restart(&mut self) {
        self.kill();
        assert!(self.spawn().await, "etcd did not start again");
    }

    /// Starts it again on the same ports with nothing in it.
    pub async fn wipe(&mut self) {
        self.kill();
        fs::remove_dir_all(self.file("data")).unwrap();
        assert!(self.spawn().await, "etcd did not start again");
    }

    /// Freezes it: connections stay, nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        send(signal, self.child.as_ref().unwrap());
    }

    /// Starts etcd's `grpc-proxy` in front of it.
    pub async fn grpc_proxy(&self) -> GrpcProxy {
        loop {
            let address = format!("127.0.0.1:{}", free_ports().0);
            let mut child = Command::new("etcd")
                .args(["grpc-proxy", "start", "--endpoints", &self.endpoint()])
                .args(["--listen-addr", &address, "--advertise-client-url", &address])
                .current_dir(self.directory.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let begun = Instant::now();
            // Another process may take the port between finding and using it.
            while child.try_wait().unwrap().is_none() {
                if tokio::net::TcpStream::connect(&address).await.is_ok() {
                    return GrpcProxy { child, endpoint: format!("http://{address}") };
                }
                assert!(begun.elapsed() < START_LIMIT, "the grpc-proxy does not listen");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the process and waits until it serves; false when it ended instead.
    async fn spawn(&mut self) -> bool {
        let peer = format!("http://127.0.0.1:{}", self.ports.1);
        let mut command = Command::new("etcd");
        command
            .args(["--name", "one", "--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(["--listen-client-urls", &self.endpoint(), "--advertise-client-urls", &self.endpoint()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .arg("--data-dir")
            .arg(self.file("data"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.file("log")).unwrap());
        if self.tls {
            command.arg("--client-cert-auth");
            command.arg("--trusted-ca-file").arg(self.file("ca.crt"));
            command.arg("--cert-file").arg(self.file("server.crt"));
            command.arg("--key-file").arg(self.file("server.key"));
        }
        self.child = Some(command.spawn().unwrap());
        self.serves().await
    }

    async fn serves(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            // Without the login: the caller for one serves as well.
            let login = self.login.take();
            let asked = self.client().await.get("x", None).await;
            self.login = login;
            match asked {
                Ok(_) => return true,
                Err(error) if error.to_string().contains("user name is empty") => return true,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        panic!("etcd does not serve:\n{log}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `etcd grpc-proxy`, gone with the test.
pub struct GrpcProxy {
    child: Child,
    pub endpoint: String,
}

impl GrpcProxy {
    pub fn pause(&self) {
        send("-STOP", &self.child);
    }

    pub fn resume(&self) {
        send("-CONT", &self.child);
    }
}

impl Drop for GrpcProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The key of a document below the default prefix.
pub fn key(name: &str) -> String {
    format!("{DEFAULT_PREFIX}/{name}")
}

fn free_ports() -> (u16, u16) {
    // Both at once, so that they differ.
    let bound = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [client, peer] = bound.map(|listener| listener.local_addr().unwrap().port());
    (client, peer)
}

/// An authority, a server's and a client's certificate, all made by the `openssl` command.
fn certify(directory: &Path) {
    let openssl = |arguments: &str| {
        let done = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(directory)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success(), "openssl {arguments}");
    };
    let request = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {request} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"));
    for name in ["server", "client"] {
        fs::write(
            directory.join(format!("{name}.ext")),
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
        )
        .unwrap();
        openssl(&format!("req {request} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile {name}.ext"
        ));
    }
}
