//! A control process from its file to its end: what is opened, in which order, and what runs beside the listener.
//!
//! Owns: wiring. Never: logic. Start at [`Plane::open`], then [`Plane::serve`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use graygate_store::directory::{self, DirectorySettings};
use graygate_store::{SourceKind, SourceStatus, etcd};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::{Front, Site, router};
use crate::certificates::Certificates;
use crate::control::{Control, Live, Stranger, SystemClock};
use crate::notices::{Channels, Delivery, Pace};
use crate::oidc::Provider;
use crate::registries::config::Registries;
use crate::serve::serve;
use crate::settings::{Config, DocumentsFrom};
use crate::state::{Archived, Etcd, Holder, Leadership, Memory, Sqlite, State};

/// Between two looks at what is due: sums of refusals, and the like.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// What the audit and documents' histories may take of etcd.
const AUDIT_ROOM: u64 = 256 << 20;

/// A control plane that is ready to serve.
pub struct Plane {
    pub control: Arc<Control>,
    pub front: Arc<Front>,
    documents: DocumentsFrom,
    registries: Registries,
    certificates: Option<Arc<Certificates>>,
    listener: TcpListener,
    shutdown: watch::Receiver<bool>,
}

/// What a control plane keeps its records in.
pub struct Opened {
    pub state: Arc<dyn State>,
    pub leadership: Leadership,
    /// With etcd and a `state`: where old records of the audit go.
    pub archive: Option<Arc<Archived>>,
    /// The database below `state` beside etcd.
    pub local: Option<Arc<dyn State>>,
}

/// Opens the state that a file names, for a process or for a command beside it.
pub async fn open_state(
    config: &Config,
    holder: Holder,
    shutdown: watch::Receiver<bool>,
) -> Result<Opened, String> {
    match &config.documents {
        DocumentsFrom::Directory(documents) => {
            let state = config.state.as_deref().unwrap_or_else(|| Path::new("."));
            let opened = Sqlite::open(state, Some(documents), holder).map_err(|error| error.to_string())?;
            let opened = Arc::new(opened);
            if holder == Holder::Service {
                tokio::spawn(Sqlite::follow(Arc::downgrade(&opened)));
            }
            Ok(Opened { state: opened, leadership: Leadership::alone(), archive: None, local: None })
        }
        DocumentsFrom::Etcd(settings) => {
            let etcd = Arc::new(Etcd::new(settings.clone(), &config.state_prefix));
            // The lock of this one keeps a second process out.
            let cold = config.state.as_deref().map(|state| Sqlite::open(state, None, holder)).transpose();
            let cold = cold.map_err(|error| error.to_string())?;
            let leadership = match holder {
                Holder::Command => Leadership::alone(),
                Holder::Service => {
                    let (follower, until) = (etcd.clone(), shutdown.clone());
                    tokio::spawn(async move { follower.follow(until).await });
                    let name = format!("{}-{}", config.listen.address, std::process::id());
                    Leadership::among(settings.clone(), &config.state_prefix, name, shutdown)
                }
            };
            let local = cold.map(|cold| -> Arc<dyn State> { Arc::new(cold) });
            let archive = local.clone().map(|local| Arc::new(Archived::new(etcd.clone(), local)));
            let state: Arc<dyn State> = match &archive {
                Some(archive) => archive.clone(),
                None => etcd,
            };
            Ok(Opened { state, leadership, archive, local })
        }
    }
}

