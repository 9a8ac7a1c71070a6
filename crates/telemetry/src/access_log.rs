//! The access log: lines in, one writer thread, bytes out.
//!
//! Answers: how does a request leave its line without ever waiting for the log's reader?
//! Owns: the queue, the writer thread, the open file. Lines are laid into one buffer under a short lock; the
//! writer takes the whole buffer at once and leaves an empty one, so a batch is one write and no line is allocated.
//! Never: blocks a request; where the queue is full the line is dropped and counted.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::entry::Entry;
use super::instrument::Counter;
use graygate_rules::vocab::Share;

/// Bytes of lines that wait at most. A second of 10,000 requests with lines of 400 bytes: a reader that hesitates
/// longer than that is not going to catch up.
const QUEUE_BYTES: usize = 4 << 20;

/// A batch of this size is written at once, a smaller one after `LINGER`.
const BATCH_BYTES: usize = 64 << 10;

/// How long a line may wait for others. Short enough for an operator who watches the log, long enough that a
/// busy proxy does not wake a thread and make a system call for every request.
const LINGER: Duration = Duration::from_millis(20);

/// A thread's scratch buffer keeps at most this much after a line that was unusually long.
const SCRATCH_KEPT: usize = 16 << 10;

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogPath {
    Stdout,
    /// Appended to; created where it is missing.
    File(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLogSettings {
    pub path: LogPath,
    /// How many of the requests have a line; failed ones always do.
    pub sample: Share,
}

/// The access log of the process; clones write to the same place. When the last is gone the writer thread ends.
#[derive(Clone)]
pub struct AccessLog(Arc<Handle>);

struct Handle {
    settings: AccessLogSettings,
    dropped: Arc<Counter>,
    shared: Arc<Shared>,
}

/// What requests and the writer thread meet in.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Lines, a new file or a wish to hurry are there.
    ready: Condvar,
    /// A batch has been dealt with.
    settled: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Bytes ever queued, and bytes ever written or given up.
    queued: u64,
    settled: u64,
    /// A reader waits for the lines: no lingering.
    hurry: bool,
    closing: bool,
    next_file: Option<File>,
}

impl AccessLog {
    /// Opens the file and starts the writer. Dropped lines are counted in `dropped`, which `Metrics` shows.
    pub fn open(settings: AccessLogSettings, dropped: Arc<Counter>) -> io::Result<AccessLog> {
        let file = open(&settings.path)?;
        AccessLog::start(settings, dropped, file)
    }

    fn start(settings: AccessLogSettings, dropped: Arc<Counter>, file: File) -> io::Result<AccessLog> {
        let shared = Arc::<Shared>::default();
        let mut writer =
            Writer { shared: shared.clone(), dropped: dropped.clone(), file, torn: false, failing: false };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(AccessLog(Arc::new(Handle { settings, dropped, shared })))
    }

    /// Writes the request's line if the sample or its outcome asks for one.
    ///
    /// `chance` is a random number, or a number that counts requests: of 10,000 following ones exactly the share
    /// of the sample is taken.
    pub fn write(&self, entry: &Entry<'_>, chance: u64) {
        if !self.wants(entry, chance) {
            return;
        }
        thread_local! {
            static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let mut line = SCRATCH.take();
        line.clear();
        // Writing happens outside of the lock.
        entry.write(&mut line);
        line.push(b'\n');
        if !self.0.shared.push(&line) {
            self.0.dropped.increment();
        }
        line.shrink_to(SCRATCH_KEPT);
        SCRATCH.set(line);
    }

    /// Lines lost so far: the queue was full, or they could not be written.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }

    /// Opens the file again under its name, after it was renamed away. On an error the old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        if let LogPath::File(_) = &self.0.settings.path {
            let file = open(&self.0.settings.path)?;
            self.0.shared.queue.lock().next_file = Some(file);
            self.0.shared.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until every line so far is written, `limit` at most; whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.shared.settle(limit, false)
    }

    /// Takes no more lines, and waits `limit` at most until all are written; whether they are.
    pub fn close(&self, limit: Duration) -> bool {
        self.0.shared.settle(limit, true)
    }

    fn wants(&self, entry: &Entry<'_>, chance: u64) -> bool {
        let failed = entry.error.is_some() || entry.status.is_some_and(|status| status >= 500);
        let all = u64::from(Share::ALL.hundredths());
        failed || chance % all < u64::from(self.0.settings.sample.hundredths())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.ready.notify_one();
    }
}

fn open(path: &LogPath) -> io::Result<File> {
    match path {
        // A descriptor of our own: the standard library's `stdout` has a lock and a buffer in front.
        LogPath::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        LogPath::File(path) => OpenOptions::new().append(true).create(true).open(path),
    }
}

impl Shared {
    /// Queues a line; false where there is no room or the log is closed.
    fn push(&self, line: &[u8]) -> bool {
        let mut queue = self.queue.lock();
        let before = queue.lines.len();
        let after = before + line.len();
        if queue.closing || after > QUEUE_BYTES {
            return false;
        }
        queue.lines.extend_from_slice(line);
        queue.queued += line.len() as u64;
        drop(queue);
        // The writer sleeps either for a first line or for a full batch; in between it needs no waking.
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.ready.notify_one();
        }
        true
    }

    fn settle(&self, limit: Duration, closing: bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut queue = self.queue.lock();
        queue.closing |= closing;
        queue.hurry = true;
        self.ready.notify_one();
        let wanted = queue.queued;
        while queue.settled < wanted {
            if self.settled.wait_until(&mut queue, deadline).timed_out() {
                return queue.settled >= wanted;
            }
        }
        true
    }

    /// Waits for lines and swaps them for the empty `batch`; with them a new file, if there is one.
    /// False when the log is closed and nothing is left.
    fn take(&self, batch: &mut Vec<u8>, file: &mut Option<File>) -> bool {
        let mut queue = self.queue.lock();
        while queue.lines.is_empty() && !queue.closing && queue.next_file.is_none() {
            self.ready.wait(&mut queue);
        }
        let deadline = Instant::now() + LINGER;
        while queue.lines.len() < BATCH_BYTES && !queue.closing && !queue.hurry {
            if self.ready.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.hurry = false;
        std::mem::swap(&mut queue.lines, batch);
        *file = queue.next_file.take();
        !(batch.is_empty() && queue.closing)
    }

    fn settled(&self, bytes: usize) {
        self.queue.lock().settled += bytes as u64;
        self.settled.notify_all();
    }
}

/// The thread that may wait.
struct Writer {
    shared: Arc<Shared>,
    dropped: Arc<Counter>,
    file: File,
    /// The last write broke off inside a line: the next begins with an end of line, so that only one is spoilt.
    torn: bool,
    /// The last write failed; said once, not for every batch.
    failing: bool,
}

impl Writer {
    fn run(&mut self) {
        let mut batch = Vec::new();
        let mut next_file = None;
        while self.shared.take(&mut batch, &mut next_file) {
            if let Some(file) = next_file.take() {
                self.file = file;
                self.torn = false;
            }
            self.write(&batch);
            self.shared.settled(batch.len());
            batch.clear();
        }
    }

    /// Writes a batch; on an error the rest of it is lost, and the next batch tries again. Batches come
    /// `LINGER` apart at the least unless they are large, so a reader that is gone costs next to nothing.
    fn write(&mut self, batch: &[u8]) {
        let mut rest = batch;
        let outcome = self.write_rest(&mut rest);
        let lost = rest.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.add(lost as u64);
        match outcome {
            Ok(()) if self.failing => tracing::info!("the access log is written again"),
            Err(error) if !self.failing => {
                tracing::warn!(%error, "the access log cannot be written; lines are dropped and counted");
            }
            _ => {}
        }
        self.failing = lost > 0;
        if rest.len() < batch.len() {
            let written = batch.len() - rest.len();
            let last = written.checked_sub(1).and_then(|index| batch.get(index));
            self.torn = last.is_some_and(|byte| *byte != b'\n');
        }
    }

    fn write_rest(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        if self.torn && !rest.is_empty() {
            self.write_some(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            let written = self.write_some(rest)?;
            *rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// One write; waits where the other end is full, also if another process that shares it made it non-blocking.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(LINGER);
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader};
    use std::os::fd::OwnedFd;

    use super::super::entry::bare;
    use super::*;

    /// Longer than any machine needs; only a broken log waits for it.
    const LIMIT: Duration = Duration::from_secs(60);

    fn settings(sample: Share) -> AccessLogSettings {
        AccessLogSettings { path: LogPath::Stdout, sample }
    }

    fn piped(sample: Share) -> (AccessLog, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let log = AccessLog::start(settings(sample), Arc::default(), file).unwrap();
        (log, reader)
    }

    fn paths(reader: impl io::Read) -> Vec<String> {
        let path = |line: io::Result<String>| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["path"].as_str().unwrap().to_owned()
        };
        BufReader::new(reader).lines().map(path).collect()
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (log, reader) = piped(Share::ALL);
        let written: Vec<String> = (0..50).map(|number| format!("/{number}\n")).collect();
        for (chance, path) in written.iter().enumerate() {
            log.write(&bare(path), chance as u64);
        }
        assert!(log.close(LIMIT));
        log.write(&bare("/after"), 0);
        assert_eq!(log.dropped(), 1);
        drop(log);
        assert_eq!(paths(reader), written);
    }

    #[test]
    fn a_sample_keeps_its_share_and_every_failure() {
        let (log, reader) = piped(Share::parse("2.5").unwrap());
        for chance in 0..10_000 {
            log.write(&bare("/sampled"), chance);
        }
        let unlucky = 9_999;
        for status in [499, 500, 503] {
            let entry = Entry { status: Some(status), ..bare("/status") };
            log.write(&entry, unlucky);
        }
        let entry = Entry { error: Some("upstream_timeout"), ..bare("/error") };
        log.write(&entry, unlucky);
        let reading = std::thread::spawn(|| paths(reader));
        assert!(log.close(LIMIT));
        drop(log);
        let seen = reading.join().unwrap();
        let count = |path: &str| seen.iter().filter(|seen| *seen == path).count();
        assert_eq!((count("/sampled"), count("/status"), count("/error")), (250, 2, 1));
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_not_time() {
        let (log, reader) = piped(Share::ALL);
        let long = format!("/{}", "x".repeat(10_000));
        let mut written = 0;
        while log.dropped() < 10 {
            log.write(&bare(&long), written);
            written += 1;
            assert!(written < 10_000, "nothing is dropped: the queue has no bound");
        }
        assert!(!log.flush(Duration::ZERO));
        let dropped = log.dropped();
        let reading = std::thread::spawn(|| paths(reader));
        assert!(log.close(LIMIT));
        drop(log);
        let seen = reading.join().unwrap();
        assert!(seen.iter().all(|path| *path == long));
        assert_eq!(seen.len() as u64 + dropped, written);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_only() {
        let (log, reader) = piped(Share::ALL);
        drop(reader);
        for round in 1..=3 {
            log.write(&bare("/"), 0);
            assert!(log.flush(LIMIT));
            assert_eq!(log.dropped(), round);
        }
    }

    #[test]
    fn a_full_disk_costs_lines_only() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let log = AccessLog::start(settings(Share::ALL), Arc::default(), file).unwrap();
        log.write(&bare("/"), 0);
        assert!(log.flush(LIMIT));
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn a_line_cut_short_spoils_no_other() {
        let path = std::env::temp_dir().join(format!("graygate-torn-{}", std::process::id()));
        let mut writer = Writer {
            shared: Arc::default(),
            dropped: Arc::default(),
            file: open(&LogPath::File(path.clone())).unwrap(),
            torn: false,
            failing: false,
        };
        writer.write(b"whole\ncut");
        assert!(writer.torn);
        writer.write(b"next\n");
        assert!(!writer.torn);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "whole\ncut\nnext\n");
    }

    #[test]
    fn a_renamed_file_is_left_alone_after_reopening() {
        let folder = std::env::temp_dir().join(format!("graygate-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("access.log");
        let settings = AccessLogSettings { path: LogPath::File(path.clone()), sample: Share::ALL };
        let log = AccessLog::open(settings, Arc::default()).unwrap();
        log.write(&bare("/before"), 0);
        assert!(log.flush(LIMIT));
        std::fs::rename(&path, folder.join("access.log.1")).unwrap();
        log.write(&bare("/between"), 0);
        assert!(log.flush(LIMIT));
        log.reopen().unwrap();
        log.write(&bare("/after"), 0);
        assert!(log.close(LIMIT));
        let old = paths(File::open(folder.join("access.log.1")).unwrap());
        let new = paths(File::open(&path).unwrap());
        assert_eq!((old, new), (vec!["/before".into(), "/between".into()], vec!["/after".into()]));
        // The folder is gone: reopening fails, and the log goes on with what it has.
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(log.reopen().is_err());
    }

    #[test]
    fn many_threads_lose_nothing_while_there_is_room() {
        let (log, reader) = piped(Share::ALL);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    for number in 0..200 {
                        log.write(&bare(&format!("/{thread}/{number}")), number);
                    }
                });
            }
            let reading = scope.spawn(|| paths(reader));
            // The last handle closes the log by itself.
            drop(log);
            let mut seen = reading.join().unwrap();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 800);
        });
    }
}
