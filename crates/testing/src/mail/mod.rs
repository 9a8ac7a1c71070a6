//! A real mail server (aiosmtpd) as a child process, on a free port of the loopback. `make registry-tools` brings it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::registries::servers::tools;

/// A mail server that tells what it gets.
pub struct MailServer {
    child: Child,
    told: BufReader<ChildStdout>,
    pub port: u16,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl MailServer {
    /// `plain`, or `starttls` or `tls` with the files of a certificate and its key.
    pub fn start(mode: &str, certificate: &[&Path]) -> MailServer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mail/server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(mode)
            .args(certificate)
            .env("PYTHONPATH", tools().join("mail"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let mut server = MailServer { child, told, port: 0 };
        let port = server.next_mail();
        server.port =
            port.trim().parse().unwrap_or_else(|_| panic!("the mail server does not start: {port}"));
        server
    }

    /// The next mail, as one line of JSON; waits for it.
    pub fn next_mail(&mut self) -> String {
        let mut line = String::new();
        let read = self.told.read_line(&mut line).unwrap();
        assert!(read > 0, "the mail server ended; `make registry-tools` brings what it needs");
        line
    }
}