impl Plane {
    /// Opens everything that a start can fail at.
    pub async fn open(config: &Config, shutdown: watch::Receiver<bool>) -> Result<Plane, String> {
        let certificates = config.listen.certificates.as_deref().map(Certificates::open).transpose()?;
        let Opened { state, leadership, archive, local } =
            open_state(config, Holder::Service, shutdown.clone()).await?;
        let address = config.listen.address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let mut control = Control::new(state, Arc::new(SystemClock), config.sessions);
        control.four_eyes = config.four_eyes.clone();
        control.hospital = config.hospital.clone().map(Arc::new);
        control.oidc = config.oidc.clone().map(|settings| Arc::new(Provider::new(settings)));
        control.leadership = leadership;
        control.measures = config.measures.clone();
        if let DocumentsFrom::Etcd(_) = &config.documents {
            // The figures of each second.
            control.figures = local.unwrap_or_else(|| Arc::new(Memory::default()));
            control.audit_room = Some(AUDIT_ROOM);
        }
        control.archive = archive;
        control.audit_kept = config.audit_kept;
        control.stranger = match config.documents {
            DocumentsFrom::Directory(_) => Stranger::File,
            DocumentsFrom::Etcd(_) => Stranger::Etcd,
        };
        let front = Front {
            hosts: config.listen.hosts.clone(),
            address: address.ip(),
            secure: config.listen.certificates.is_some() || config.listen.behind_tls,
            behind_tls: config.listen.behind_tls,
            trust: config.trust.clone(),
            path: config.listen.path.clone(),
        };
        let base = front.url(listener.local_addr().map_err(|error| error.to_string())?);
        control.channels = Channels::new(config.channels.clone(), base);
        control.live = Live::new(config);
        if let DocumentsFrom::Directory(path) = &config.documents {
            let set = directory::load(path).map_err(|error| error.to_string())?;
            control.begin(set).await.map_err(|error| error.to_string())?;
        }
        Ok(Plane {
            control: Arc::new(control),
            front: Arc::new(front),
            shutdown,
            documents: config.documents.clone(),
            registries: config.registries.clone(),
            certificates,
            listener,
        })
    }

    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the shutdown.
    pub async fn serve(self, rooms: Router<Site>) -> Result<(), String> {
        let notices = tokio::spawn(delivery(&self.control).run());
        let messenger = self.control.clone();
        let messages = tokio::spawn(async move { messenger.follow_messages().await });
        let shutdown = self.shutdown;
        let (updates, mut incoming) = watch::channel(None);
        match self.documents.clone() {
            DocumentsFrom::Directory(path) => {
                let status = Arc::new(SourceStatus::new(SourceKind::Directory, std::time::Instant::now()));
                let settings = DirectorySettings { path };
                tokio::spawn(directory::watch(settings, updates, status, shutdown.clone()));
            }
            DocumentsFrom::Etcd(settings) => {
                let status = Arc::new(SourceStatus::new(SourceKind::Etcd, std::time::Instant::now()));
                tokio::spawn(etcd::watch(settings, updates, status, shutdown.clone()));
            }
        }
        let control = self.control.clone();
        let is_begun = matches!(self.documents, DocumentsFrom::Directory(_));
        let follower = async move {
            if is_begun {
                return control.follow(incoming).await;
            }
            if incoming.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let first = incoming.borrow_and_update().clone();
            if let Some(update) = first {
                // The source may be there before the records are.
                while let Err(error) = control.begin((*update.set).clone()).await {
                    tracing::warn!(%error, "the documents are not taken up yet; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            control.follow(incoming).await;
        };
        let observer = self.control.clone();
        let (teller, values) = (self.control.clone(), self.control.clone());
        let tasks = [
            tokio::spawn(follower),
            tokio::spawn(housekeeping(self.control.clone())),
            tokio::spawn(self.control.clone().follow_registries(self.registries)),
            tokio::spawn(async move { observer.observe().await }),
            tokio::spawn(async move { teller.follow_plans().await }),
            tokio::spawn(self.control.clone().lead_plans()),
            tokio::spawn(async move { values.follow_configs().await }),
        ];
        let tls = match &self.certificates {
            None => None,
            Some(certificates) => {
                tokio::spawn(certificates.clone().follow());
                Some(certificates.server()?)
            }
        };
        let site = Site { control: self.control, front: self.front };
        serve(self.listener, tls, router(site, rooms), shutdown).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        [notices, messages].iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    }
}

fn delivery(control: &Arc<Control>) -> Delivery {
    let (clock, counter) = (control.clock.clone(), control.clone());
    Delivery {
        state: control.state.clone(),
        leadership: control.leadership.clone(),
        channels: control.channels.all.clone(),
        base: control.channels.base.clone(),
        now: Arc::new(move || clock.now()),
        count: Arc::new(move |channel, outcome| counter.metrics.notice(channel, outcome.as_str())),
        pace: Pace::default(),
    }
}

async fn housekeeping(control: Arc<Control>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        control.sum_refusals().await;
        let leads = control.leadership.leads();
        control.metrics.lead(leads);
        if !leads {
            continue;
        }
        let due = async {
            control.tell_crowded().await?;
            control.shelve().await?;
            control.sweep().await
        };
        if let Err(error) = due.await {
            tracing::warn!(%error, "what is over could not be cleared away");
        }
    }
}
