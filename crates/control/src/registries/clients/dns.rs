//! DNS: SRV records, or addresses with a port that the service names; asked again when an answer has expired.
//!
//! Owns: questions to one server, and the difference between "stranger" (an answer without records) and "no answer" (no
//! such name, a failure, silence), which keeps what there was. Never: a cache, the machine's own resolver.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::Instant;

use super::super::entry::{Answer, Entry};
use super::super::link::{Client, Line, LinkError, Query};
use super::super::settings::DnsSettings;

/// How long an answer counts: a zone of 0 s would be asked without end, one of a day would hide every change.
const LIFE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// After no answer the name is asked for again.
const AGAIN: Duration = Duration::from_secs(2);
/// One question over UDP, and over TCP where the answer was cut short.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Most targets of one name.
const TARGET_LIMIT: usize = 1_000;

pub struct Dns {
    settings: DnsSettings,
    names: Vec<String>,
}

/// An answer, and how long it counts.
struct Found {
    answer: Answer,
    life: Duration,
}

enum NoAnswer {
    /// The server works, and says nothing about this name.
    Silent(String),
    Lost(LinkError),
}

impl Dns {
    pub fn new(settings: DnsSettings) -> Dns {
        let names = settings.servers.iter().map(ToString::to_string).collect();
        Dns { settings, names }
    }

    fn resolver(&self, server: usize) -> Result<TokioResolver, LinkError> {
        let address =
            self.settings.servers.get(server).ok_or_else(|| LinkError::Connect("no server".into()))?;
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = ANSWER_LIMIT;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options).build().map_err(|error| LinkError::Connect(error.to_string()))
    }

    async fn run(&self, server: usize, line: &mut Line) -> Result<(), LinkError> {
        let resolver = self.resolver(server)?;
        let mut due: HashMap<Query, Instant> = HashMap::new();
        let mut is_up = false;
        loop {
            let wanted = line.wanted();
            due.retain(|query, _| wanted.contains(query));
            for query in wanted.iter() {
                if due.get(query).is_some_and(|at| *at > Instant::now()) {
                    continue;
                }
                let found = look_up(&resolver, query).await;
                if let Err(NoAnswer::Lost(lost)) = found {
                    return Err(lost);
                }
                if !is_up {
                    line.up().await;
                    is_up = true;
                }
                let life = match found {
                    Ok(found) => {
                        line.shows(query, found.answer).await;
                        found.life
                    }
                    Err(NoAnswer::Silent(why)) => {
                        line.silent(query, why).await;
                        AGAIN
                    }
                    Err(NoAnswer::Lost(lost)) => return Err(lost),
                };
                due.insert(query.clone(), Instant::now() + life);
            }
            let next = due.values().min().copied().unwrap_or_else(|| Instant::now() + LIFE.1);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = line.wanted_changed() => {}
            }
        }
    }
}

#[async_trait]
impl Client for Dns {
    fn servers(&self) -> &[String] {
        &self.names
    }

    async fn link(&self, server: usize, line: &mut Line) -> LinkError {
        match self.run(server, line).await {
            Ok(()) => LinkError::Lost("the link ended".to_owned()),
            Err(lost) => lost,
        }
    }

    async fn ask(&self, server: usize, query: &Query) -> Result<Answer, LinkError> {
        match look_up(&self.resolver(server)?, query).await {
            Ok(found) => Ok(found.answer),
            Err(NoAnswer::Silent(why)) => Err(LinkError::Refused(why)),
            Err(NoAnswer::Lost(lost)) => Err(lost),
        }
    }
}

async fn look_up(resolver: &TokioResolver, query: &Query) -> Result<Found, NoAnswer> {
    // A final dot: names are taken as they are written.
    let name = Name::from_utf8(format!("{}.", query.name.trim_end_matches('.')));
    let name = name.map_err(|error| NoAnswer::Silent(format!("`{}` is not a name: {error}", query.name)))?;
    match query.port {
        Some(port) => addresses(resolver, name, port).await,
        None => services(resolver, name).await,
    }
}

async fn addresses(resolver: &TokioResolver, name: Name, port: u16) -> Result<Found, NoAnswer> {
    let (hosts, life) = hosts(resolver, &name, None).await?;
    let mut answer = Answer::default();
    for host in hosts {
        answer.take("", Ok(entry(host, port, (&name, None))));
    }
    Ok(Found { answer, life })
}

