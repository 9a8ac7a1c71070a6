//! What a node of ZooKeeper says about an instance, in either layout.

use serde_json::Value;

use crate::registries::entry::{Entry, EntryState, metadata, plain_text, port};
use crate::registries::settings::Layout;

/// Reads the entry of a node with this name and content.
pub fn entry(layout: Layout, name: &str, content: &[u8]) -> Result<Entry, String> {
    match layout {
        Layout::Curator => curator(content),
        Layout::HostPort => host_port(name, content),
    }
}

/// `{name, id, address, port, sslPort, payload: {metadata: {...}}, ...}`; older payloads are the metadata themselves.
fn curator(content: &[u8]) -> Result<Entry, String> {
    let node: Value = serde_json::from_slice(content).map_err(|error| format!("no JSON: {error}"))?;
    let address = node.get("address").and_then(Value::as_str).filter(|text| !text.is_empty());
    let payload = node.get("payload");
    let described = payload.and_then(|payload| payload.get("metadata")).or(payload);
    let of_port = node.get("port").filter(|port| !port.is_null()).or_else(|| node.get("sslPort"));
    with_metadata(address.ok_or("there is no address")?.to_owned(), port(of_port)?, described)
}

/// The name is `host_port`, the content a map of metadata, or a word that says nothing.
fn host_port(name: &str, content: &[u8]) -> Result<Entry, String> {
    let (host, number) = name.rsplit_once('_').or_else(|| name.rsplit_once(':')).unwrap_or((name, ""));
    if host.is_empty() {
        return Err("the name is not `host_port`".to_owned());
    }
    let number = port(Some(&Value::from(number)))?;
    let described = match serde_json::from_slice::<Value>(content) {
        Ok(described) => described,
        // What looks like a map and is none would have said which version this is.
        Err(error) if content.trim_ascii_start().starts_with(b"{") => {
            return Err(format!("no JSON: {error}"));
        }
        Err(_) => Value::Null,
    };
    with_metadata(host.to_owned(), number, Some(&described))
}

fn with_metadata(host: String, port: u16, described: Option<&Value>) -> Result<Entry, String> {
    let status = described.and_then(|map| map.get("instance_status")).and_then(plain_text);
    let state = match status.as_deref() {
        Some("OUT_OF_SERVICE") => EntryState::Offline,
        Some("DOWN" | "STARTING" | "UNKNOWN") => EntryState::Unhealthy,
        _ => EntryState::Serving,
    };
    Ok(Entry { host, port, metadata: metadata(described), weight: None, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curator_as_spring_writes_it() {
        let text = br#"{"name":"patient-server","id":"i-1","address":"10.0.0.1","port":8080,"sslPort":null,
            "payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"application-1",
            "name":"patient-server","metadata":{"instance_status":"UP","version":"gray"}},
            "registrationTimeUTC":1,"serviceType":"DYNAMIC","uriSpec":{"parts":[]}}"#;
        let entry = curator(text).unwrap();
        assert_eq!((entry.host.as_str(), entry.port, entry.state), ("10.0.0.1", 8080, EntryState::Serving));
        assert_eq!(entry.metadata["version"], "gray");
    }

    #[test]
    fn the_status_of_a_node() {
        for (status, expected) in [
            ("UP", EntryState::Serving),
            ("OUT_OF_SERVICE", EntryState::Offline),
            ("DOWN", EntryState::Unhealthy),
        ] {
            let text = format!(
                r#"{{"address":"a","port":1,"payload":{{"metadata":{{"instance_status":"{status}"}}}}}}"#
            );
            assert_eq!(curator(text.as_bytes()).unwrap().state, expected, "{status}");
        }
    }

    #[test]
    fn names_as_addresses() {
        for (name, content, expected) in [
            ("10.0.0.1_8080", r#"{"gray":"true"}"#, Some(("10.0.0.1", 8080, Some("true")))),
            ("10.0.0.1_8080", r#"{"gray":true}"#, Some(("10.0.0.1", 8080, Some("true")))),
            ("my_host_80", "provider", Some(("my_host", 80, None))),
            ("10.0.0.1:80", "", Some(("10.0.0.1", 80, None))),
            ("10.0.0.1_80", r#"{"gray":"#, None),
            ("10.0.0.1", "{}", None),
            ("_80", "{}", None),
            ("h_x", "{}", None),
        ] {
            let read = host_port(name, content.as_bytes());
            let read = read.as_ref().ok().map(|entry| {
                (entry.host.as_str(), entry.port, entry.metadata.get("gray").map(String::as_str))
            });
            assert_eq!(read, expected, "{name} {content}");
        }
    }

    #[test]
    fn broken_nodes_say_why() {
        for text in ["", "provider", "[]", r#"{"address":"","port":1}"#, r#"{"address":"a"}"#] {
            assert!(curator(text.as_bytes()).is_err(), "{text}");
        }
    }
}
