//! The threads that serve connections.
//!
//! Answers: which thread serves the next one? Each has a runtime of its own, and a connection is served to its end where
//! its socket is registered: no thread wakes another for a request. Never: accepts, or knows what is served.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use super::open_connections::Slot;

/// One thread, which lives as long as the process.
struct ServingThread {
    runtime: Handle,
    /// The connections it serves.
    open: Arc<AtomicUsize>,
}

/// All of them.
#[derive(Clone)]
pub struct ServingThreads {
    threads: Arc<[ServingThread]>,
    /// Whose turn it is where several serve as few.
    turn: Arc<AtomicUsize>,
}

impl ServingThreads {
    pub fn start(count: usize) -> io::Result<ServingThreads> {
        let threads = (0..count.max(1)).map(ServingThread::start).collect::<io::Result<_>>()?;
        Ok(ServingThreads { threads, turn: Arc::default() })
    }

    /// Runs a task on the thread of that number, counted round.
    pub fn spawn_at<F>(&self, number: usize, task: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let thread = self.threads.get(number % self.threads.len())?;
        Some(thread.runtime.spawn(task))
    }

    /// Serves a connection on the thread that has the fewest. Where that is this thread, no other is woken.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(thread) = self.least_loaded() else { return };
        let slot = Slot::of(&thread.open);
        thread.runtime.spawn(async move {
            let _slot = slot;
            connection.await;
        });
    }

    fn least_loaded(&self) -> Option<&ServingThread> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let (before, from) = self.threads.split_at_checked(turn)?;
        from.iter().chain(before).min_by_key(|thread| thread.open.load(Ordering::Relaxed))
    }
}

impl ServingThread {
    fn start(number: usize) -> io::Result<ServingThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name(format!("proxy-{number}"));
        thread.spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(ServingThread { runtime: handle, open: Arc::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread::ThreadId;

    use tokio::sync::{mpsc, watch};

    use super::*;

    /// As many connections, each of which says where it is served and stays until the end.
    async fn served(threads: &ServingThreads, count: usize, end: &watch::Receiver<bool>) -> Vec<ThreadId> {
        let (say, mut said) = mpsc::unbounded_channel();
        for _ in 0..count {
            let (say, mut end) = (say.clone(), end.clone());
            threads.serve(async move {
                say.send(thread::current().id()).unwrap();
                let _ = end.wait_for(|end| *end).await;
            });
        }
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(said.recv().await.unwrap());
        }
        all
    }

    fn counted(served: &[ThreadId]) -> Vec<usize> {
        let mut counts: HashMap<ThreadId, usize> = HashMap::new();
        for thread in served {
            *counts.entry(*thread).or_default() += 1;
        }
        counts.into_values().collect()
    }

    #[tokio::test]
    async fn connections_are_spread_evenly() {
        let threads = ServingThreads::start(3).unwrap();
        let (_end, ended) = watch::channel(false);
        assert_eq!(counted(&served(&threads, 12, &ended).await), [4, 4, 4]);
    }

    #[tokio::test]
    async fn what_ended_leaves_room_for_what_comes() {
        let threads = ServingThreads::start(2).unwrap();
        let (first_end, first_ended) = watch::channel(false);
        let (_second_end, second_ended) = watch::channel(false);
        let first = served(&threads, 1, &first_ended).await;
        let second = served(&threads, 1, &second_ended).await;
        assert_ne!(first, second);
        first_end.send(true).unwrap();
        while threads.threads.iter().map(|thread| thread.open.load(Ordering::Relaxed)).sum::<usize>() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(served(&threads, 1, &second_ended).await, first, "it serves none any more");
    }
}
