//! Listeners on their way from a process to its successor.
//!
//! Answers: who serves next, and when may the one before stop? The successor (`run --upgrade`) waits at the upgrade socket;
//! the running process comes there on SIGQUIT, sends its listeners, and serves on until the successor says that it serves.
//! The framework's own hand-over is not used: it ends the old process where no other took over, and whether or not the new
//! one has anything to serve with. Start at [`give`] and [`Successor::take`].

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// How long a successor may take from its start until it waits at the socket.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long it may take until it serves: its documents may be many, and nothing is lost meanwhile.
const READY: Duration = Duration::from_secs(300);
/// How long a successor waits for the SIGQUIT.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that has connected may take to send: it has nothing else to do.
const SENDING: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Listeners at most; the kernel allows 253 in a message.
const LISTENERS: usize = 64;
/// Their names at most, bytes.
const NAMES: usize = 8 << 10;
/// What the successor says once it serves.
const SERVES: u8 = b'1';

/// Under which name the admin listener goes; the others are named by their address.
pub const ADMIN: &str = "admin";

/// Sends the listeners to the process that waits at the socket; returns once that one serves. On an error this process
/// goes on as if nothing had happened.
pub fn give(path: &Path, listeners: &[(String, BorrowedFd<'_>)]) -> anyhow::Result<()> {
    let mut stream = connect(path)?;
    let (names, descriptors): (Vec<&str>, Vec<BorrowedFd<'_>>) =
        listeners.iter().map(|(name, descriptor)| (name.as_str(), *descriptor)).unzip();
    let names = names.join(" ");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    ensure!(
        rights.push(SendAncillaryMessage::ScmRights(&descriptors)),
        "more than {LISTENERS} listeners cannot be sent"
    );
    sendmsg(stream.as_fd(), &[IoSlice::new(names.as_bytes())], &mut rights, SendFlags::NOSIGNAL)
        .context("the listeners cannot be sent")?;
    stream.set_read_timeout(Some(READY))?;
    let mut word = [0];
    match stream.read(&mut word) {
        Ok(1) if word == [SERVES] => Ok(()),
        Ok(_) => bail!("the new process gave up before it served"),
        Err(error) => Err(error).context("the new process does not say that it serves"),
    }
}

fn connect(path: &Path) -> anyhow::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if begun.elapsed() < ARRIVAL => std::thread::sleep(LOOK),
            Err(error) => {
                return Err(error).with_context(|| format!("no new process waits at {}", path.display()));
            }
        }
    }
}

/// A new process that waits for its predecessor.
pub struct Successor {
    listener: UnixListener,
    path: PathBuf,
}

/// What a successor was given.
pub struct Taken {
    pub listeners: Vec<(String, OwnedFd)>,
    stream: UnixStream,
}

impl Successor {
    /// Begins to wait at the socket.
    pub fn wait_at(path: &Path) -> anyhow::Result<Successor> {
        let cannot = || format!("cannot wait at {}", path.display());
        if UnixStream::connect(path).is_ok() {
            bail!("another new process waits at {}", path.display());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(cannot),
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(cannot)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
        listener.set_nonblocking(true)?;
        Ok(Successor { listener, path: path.to_owned() })
    }

    /// Waits for the predecessor and takes its listeners. Blocks.
    pub fn take(self) -> anyhow::Result<Taken> {
        let begun = Instant::now();
        loop {
            match self.listener.accept() {
                // One that only looked whether a process waits here sends nothing.
                Ok((stream, _)) => match receive(stream) {
                    Ok(taken) => return Ok(taken),
                    Err(error) => tracing::warn!(%error, "no listeners came"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot wait for the running process"),
            }
            ensure!(begun.elapsed() < PATIENCE, "no running process came within {PATIENCE:?}");
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Left behind, it would only be refused.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn receive(stream: UnixStream) -> anyhow::Result<Taken> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SENDING))?;
    let mut names = vec![0; NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut names)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    let names = names.get(..message.bytes).unwrap_or_default();
    let names: Vec<String> = str::from_utf8(names)?.split_ascii_whitespace().map(String::from).collect();
    ensure!(!names.is_empty() && names.len() == descriptors.len(), "names and listeners do not match");
    Ok(Taken { listeners: names.into_iter().zip(descriptors).collect(), stream })
}

impl Taken {
    /// The listener of that name, out of what was given.
    pub fn remove(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.listeners.iter().position(|(own, _)| own == name)?;
        Some(self.listeners.swap_remove(at).1)
    }

    /// Says that this process serves: the predecessor ends. What was not taken out is closed, or it would
    /// go on accepting connections that get no answer.
    pub fn serve(self) -> io::Result<()> {
        use std::io::Write as _;
        (&self.stream).write_all(&[SERVES])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn listeners_arrive_and_the_giver_waits_until_they_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let successor = Successor::wait_at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (done, given) = std::sync::mpsc::channel();
        let giving = std::thread::spawn({
            let path = path.clone();
            move || {
                let outcome = give(&path, &[(address.to_string(), listener.as_fd())]);
                done.send(()).unwrap();
                drop(listener);
                outcome
            }
        });
        let mut taken = successor.take().unwrap();
        assert!(given.try_recv().is_err(), "no process serves yet");
        let taken_listener = TcpListener::from(taken.remove(&address.to_string()).unwrap());
        taken.serve().unwrap();
        giving.join().unwrap().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        taken_listener.accept().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_successor_that_gives_up_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let successor = Successor::wait_at(&path).unwrap();
        assert!(Successor::wait_at(&path).is_err(), "one at a time");
        let giving = std::thread::spawn(move || give(&path, &[("a".into(), listener.as_fd())]));
        drop(successor.take().unwrap());
        assert!(giving.join().unwrap().unwrap_err().to_string().contains("gave up"));
    }
}
