//! Where a measurement happens: a directory, addresses, the upstreams, graygate's documents and its process file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::Arguments;
use crate::processes::{Running, answered, free, ready};
use crate::systems::System;
use crate::workload::{PERCENT, VERSIONS, Workload};

/// Instances of one block of 127.1.0.0/16.
const BLOCK: usize = 250;

/// Where a run's files and addresses are.
pub struct Stage {
    directory: tempfile::TempDir,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// For one listener more.
    pub spare: SocketAddr,
    /// Release first, then `VERSIONS`.
    pub upstreams: [SocketAddr; 3],
    /// How many addresses the upstreams have together, in turns.
    pub instances: usize,
    /// Where graygate and bare-pingora were built.
    pub binaries: PathBuf,
    pub envoy: PathBuf,
}

impl Stage {
    pub fn new(arguments: &Arguments) -> Result<Stage> {
        let [listen, admin, spare, release, gray, feat] = free()?;
        Ok(Stage {
            directory: tempfile::tempdir()?,
            listen,
            admin,
            spare,
            upstreams: [release, gray, feat],
            instances: 3,
            binaries: fs::canonicalize(&arguments.binaries)?,
            envoy: arguments.envoy.clone(),
        })
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn versions(&self) -> impl Iterator<Item = (SocketAddr, &'static str)> + Clone {
        self.upstreams.into_iter().zip(["release"].into_iter().chain(VERSIONS))
    }

    /// The first of each version where no more were asked for; the others on further addresses of the loopback.
    pub fn all_instances(&self) -> impl Iterator<Item = (SocketAddr, &'static str)> {
        self.versions().cycle().take(self.instances.max(3)).enumerate().map(|(n, (mut address, version))| {
            if n >= 3 {
                address.set_ip(IpAddr::V4(Ipv4Addr::new(127, 1, (n / BLOCK) as u8, (n % BLOCK + 1) as u8)));
            }
            (address, version)
        })
    }

    /// The upstream of every system: nginx, which says the version and nothing else; below `/sent` once it has read the
    /// whole body, below `/files` with what lies there.
    pub fn upstream(&self) -> Result<Running> {
        let mut text = String::from(
            "user root; worker_processes 1; worker_rlimit_nofile 65536; daemon off; error_log stderr crit; pid upstream.pid;\n\
             events { worker_connections 32768; }\n\
             http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; types_hash_max_size 4096;\n\
             client_body_buffer_size 11m; client_max_body_size 11m;\n\
             server { listen unix:read.sock; return 200; }\n",
        );
        for (first, version) in self.versions() {
            text.push_str("server {");
            for (address, _) in self.all_instances().filter(|(address, _)| address.port() == first.port()) {
                let _ = write!(text, " listen {address} backlog=4096;");
            }
            let _ = writeln!(
                text,
                "\nadd_header x-version {version};\n\
                 location / {{ return 200 \"hello from {version}\\n\"; }}\n\
                 location /files {{ root .; }}\n\
                 location /sent {{ proxy_pass_request_body off; proxy_set_header content-length \"\"; proxy_pass http://unix:read.sock; }}\n}}"
            );
        }
        text.push('}');
        let running = Running::start(self.nginx(&text, "upstream.conf")?, "1", self.root())?;
        answered(self.upstreams[0])?;
        Ok(running)
    }

    pub fn nginx(&self, text: &str, file: &str) -> Result<Command> {
        fs::write(self.root().join(file), text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(self.root()).arg("-c").arg(self.root().join(file));
        Ok(command)
    }

    pub fn documents(&self) -> PathBuf {
        self.root().join("documents")
    }

    /// One document a rule; the groups' order is their priority.
    pub fn write_documents(&self, workload: &Workload) -> Result<()> {
        let documents = self.documents();
        let _ = fs::remove_dir_all(&documents);
        for folder in ["routes", "services", "rules", "lists"] {
            fs::create_dir_all(documents.join(folder))?;
        }
        fs::write(documents.join("routes/all.yaml"), "service: patient\n")?;
        let mut service = String::from("identity: [header:x-user]\ninstances:\n");
        for (address, version) in self.all_instances() {
            let _ = writeln!(service, "  - {{address: \"{address}\", version: {version}}}");
        }
        fs::write(documents.join("services/patient.yaml"), service)?;
        let rule = |name: &str, priority: u32, when: &str, outcome: &str| {
            let text = format!("services: [patient]\npriority: {priority}\n{when}{outcome}\n");
            fs::write(documents.join(format!("rules/{name}.yaml")), text)
        };
        let groups = [
            ("hospital", 50, "header:x-hospital", "equals", workload.hospitals().collect::<Vec<_>>()),
            ("cookie", 30, "cookie:trial", "equals", workload.cookies().collect()),
            ("path", 20, "path", "regex", workload.paths().collect()),
            ("agent", 10, "header:user-agent", "regex", workload.agents().collect()),
        ];
        for (group, priority, attribute, operator, rules) in groups {
            for (number, (operand, version)) in rules.into_iter().enumerate() {
                let when = format!("when: {{attribute: {attribute}, {operator}: '{operand}'}}\n");
                rule(&format!("{group}-{number:05}"), priority, &when, &format!("version: {version}"))?;
            }
        }
        if workload.users > 0 {
            list_file(&documents.join("lists/pilot.txt"), workload.users, "")?;
            let when = "when: {attribute: header:x-user, in_list: pilot}\n";
            rule("users", 40, when, &format!("version: {}", VERSIONS[0]))?;
        }
        Ok(rule("share", 0, "", &format!("split: {{{}: {PERCENT}}}", VERSIONS[0]))?)
    }

    /// How to start graygate with these lines of its process file, which go before those of every run.
    pub fn graygate(&self, settings: &[(&str, &str)]) -> Result<Command> {
        let (listen, admin) =
            (format!("[{{address: \"{}\"}}]", self.listen), format!("{{address: \"{}\"}}", self.admin));
        let mut lines = BTreeMap::from([
            ("threads", "1"),
            ("listen", &listen),
            ("admin", &admin),
            ("documents", "{directory: documents}"),
            ("access_log", "off"),
            ("shutdown", "{grace: 1s}"),
        ]);
        lines.extend(settings.iter().copied());
        let text: String = lines.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        fs::write(self.root().join("graygate.yaml"), text)?;
        let mut command = Command::new(self.binaries.join("graygate"));
        command.args(["run", "--config", "graygate.yaml"]);
        Ok(command)
    }

    /// Started and answering from an upstream.
    pub fn run(&self, system: System, command: Command, processor: &str) -> Result<Running> {
        let mut running = Running::start(command, processor, self.root())?;
        ready(self, system, &mut running).with_context(|| {
            let log = fs::read_to_string(self.root().join("started.log")).unwrap_or_default();
            format!("{}: {}", system.name(), log.chars().take(2_000).collect::<String>())
        })?;
        Ok(running)
    }
}

/// Users one a line.
pub fn list_file(path: &Path, count: usize, suffix: &str) -> Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    for number in 0..count {
        writeln!(file, "{}{suffix}", Workload::user(number))?;
    }
    Ok(file.flush()?)
}
