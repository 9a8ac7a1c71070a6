//! The loop between the state and the board: looks several times a second, and does what the state asks for.
//!
//! While the board is away nothing is taken up and nothing given up: what the state last saw stays, and what this gateway
//! held is no longer relied upon once its lease may have ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use graygate_store::SourceError;
use graygate_store::board::{Board, Place, Write};
use tokio::sync::watch;
use tokio::time::sleep;

use super::board::{
    self, LaneKey, View, confirmed_key, count_key, drain_key, gateway_key, live_key, record_key,
};
use super::prime::prime;
use super::shared::Shared;
use super::state::{Action, Group, State};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a write.
const SOON: Duration = Duration::from_millis(50);
/// Until a board that failed is opened again.
const RETRY: Duration = Duration::from_secs(1);
/// Until a group that could not be made is tried again.
const PRIME_AGAIN: Duration = Duration::from_secs(2);

/// Keeps the state and the board together until the shutdown.
pub async fn keep(
    shared: Arc<Shared>,
    place: Place,
    mut declared: watch::Receiver<Option<Vec<Group>>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut held = None;
    tokio::select! {
        () = follow(&shared, &place, &mut declared, &mut held) => {}
        _ = shutdown.wait_for(|end| *end) => {}
    }
    if let Some(board) = held {
        Board::leave(board).await;
    }
}

async fn follow(
    shared: &Arc<Shared>,
    place: &Place,
    declared: &mut watch::Receiver<Option<Vec<Group>>>,
    held: &mut Option<Board>,
) {
    let mut is_told = false;
    loop {
        let Err(error) = turn(shared, place, declared, held, &mut is_told).await;
        *held = None;
        if !is_told {
            tracing::warn!(%error, "lanes cannot be kept: none is taken up or given up until then");
            is_told = true;
        }
        sleep(RETRY).await;
    }
}

enum Never {}

async fn turn(
    shared: &Arc<Shared>,
    place: &Place,
    declared: &mut watch::Receiver<Option<Vec<Group>>>,
    held: &mut Option<Board>,
    is_told: &mut bool,
) -> Result<Never, SourceError> {
    let board = held.insert(Board::open(place).await?);
    let id = shared.with(|state| state.id().to_owned());
    board.write(Write::Leased { key: gateway_key(&id), value: String::new() }).await?;
    loop {
        if let Some(groups) = declared.borrow_and_update().clone() {
            shared.with(|state| state.declare(groups));
        }
        let view = View::read(&board.read().await?);
        *is_told = false;
        shared.metrics.states(&view);
        let (until, now) = (board.holds_until().into_std(), Instant::now());
        let actions = shared.with(|state| {
            state.look(view, until, now);
            state.next(now, unix())
        });
        for client in shared.with(State::take_silent) {
            shared.forget(&client).await;
        }
        shared.metrics.takeovers(shared.with(|state| state.takeovers()));
        shared.notify();
        let is_busy = !actions.is_empty();
        for action in actions {
            act(shared, board, &id, action).await?;
        }
        // What was just written is looked at soon; else nothing but time brings news of other gateways.
        sleep(if is_busy { SOON } else { LOOK_EVERY }).await;
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn act(shared: &Arc<Shared>, board: &mut Board, id: &str, action: Action) -> Result<(), SourceError> {
    let text = |record: &board::Record| serde_json::to_string(record).unwrap_or_default();
    let write = match action {
        Action::Create(key, record) => Write::Create { key: record_key(&key), value: text(&record) },
        Action::Advance { key, modified, record } => {
            tracing::info!(lane = %key, step = ?record.step, "a lane goes on");
            Write::Replace { key: record_key(&key), value: text(&record), modified }
        }
        Action::Remove { key, modified } => Write::Remove { key: record_key(&key), modified },
        Action::Confirm(key, modified) => {
            Write::Leased { key: confirmed_key(&key, id), value: modified.to_string() }
        }
        Action::SetLive(key, clients) => {
            Write::Leased { key: live_key(&key, id), value: clients.to_string() }
        }
        Action::DropLive(key) => Write::Delete { key: live_key(&key, id) },
        Action::SetDrain(key) => Write::Leased { key: drain_key(&key, id), value: String::new() },
        Action::DropDrain(key) => Write::Delete { key: drain_key(&key, id) },
        Action::Count(key, counted) => {
            let value = serde_json::to_string(&counted).unwrap_or_default();
            Write::Leased { key: count_key(&key, id), value }
        }
        Action::Prime(key, topics) => {
            shared.with(|state| state.priming(&key, &topics));
            tokio::spawn(prime_on(shared.clone(), key, topics));
            return Ok(());
        }
    };
    // Where another gateway was faster, the next look shows what it did.
    board.write(write).await.map(drop)
}

async fn prime_on(shared: Arc<Shared>, key: LaneKey, topics: BTreeSet<String>) {
    let primed = prime(&shared, &key, &topics).await;
    let problem = primed.as_ref().err().map(ToString::to_string);
    if shared.is_news(&key, problem.as_deref())
        && let Some(error) = &problem
    {
        tracing::warn!(lane = %key, %error, "the group of a lane cannot be made yet");
    }
    if problem.is_some() {
        sleep(PRIME_AGAIN).await;
    }
    shared.with(|state| state.primed(&key, &topics, primed.is_ok()));
    shared.notify();
}
