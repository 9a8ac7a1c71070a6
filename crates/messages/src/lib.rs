//! Message lanes: a gateway between clients and the proxies of RocketMQ 5.
//!
//! Answers: which version's consumers get a message, without a line of code at any client? Owns: the calls it edits on
//! their way, byte for byte but for the fields it knows, and who may take a lane's messages, which gateways agree upon by
//! keys that end with them. Never: keeps a message, or decides requests. Start at [`state::State`] for what is promised,
//! at [`receive`] for where it counts, and at [`gateway`] for where calls come in.

pub mod board;
mod calls;
mod consumers;
mod edit;
mod filter;
mod frames;
mod gateway;
mod keeper;
mod kept;
mod metrics;
mod mutation;
mod prime;
mod producers;
mod receive;
mod report;
mod sessions;
mod shared;
pub mod state;
mod streams;
mod upstream;
mod watched;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use graygate_rules::spec::MessageGroup;
use graygate_store::board::Place;
use graygate_telemetry::Registry;
use tokio::sync::watch;

pub use gateway::Listener;
pub use report::{LaneReport, reports};

use metrics::Metrics;
use shared::Shared;
use state::{Group, State};
use upstream::Upstreams;

/// How long clients wait for a gateway that has just begun and cannot reach its board.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// What a gateway is made of.
pub struct Settings {
    /// Who it is among gateways.
    pub id: String,
    pub listen: Vec<Listener>,
    /// The RocketMQ proxies behind, as `host:port`.
    pub proxies: Vec<String>,
    pub place: Place,
}

/// The gateway of one process.
pub struct Gateway {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    place: Place,
    /// `None` until documents have been read: what they do not say yet is not taken back.
    declared: watch::Sender<Option<Vec<Group>>>,
}

impl Gateway {
    pub fn new(settings: Settings, registry: &Registry) -> Gateway {
        let upstreams = Upstreams::new(&settings.proxies);
        let shared = Shared::new(State::new(&settings.id), upstreams, Metrics::new(registry));
        Gateway {
            shared: Arc::new(shared),
            listeners: settings.listen,
            place: settings.place,
            declared: watch::Sender::new(None),
        }
    }

    /// What documents say from now on.
    pub fn declare(&self, groups: &[MessageGroup]) {
        let groups: Vec<Group> = groups.iter().map(declared).collect();
        self.declared.send_if_modified(|before| {
            let is_other = before.as_ref() != Some(&groups);
            *before = Some(groups);
            is_other
        });
    }

    /// Serves until the shutdown; returns once its keys are given back.
    pub async fn run(self: Arc<Self>, shutdown: watch::Receiver<bool>) {
        let serve = |listener: &Listener| {
            let (shared, listener) = (self.shared.clone(), listener.clone());
            tokio::spawn(async move {
                // Who does not know yet which lanes there are would hand out their messages as those of base.
                let _ = shared.until(FIRST_LOOK, |state, _| state.is_settled()).await;
                gateway::serve(shared, listener).await;
            })
        };
        let serving: Vec<_> = self.listeners.iter().map(serve).collect();
        let declared = self.declared.subscribe();
        keeper::keep(self.shared.clone(), self.place.clone(), declared, shutdown).await;
        for task in serving {
            task.abort();
        }
    }

    /// What is known of every lane.
    pub fn reports(&self) -> Vec<LaneReport> {
        self.shared.with(|state| state.view().map(reports).unwrap_or_default())
    }
}

fn declared(group: &MessageGroup) -> Group {
    let text = |label: &graygate_rules::vocab::Label| label.to_string();
    Group {
        name: text(&group.group),
        topics: group.topics.iter().map(text).collect(),
        lanes: group.lanes.iter().map(text).collect(),
        takeover: group.takeover,
        addresses: group.addresses.iter().map(|(address, version)| (*address, text(version))).collect(),
    }
}
