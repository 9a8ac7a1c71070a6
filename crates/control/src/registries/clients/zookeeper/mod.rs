//! ZooKeeper: the children of a service's node, watched.
//!
//! Owns: one link: listing with watches, and listing again what an event names. A watch tells once, so a caller that is told
//! reads again with a new one; on a new connection everything is read again. Never: writes.

mod connection;
mod node;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::connection::{Connection, NoAnswer};
use self::wire::Watching;
use super::super::entry::Answer;
use super::super::link::{Client, Line, LinkError, Query, within};
use super::super::settings::ZooKeeperSettings;

/// For `ask`, which waits for nothing else.
const ASK_LIMIT: Duration = Duration::from_secs(5);

pub struct ZooKeeper {
    settings: ZooKeeperSettings,
}

/// What is known of the nodes of one service; content is read again when an event names its node.
type Nodes = HashMap<String, Bytes>;

impl ZooKeeper {
    pub fn new(settings: ZooKeeperSettings) -> ZooKeeper {
        ZooKeeper { settings }
    }

    async fn open(&self, server: usize) -> Result<Connection, LinkError> {
        let address = self.settings.addresses.get(server).map_or("", String::as_str);
        Connection::open(address, self.settings.auth.as_ref()).await
    }

    fn path(&self, query: &Query) -> String {
        format!("{}/{}", self.settings.path.trim_end_matches('/'), query.name)
    }

    /// Lists a service; what `nodes` has is not read again.
    async fn list(
        &self,
        connection: &mut Connection,
        (query, nodes): (&Query, &mut Nodes),
        watching: Watching,
    ) -> Result<Answer, NoAnswer> {
        let path = self.path(query);
        let children = match connection.children(&path, watching).await {
            Err(NoAnswer::Absent) => {
                nodes.clear();
                match watching {
                    // It may come to be between the two questions: then it is there, and is listed.
                    Watching::Yes => match connection.watch_existence(&path).await {
                        Err(NoAnswer::Absent) => return Ok(Answer::default()),
                        Err(other) => return Err(other),
                        Ok(()) => connection.children(&path, watching).await?,
                    },
                    Watching::No => return Ok(Answer::default()),
                }
            }
            other => other?,
        };
        nodes.retain(|name, _| children.contains(name));
        let mut answer = Answer::default();
        for child in &children {
            if !nodes.contains_key(child) {
                match connection.content(&format!("{path}/{child}"), watching).await {
                    Ok(content) => drop(nodes.insert(child.clone(), content)),
                    Err(NoAnswer::Absent) => continue, // gone since it was listed
                    Err(NoAnswer::Forbidden) => {
                        answer.take(child, Err("it may not be read".to_owned()));
                        continue;
                    }
                    Err(lost) => return Err(lost),
                }
            }
            if let Some(content) = nodes.get(child) {
                answer.take(child, node::entry(self.settings.layout, child, content));
            }
        }
        Ok(answer)
    }

    async fn run(&self, server: usize, line: &mut Line) -> Result<(), LinkError> {
        let mut connection = self.open(server).await?;
        line.up().await;
        let mut known: HashMap<Query, Nodes> = HashMap::new();
        self.tell_new(&mut connection, &mut known, line).await?;
        loop {
            tokio::select! {
                changed = connection.changed() => {
                    let path = changed?;
                    if let Some(query) = self.query_of(&path, &mut known) {
                        self.tell(&mut connection, (&query, &mut known), line).await?;
                    }
                }
                () = line.wanted_changed() => self.tell_new(&mut connection, &mut known, line).await?,
            }
        }
    }

    /// The service whose node, or whose child's node, this is. What was read of the child is forgotten.
    fn query_of(&self, path: &str, known: &mut HashMap<Query, Nodes>) -> Option<Query> {
        for (query, nodes) in known {
            let of_service = self.path(query);
            match path.strip_prefix(&of_service) {
                Some("") => return Some(query.clone()),
                Some(rest) if rest.starts_with('/') => {
                    nodes.remove(rest.trim_start_matches('/'));
                    return Some(query.clone());
                }
                _ => {}
            }
        }
        None
    }

    async fn tell_new(
        &self,
        connection: &mut Connection,
        known: &mut HashMap<Query, Nodes>,
        line: &mut Line,
    ) -> Result<(), LinkError> {
        let wanted = line.wanted();
        known.retain(|query, _| wanted.contains(query));
        for query in wanted.iter() {
            if !known.contains_key(query) {
                self.tell(connection, (query, known), line).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        connection: &mut Connection,
        (query, known): (&Query, &mut HashMap<Query, Nodes>),
        line: &Line,
    ) -> Result<(), LinkError> {
        let nodes = known.entry(query.clone()).or_default();
        match self.list(connection, (query, nodes), Watching::Yes).await {
            Ok(answer) => line.shows(query, answer).await,
            // Gone again while it was listed: the event about it is on its way.
            Err(NoAnswer::Absent) => {}
            Err(NoAnswer::Forbidden) => {
                line.silent(query, format!("`{}` may not be read", self.path(query))).await;
            }
            Err(NoAnswer::Lost(lost)) => return Err(lost),
        }
        Ok(())
    }
}

#[async_trait]
impl Client for ZooKeeper {
    fn servers(&self) -> &[String] {
        &self.settings.addresses
    }

    async fn link(&self, server: usize, line: &mut Line) -> LinkError {
        match self.run(server, line).await {
            Ok(()) => LinkError::Lost("the session ended".to_owned()),
            Err(lost) => lost,
        }
    }

    async fn ask(&self, server: usize, query: &Query) -> Result<Answer, LinkError> {
        within(ASK_LIMIT, "a second look", async {
            let mut connection = self.open(server).await?;
            let refused = |no: NoAnswer| match no {
                NoAnswer::Lost(lost) => lost,
                NoAnswer::Absent => LinkError::Refused("the node is gone".to_owned()),
                NoAnswer::Forbidden => LinkError::Refused("the node may not be read".to_owned()),
            };
            match connection.sync(&self.path(query)).await {
                Ok(()) | Err(NoAnswer::Absent) => {}
                Err(other) => return Err(refused(other)),
            }
            let mut nodes = Nodes::new();
            self.list(&mut connection, (query, &mut nodes), Watching::No).await.map_err(refused)
        })
        .await
    }
}
