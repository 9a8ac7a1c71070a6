//! Nacos 2.x and 3.x: subscriptions over gRPC, pushed.
//!
//! Owns: one link (who we are, subscriptions, pushes and their answers, signs of life) and logging in. A server that
//! sends us to another one is obeyed only as far as the settings name it: the link ends, and the next one is tried.

mod connection;
mod service;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use self::connection::Connection;
use self::service::ServiceInfo;
use self::wire::Envelope;
use super::super::entry::Answer;
use super::super::link::{Client, Line, LinkError, Query, within};
use super::super::settings::NacosSettings;

/// A server that is silent for this time and one answer's limit is away.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How soon every service is asked for once more: servers gather changes for up to a second before they push them, and
/// a push may be lost.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// Between two such questions: with very many services the push comes first.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// For `ask`, which waits for nothing else.
const ASK_LIMIT: Duration = Duration::from_secs(5);

pub struct Nacos {
    settings: NacosSettings,
}

impl Nacos {
    pub fn new(settings: NacosSettings) -> Nacos {
        Nacos { settings }
    }

    fn address(&self, server: usize) -> &str {
        self.settings.addresses.get(server).map_or("", String::as_str)
    }

    fn query_request(&self, query: &Query) -> Value {
        json!({
            "namespace": self.settings.namespace, "serviceName": query.name, "groupName": self.settings.group,
            "cluster": self.settings.clusters.join(","), "healthyOnly": false, "udpPort": 0, "module": "naming",
        })
    }
}

#[async_trait]
impl Client for Nacos {
    fn servers(&self) -> &[String] {
        &self.settings.addresses
    }

    async fn link(&self, server: usize, line: &mut Line) -> LinkError {
        match Session::open(self, server).await {
            Ok(session) => match session.run(line).await {
                Ok(never) => match never {},
                Err(lost) => lost,
            },
            Err(refused) => refused,
        }
    }

    async fn ask(&self, server: usize, query: &Query) -> Result<Answer, LinkError> {
        within(ASK_LIMIT, "a second look", async {
            let mut session = Session::open(self, server).await?;
            Ok(session.query(query).await?.answer)
        })
        .await
    }
}

/// A link that stands.
struct Session<'c> {
    client: &'c Nacos,
    connection: Connection,
    /// What was told last of each service, and when that list was made: pushes and answers overtake each other.
    told: HashMap<String, ServiceInfo>,
    subscribed: BTreeSet<Query>,
    /// The service that was asked for last.
    looked_at: Option<Query>,
}

enum Never {}

impl<'c> Session<'c> {
    async fn open(client: &'c Nacos, server: usize) -> Result<Session<'c>, LinkError> {
        let connection = Connection::open(&client.settings, client.address(server)).await?;
        Ok(Session { client, connection, told: HashMap::new(), subscribed: BTreeSet::new(), looked_at: None })
    }

    async fn run(mut self, line: &mut Line) -> Result<Never, LinkError> {
        line.up().await;
        self.subscribe(line).await?;
        let mut alive = tokio::time::interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_at = Instant::now() + LOOK_AGAIN;
        loop {
            tokio::select! {
                pushed = self.connection.pushed() => self.take(pushed?, line).await?,
                () = line.wanted_changed() => self.subscribe(line).await?,
                _ = alive.tick() => {
                    self.connection.request("HealthCheckRequest", json!({"module": "internal"})).await?;
                }
                () = tokio::time::sleep_until(look_at) => {
                    self.look(line).await?;
                    let services = u32::try_from(self.subscribed.len()).unwrap_or(u32::MAX).max(1);
                    look_at = Instant::now() + (LOOK_AGAIN / services).max(BETWEEN_LOOKS);
                }
            }
        }
    }

    /// Subscribes what is wanted and is not subscribed yet, and takes back what is not wanted any more.
    async fn subscribe(&mut self, line: &mut Line) -> Result<(), LinkError> {
        let wanted = line.wanted();
        let gone: Vec<Query> = self.subscribed.difference(&wanted).cloned().collect();
        for query in gone {
            self.subscription(&query, false).await?;
            self.subscribed.remove(&query);
            self.told.remove(&query.name);
        }
        for query in wanted.iter() {
            if self.subscribed.insert(query.clone()) {
                let info = self.subscription(query, true).await?;
                self.tell(query, info, line).await;
            }
        }
        Ok(())
    }

    async fn subscription(&mut self, query: &Query, subscribe: bool) -> Result<ServiceInfo, LinkError> {
        let settings = &self.client.settings;
        let body = json!({
            "namespace": settings.namespace, "serviceName": query.name, "groupName": settings.group,
            "subscribe": subscribe, "clusters": settings.clusters.join(","), "module": "naming",
        });
        let answer = self.connection.request("SubscribeServiceRequest", body).await?;
        Ok(self.read(&answer))
    }

    async fn query(&mut self, query: &Query) -> Result<ServiceInfo, LinkError> {
        let answer = self.connection.request("ServiceQueryRequest", self.client.query_request(query)).await?;
        Ok(self.read(&answer))
    }

    /// Asks for the next service in turn.
    async fn look(&mut self, line: &mut Line) -> Result<(), LinkError> {
        let behind = self.looked_at.take();
        let next = self.subscribed.iter().find(|query| behind.as_ref().is_none_or(|behind| *query > behind));
        let Some(query) = next.or_else(|| self.subscribed.first()).cloned() else { return Ok(()) };
        let info = self.query(&query).await?;
        self.tell(&query, info, line).await;
        self.looked_at = Some(query);
        Ok(())
    }

    fn read(&self, answer: &Value) -> ServiceInfo {
        let info = answer.get("serviceInfo").unwrap_or(&Value::Null);
        ServiceInfo::read(info, &self.client.settings.clusters)
    }

    async fn tell(&mut self, query: &Query, info: ServiceInfo, line: &Line) {
        let told = self.told.get(&query.name);
        if told.is_some_and(|told| told.made_at > info.made_at) {
            return;
        }
        let is_news = told.is_none_or(|told| told.answer != info.answer);
        if is_news {
            line.shows(query, info.answer.clone()).await;
        }
        self.told.insert(query.name.clone(), info);
    }

    async fn take(&mut self, pushed: Envelope, line: &Line) -> Result<(), LinkError> {
        let body = pushed.json()?;
        let answered = json!({
            "resultCode": 200, "success": true, "requestId": body.get("requestId").unwrap_or(&Value::Null),
        });
        match pushed.kind() {
            "NotifySubscriberRequest" => {
                self.connection.answer("NotifySubscriberResponse", &answered).await?;
                let info = self.read(&body);
                let of_group = body.get("groupName").and_then(Value::as_str);
                let is_ours = of_group.is_none_or(|group| group == self.client.settings.group);
                let query = self.subscribed.iter().find(|query| is_ours && query.name == info.name).cloned();
                if let Some(query) = query {
                    self.tell(&query, info, line).await;
                }
                Ok(())
            }
            "ClientDetectionRequest" => self.connection.answer("ClientDetectionResponse", &answered).await,
            "ConnectResetRequest" => {
                self.connection.answer("ConnectResetResponse", &answered).await?;
                Err(LinkError::Lost("the server asks to connect elsewhere".to_owned()))
            }
            // Newer servers have more to tell, which is not for us.
            _ => Ok(()),
        }
    }
}
