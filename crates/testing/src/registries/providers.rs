//! Instances that register themselves by the clients of other languages, as child processes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::servers::{Server, tools};

pub struct Provider {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start(script: &str, arguments: &[&str]) -> Provider {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/registries/providers").join(script);
        let mut child = Command::new("python3")
            .arg(&script)
            .args(arguments)
            .env("PYTHONPATH", tools().join("python"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut provider = Provider { child, commands, answers };
        provider.expect("registered", &script);
        provider
    }

    fn expect(&mut self, word: &str, doing: &Path) {
        let mut line = String::new();
        while self.answers.read_line(&mut line).unwrap() > 0 {
            if line.trim() == word {
                return;
            }
            line.clear();
        }
        panic!("{doing:?} ended before it said `{word}`; `make registry-tools` brings what it needs");
    }

    /// Has something done, and waits until the registry has answered.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
        self.commands.flush().unwrap();
        self.expect("done", Path::new(command));
    }

    /// Ends without a word, as a crash does.
    pub fn crash(self) {
        drop(self);
    }
}

pub fn zookeeper(server: &Server, node: &str, content: &str) -> Provider {
    Provider::start("zookeeper.py", &[&server.address(), node, content])
}

/// `host:port` as two arguments.
fn parts(address: &str) -> (&str, &str) {
    address.rsplit_once(':').unwrap()
}

pub fn nacos(server: &Server, service: &str, address: &str, metadata: &str) -> Provider {
    let (ip, port) = parts(address);
    Provider::start("nacos.py", &[&server.address(), service, ip, port, metadata])
}

pub fn nacos_as(server: &Server, login: (&str, &str), service: &str, address: &str) -> Provider {
    let (ip, port) = parts(address);
    Provider::start("nacos.py", &[&server.address(), service, ip, port, "{}", login.0, login.1])
}

pub fn eureka(server: &Server, application: &str, address: &str, metadata: &str) -> Provider {
    let (ip, port) = parts(address);
    let url = format!("http://{}/eureka/", server.address());
    Provider::start("eureka.py", &[&url, application, ip, port, metadata])
}

/// A node of ZooKeeper that only this user may read.
pub fn secret_node(server: &Server, node: &str, user: &str, password: &str) -> Provider {
    Provider::start("zookeeper_secret.py", &[&server.address(), node, user, password])
}

/// Two nodes of ZooKeeper that leave in one transaction.
pub fn zookeeper_pair(server: &Server, nodes: (&str, &str)) -> Provider {
    Provider::start("zookeeper_pair.py", &[&server.address(), nodes.0, nodes.1])
}
