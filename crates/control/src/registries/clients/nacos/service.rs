//! What Nacos says about one service: its `serviceInfo`.

use serde_json::Value;

use crate::registries::entry::{Answer, Entry, EntryState, metadata, port};

/// Heaviest instance that documents know; Nacos' own limit is a weight of 10,000, a million hundredths.
const WEIGHT_LIMIT: f64 = 1_000_000.0;

/// A service's state as a push or an answer tells it.
pub struct ServiceInfo {
    pub name: String,
    /// When the server made this list, in its own milliseconds.
    pub made_at: i64,
    pub answer: Answer,
}

impl ServiceInfo {
    /// Reads what stands behind `serviceInfo`; a service no one has registered has none, or one without hosts.
    pub fn read(info: &Value, clusters: &[String]) -> ServiceInfo {
        let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default();
        // Old servers put the group before the name.
        let name = text("name").rsplit("@@").next().unwrap_or_default().to_owned();
        let mut answer = Answer::default();
        for host in info.get("hosts").and_then(Value::as_array).into_iter().flatten() {
            let cluster = host.get("clusterName").and_then(Value::as_str).unwrap_or_default();
            if clusters.is_empty() || clusters.iter().any(|known| known == cluster) {
                answer.take(&entry_name(host), entry(host));
            }
        }
        let made_at = info.get("lastRefTime").and_then(Value::as_i64).unwrap_or_default();
        ServiceInfo { name, made_at, answer }
    }
}

fn entry_name(host: &Value) -> String {
    let text = |key: &str| host.get(key).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
    format!("{}:{}", text("ip"), text("port"))
}

/// What `reachProtectionThreshold` does to `healthy` is of no importance: an instance that is called healthy is still
/// checked by the proxies that send requests to it.
fn entry(host: &Value) -> Result<Entry, String> {
    let address =
        host.get("ip").and_then(Value::as_str).filter(|ip| !ip.is_empty()).ok_or("there is no ip")?;
    let flag = |key: &str| host.get(key).and_then(Value::as_bool).unwrap_or(true);
    let weight = host.get("weight").and_then(Value::as_f64).map_or(Some(100), hundredths);
    let weight = weight.ok_or_else(|| format!("`{}` is not a weight", host["weight"]))?;
    let state = match (flag("enabled"), flag("healthy")) {
        (true, true) if weight > 0 => EntryState::Serving,
        (true, false) if weight > 0 => EntryState::Unhealthy,
        _ => EntryState::Offline,
    };
    Ok(Entry {
        host: address.to_owned(),
        port: port(host.get("port"))?,
        metadata: metadata(host.get("metadata")),
        weight: Some(weight),
        state,
    })
}

/// A weight as documents count it: a hundredth is one, and only nothing is nothing.
fn hundredths(weight: f64) -> Option<u32> {
    match weight {
        _ if !(0.0..=f64::MAX).contains(&weight) => None,
        0.0 => Some(0),
        // Within 1 and the limit, so nothing is cut off.
        _ => Some((weight * 100.0).round().clamp(1.0, WEIGHT_LIMIT) as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn weights_are_hundredths_and_at_least_one() {
        for (weight, expected) in [
            (0.0, Some(0)),
            (0.001, Some(1)),
            (0.4, Some(40)),
            (1.0, Some(100)),
            (2.556, Some(256)),
            (10_000.0, Some(1_000_000)),
            (1e9, Some(1_000_000)),
            (-1.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(hundredths(weight), expected, "{weight}");
        }
    }

    #[test]
    fn a_service_is_read_entry_by_entry() {
        let info = json!({
            "name": "DEFAULT_GROUP@@patient-server", "groupName": "DEFAULT_GROUP", "lastRefTime": 17,
            "reachProtectionThreshold": true,
            "hosts": [
                {"ip": "10.0.0.1", "port": 8080, "weight": 1.0, "healthy": true, "enabled": true,
                 "clusterName": "A", "metadata": {"version": "gray"}},
                {"ip": "10.0.0.2", "port": 8080, "weight": 0.0, "healthy": true, "enabled": true, "clusterName": "A"},
                {"ip": "10.0.0.3", "port": 8080, "weight": 1.0, "healthy": true, "enabled": false, "clusterName": "A"},
                {"ip": "10.0.0.4", "port": 8080, "weight": 1.0, "healthy": false, "enabled": true, "clusterName": "A"},
                {"ip": "10.0.0.5", "port": 8080, "clusterName": "B"},
                {"port": 8080, "clusterName": "A"},
                {"ip": "10.0.0.6", "port": 0, "clusterName": "A"}
            ]
        });
        let read = ServiceInfo::read(&info, &["A".to_owned()]);
        assert_eq!((read.name.as_str(), read.made_at), ("patient-server", 17));
        let states: Vec<_> =
            read.answer.entries.iter().map(|entry| (entry.host.as_str(), entry.state)).collect();
        assert_eq!(
            states,
            [
                ("10.0.0.1", EntryState::Serving),
                ("10.0.0.2", EntryState::Offline),
                ("10.0.0.3", EntryState::Offline),
                ("10.0.0.4", EntryState::Unhealthy)
            ]
        );
        assert_eq!(read.answer.entries[0].metadata["version"], "gray");
        let unreadable: Vec<_> = read.answer.unreadable.iter().map(|one| one.entry.as_str()).collect();
        assert_eq!(unreadable, [":8080", "10.0.0.6:0"]);
        assert_eq!(ServiceInfo::read(&info, &[]).answer.entries.len(), 5);
        assert_eq!(ServiceInfo::read(&Value::Null, &[]).answer, Answer::default());
    }
}