async fn services(resolver: &TokioResolver, name: Name) -> Result<Found, NoAnswer> {
    let Some(lookup) = records(resolver, name, RecordType::SRV).await? else {
        return Ok(Found { answer: Answer::default(), life: LIFE.0 });
    };
    let targets: Vec<(&SRV, u32)> = lookup.answers().iter().filter_map(service).collect();
    let mut life = LIFE.1;
    let first = targets.iter().map(|(target, _)| target.priority).min();
    // With all weights 0 the targets are equal.
    let is_weighted = targets.iter().any(|(target, _)| target.weight > 0);
    let mut answer = Answer::default();
    for (target, ttl) in targets.iter().take(TARGET_LIMIT) {
        life = life.min(Duration::from_secs(u64::from(*ttl)));
        // A target of the root alone says that the service is not offered here.
        if Some(target.priority) != first || target.target.is_root() {
            continue;
        }
        let (hosts, of_host) = hosts(resolver, &target.target, Some(&lookup)).await?;
        life = life.min(of_host);
        if hosts.is_empty() {
            answer.take(&target.target.to_utf8(), Err("the target has no address".to_owned()));
        }
        let weight = is_weighted.then(|| u32::from(target.weight).max(1));
        for host in hosts {
            answer.take("", Ok(entry(host, target.port, (&target.target, weight))));
        }
    }
    Ok(Found { answer, life: life.clamp(LIFE.0, LIFE.1) })
}

fn service(record: &Record) -> Option<(&SRV, u32)> {
    match &record.data {
        RData::SRV(service) => Some((service, record.ttl)),
        _ => None,
    }
}

/// The addresses of a host: those of IPv4 or, where it has none, of IPv6, as both would be one instance twice.
async fn hosts(
    resolver: &TokioResolver,
    name: &Name,
    beside: Option<&Lookup>,
) -> Result<(Vec<IpAddr>, Duration), NoAnswer> {
    let of_host = |record: &&Record| record.name == *name;
    let known = beside.map(|lookup| lookup.additionals().iter().filter(of_host).cloned().collect());
    let known: Vec<Record> = known.unwrap_or_default();
    let mut found = read_addresses(&known);
    for kind in [RecordType::A, RecordType::AAAA] {
        if found.0.is_empty()
            && let Some(lookup) = records(resolver, name.clone(), kind).await?
        {
            found = read_addresses(lookup.answers());
        }
    }
    Ok((found.0, found.1.clamp(LIFE.0, LIFE.1)))
}

fn read_addresses(records: &[Record]) -> (Vec<IpAddr>, Duration) {
    let read = |record: &Record| match &record.data {
        RData::A(address) => Some((IpAddr::V4(address.0), record.ttl)),
        RData::AAAA(address) => Some((IpAddr::V6(address.0), record.ttl)),
        _ => None,
    };
    let mut found: Vec<(IpAddr, u32)> = records.iter().filter_map(read).collect();
    if found.iter().any(|(address, _)| address.is_ipv4()) {
        found.retain(|(address, _)| address.is_ipv4());
    }
    let life = found.iter().map(|(_, ttl)| Duration::from_secs(u64::from(*ttl))).min().unwrap_or(LIFE.0);
    (found.into_iter().map(|(address, _)| address).collect(), life)
}

/// Asks once; `None`: the name is there and has none of these.
async fn records(resolver: &TokioResolver, name: Name, kind: RecordType) -> Result<Option<Lookup>, NoAnswer> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(Some(lookup)),
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. }))) => {
            match response_code {
                ResponseCode::NoError => Ok(None),
                code => Err(NoAnswer::Silent(format!("`{name}` {kind}: {code}"))),
            }
        }
        Err(NetError::Dns(error)) => Err(NoAnswer::Silent(format!("`{name}` {kind}: {error}"))),
        Err(error) => Err(NoAnswer::Lost(LinkError::Lost(error.to_string()))),
    }
}

/// `label`, the first part of the host's name, can be the version.
fn entry(host: IpAddr, port: u16, (target, weight): (&Name, Option<u32>)) -> Entry {
    let target = target.to_utf8();
    let label = target.split('.').next().unwrap_or_default().to_owned();
    let metadata =
        [("label".to_owned(), label), ("target".to_owned(), target.trim_end_matches('.').to_owned())];
    Entry { host: host.to_string(), port, metadata: metadata.into(), weight, ..Entry::default() }
}
