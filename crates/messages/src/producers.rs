//! Messages on their way to a broker: marked where they belong to a lane.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::board::LaneKey;
use super::calls::{Call, Caller};
use super::edit;
use super::frames::Body;
use super::metrics::Direction;
use super::shared::{Failure, Shared, passed};
use super::wire;

/// Marked messages on their way: while there are some, their lane is not closed.
struct Sending {
    shared: Arc<Shared>,
    numbers: Vec<u64>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.shared.with(|state| {
            for number in &self.numbers {
                state.send_ended(*number);
            }
        });
    }
}

pub async fn send(shared: &Arc<Shared>, caller: Caller, request: Bytes) -> Result<Response<Body>, Failure> {
    const MESSAGES: u64 = 1;
    let mut sending = Sending { shared: shared.clone(), numbers: Vec::new() };
    let mut keys: Vec<LaneKey> = Vec::new();
    let edited = wire::change_each(&request, MESSAGES, |message| {
        let topic = wire::text(message, edit::topic::FIRST)?;
        let named = edit::named_lane(message)?;
        let marked = shared.with(|state| {
            let lane = state.producer_lane(topic, caller.version.as_deref(), caller.address).or(named)?;
            let (key, mark) = state.mark(topic, &lane)?;
            sending.numbers.push(state.send_begins(&key));
            Some((key, mark))
        });
        let Some((key, mark)) = marked else { return Ok(Some(message.to_vec())) };
        let message = edit::with_lane(message, &mark, &key.lane)?;
        keys.push(key);
        Ok(Some(message))
    })?;
    let headers = caller.headers.clone();
    let answered =
        shared.upstreams.unary(&caller.client, &Call::SendMessage.path(), headers, &edited).await?;
    for key in &keys {
        shared.metrics.count((&key.group, &key.lane), Direction::Sent, 1);
        shared.with(|state| state.count(key, 1, 0));
    }
    Ok(passed(answered, None))
}
