//! Making a lane's group at the brokers: it begins at the end of every queue, before the first message is marked.
//!
//! One receive on every broker with the lane's filter matches nothing and leaves an offset behind on every queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;

use super::board::LaneKey;
use super::calls::{CLIENT_ID, Call, TIMEOUT};
use super::edit::{self, of_lane};
use super::filter::{self, Part};
use super::frames::{BoxError, Cut, cut, framed};
use super::sessions::{Speaker, settings};
use super::shared::Shared;
use super::upstream::{Upstreams, whole};
use super::wire;

/// Headers that proxies expect of every client.
const HEADERS: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("x-mq-language"), "JAVA"),
    (HeaderName::from_static("x-mq-client-version"), "5.0.0"),
    (HeaderName::from_static("x-mq-protocol"), "v2"),
    (http::header::TE, "trailers"),
];
const OK: u64 = 20_000;
const MESSAGE_NOT_FOUND: u64 = 40_401;
/// The shortest that proxies take, and one that is long enough for nothing.
const POLL_SECONDS: u64 = 5;
const INVISIBLE_SECONDS: u64 = 30;
/// A receive without a deadline is refused; it has to be longer than the poll.
const RECEIVE_TIMEOUT: &str = "15S";

/// Primes the group of a lane on all brokers of these topics.
pub async fn prime(shared: &Shared, key: &LaneKey, topics: &BTreeSet<String>) -> Result<(), BoxError> {
    let gateway = shared.with(|state| state.id().to_owned());
    let client = of_lane(&format!("graygate@{gateway}@{}", key.group), &key.lane);
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CLIENT_ID, HeaderValue::from_str(&client)?);
    let group = of_lane(&key.group, &key.lane);
    let settings = settings(&group, topics)?;
    let speaker = Speaker { client: client.clone(), headers: headers.clone(), settings };
    shared.sessions.ensure(&key.lane, speaker).await?;
    alike(shared, key, &headers, topics).await?;
    let mark = shared
        .with(|state| state.view().and_then(|view| view.mark(key)))
        .ok_or("the lane is no longer there")?;
    // Side by side: each topic takes one poll.
    let mut asking = JoinSet::new();
    for topic in topics {
        let (client, headers, group) = (client.clone(), headers.clone(), group.clone());
        let asked = Asked { client, headers, group, topic: topic.clone() };
        asking.spawn(asked.prime(shared.upstreams.clone(), mark.clone()));
    }
    let mut primed = Ok(());
    while let Some(one) = asking.join_next().await {
        primed = primed.and(one?);
    }
    shared.sessions.close(&client).await;
    primed
}

/// A lane's group has to hand out in order, and again after a failure, as the group itself does.
async fn alike(
    shared: &Shared,
    key: &LaneKey,
    headers: &HeaderMap,
    topics: &BTreeSet<String>,
) -> Result<(), BoxError> {
    const RETRIES: &[u64] = &[2, 3];
    const IN_ORDER: &[u64] = &[2, 6, 3];
    let group = of_lane(&key.group, &key.lane);
    let mut answers = Vec::new();
    for (number, group) in [&key.group, &group].into_iter().enumerate() {
        let client =
            format!("graygate@{}@{}@{number}", shared.with(|state| state.id().to_owned()), key.group);
        let mut headers = headers.clone();
        headers.insert(CLIENT_ID, HeaderValue::from_str(&client)?);
        let speaker = Speaker { client, headers, settings: settings(group, topics)? };
        answers.push(shared.sessions.answer(speaker).await?);
    }
    let [own, of_lane] = answers.as_slice() else { return Ok(()) };
    let differs = match () {
        () if wire::number(own, IN_ORDER)? != wire::number(of_lane, IN_ORDER)? => "receives in order",
        () if wire::get(own, RETRIES)? != wire::get(of_lane, RETRIES)? => "retries",
        () => return Ok(()),
    };
    Err(format!(
        "`{}` {differs} and `{group}` does not, or otherwise; make the second with `mqadmin updateSubGroup` as the first",
        key.group
    )
    .into())
}

/// Whose receives, and of what.
struct Asked {
    client: String,
    headers: HeaderMap,
    group: String,
    topic: String,
}

impl Asked {
    async fn prime(self, upstreams: Arc<Upstreams>, mark: String) -> Result<(), BoxError> {
        let route = wire::set(&[], edit::topic::FIRST, self.topic.as_bytes())?;
        // Where queues are is told to one who says where it asks; any address will do.
        let mut address = Vec::new();
        wire::put(&mut address, 1, b"127.0.0.1");
        wire::put_number(&mut address, 2, 8_081);
        let mut endpoints = Vec::new();
        wire::put_number(&mut endpoints, 1, 1);
        wire::put(&mut endpoints, 2, &address);
        let route = wire::set(&route, &[2], &endpoints)?;
        let headers = self.headers.clone();
        let answered = upstreams.unary(&self.client, &Call::QueryRoute.path(), headers, &route).await?;
        let message = answered.message.ok_or("no route")?;
        let code = wire::number(&message, &[1, 1])?;
        if code != OK {
            let why = wire::text(&message, &[1, 2])?;
            return Err(format!("the topic `{}` has no route ({code}): {why}", self.topic).into());
        }
        let mut brokers = BTreeSet::new();
        for queue in wire::each(&message, 2)? {
            // One queue a broker: a broker looks at all of a topic's queues for one receive.
            if brokers.insert(wire::text(queue, &[4, 1])?.to_owned()) {
                self.receive(&upstreams, queue, &mark).await?;
            }
        }
        Ok(())
    }

    async fn receive(&self, upstreams: &Upstreams, queue: &[u8], mark: &str) -> Result<(), BoxError> {
        let mut request = wire::set(&[], edit::group::FIRST, self.group.as_bytes())?;
        wire::put(&mut request, 2, queue);
        wire::put(&mut request, 3, &filter::narrowed(&filter::all(), &Part::Lane(mark))?);
        wire::put_number(&mut request, 4, 1);
        wire::put(&mut request, 5, &edit::duration(INVISIBLE_SECONDS));
        wire::put(&mut request, 7, &edit::duration(POLL_SECONDS));
        let (path, mut headers) = (Call::ReceiveMessage.path(), self.headers.clone());
        headers.insert(TIMEOUT, HeaderValue::from_static(RECEIVE_TIMEOUT));
        let response = upstreams.call(&self.client, &path, headers, whole(framed(&request))).await?;
        let collected = response.into_body().collect().await?.to_bytes();
        let mut answers = BytesMut::from(collected.as_ref());
        let mut status = Bytes::new();
        while let Cut::Message(answer) = cut(&mut answers) {
            if wire::get(&answer, &[1])?.is_some() {
                status = answer;
            }
        }
        let message = status;
        match wire::number(&message, &[1, 1])? {
            OK | MESSAGE_NOT_FOUND => Ok(()),
            code => {
                Err(format!("a first receive was refused ({code}): {}", wire::text(&message, &[1, 2])?)
                    .into())
            }
        }
    }
}
