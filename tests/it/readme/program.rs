//! What the program says about itself: its commands and options, metrics, log keys, and the fields it reads.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::pages::root;
use crate::harness::ports;

const BINARY: &str = env!("CARGO_BIN_EXE_graygate");
/// Longest wait for a process of ours; on an idle machine it answers in a tenth of a second.
const LIMIT: Duration = Duration::from_secs(30);

fn help(command: &[&str]) -> String {
    let output = Command::new(BINARY).args(command).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `graygate --help` lists.
pub fn commands() -> Vec<String> {
    let text = help(&[]);
    let listed =
        text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.split_whitespace().next().map(String::from);
    listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(name)
        .filter(|name| name != "help")
        .collect()
}

/// Whether a command line's command and options exist.
pub fn understands(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace().skip(1).take_while(|word| !matches!(*word, "|" | "&" | "or"));
    let command = words.next().ok_or("no command")?;
    if command == "help" {
        return Ok(());
    }
    if !commands().iter().any(|known| known == command) {
        return Err(format!("there is no command `{command}`"));
    }
    // A command of commands: `graygate user add`.
    let rest: Vec<&str> = words.collect();
    let text = match rest.first() {
        Some(word) if help(&[command]).contains(&format!("\n  {word} ")) => help(&[command, word]),
        _ => help(&[command]),
    };
    let is_option = |word: &&&str| word.starts_with('-') && !word.trim_start_matches('-').is_empty();
    let known = |option: &str| {
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '<' | '='))
            .any(|word| word == option)
    };
    match rest.iter().filter(is_option).map(|word| word.trim_matches(['[', ']'])).find(|word| !known(word)) {
        Some(option) => Err(format!("`{command}` has no `{option}`")),
        None => Ok(()),
    }
}

/// The shipped code: the lines of each file before its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src"), root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "tests" | "target" | "testing") {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_string();
                found.push((path, code));
            }
        }
    }
    found
}

fn texts(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// Every metric's name that stands in the code; the crates are called `graygate_...` as well.
pub fn metric_names() -> BTreeSet<String> {
    let is_name = |text: &&str| {
        text.strip_prefix("graygate_").is_some_and(|rest| {
            let is_word = !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            is_word && !root().join("crates").join(rest).exists()
        })
    };
    let sources = sources();
    sources
        .iter()
        .flat_map(|(_, code)| texts(code).filter(is_name).map(String::from).collect::<Vec<_>>())
        .collect()
}

/// The keys a reader of documents, or of the process file, asks for.
pub fn keys_read_by(file: &str) -> BTreeSet<String> {
    let sources = sources();
    let wanted = root().join(file);
    let (_, code) = sources.iter().find(|(path, _)| *path == wanted).unwrap_or_else(|| panic!("no {file}"));
    let code: String = code.split_whitespace().collect();
    let mut keys = BTreeSet::new();
    for asks in [".get(\"", ".or(\"", ".required(\"", "one_of(&[\""] {
        for rest in code.split(asks).skip(1) {
            let end = rest.find(if asks.contains('[') { ']' } else { '"' }).unwrap_or_default();
            keys.extend(rest[..end].split(['"', ',']).filter(|key| !key.is_empty()).map(String::from));
        }
    }
    keys
}

/// The operators of conditions, in the order of the code.
pub fn operators() -> Vec<String> {
    let sources = sources();
    let (_, code) = sources.iter().find(|(path, _)| path.ends_with("documents/condition.rs")).unwrap();
    let list = code.split("const OPERATORS").nth(1).unwrap().split("= [").nth(1).unwrap();
    list.split(']').next().unwrap().split('"').skip(1).step_by(2).map(String::from).collect()
}

/// A proxy of the sample documents, until it is dropped.
struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start() -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        let [address, admin] = ports::free_addresses();
        let text = format!(
            "listen: [{{address: \"{address}\"}}]\nadmin: {{address: \"{admin}\"}}\nthreads: 1\n\
             documents: {{directory: {}}}\naccess_log: {{path: {}}}\n",
            root().join("conf/documents").display(),
            log(folder.path()).display(),
        );
        let file = folder.path().join("graygate.yaml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(BINARY);
        command
            .arg("run")
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let proxy = Proxy { child: command.spawn().unwrap(), folder, address };
        until(|| get(admin, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
        proxy
    }
}

fn log(folder: &Path) -> PathBuf {
    folder.join("access.log")
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok().map(|_| answer)
}

/// The keys of a line that a running proxy writes.
pub fn access_log_keys() -> BTreeSet<String> {
    let proxy = Proxy::start();
    until(|| get(proxy.address, "/nothing"));
    let line = until(|| {
        let text = std::fs::read_to_string(log(proxy.folder.path())).ok()?;
        text.split_once('\n').map(|(line, _)| line.to_string())
    });
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    line.into_iter().map(|(key, _)| key).collect()
}
