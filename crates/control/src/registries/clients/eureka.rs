//! Eureka: the whole list, asked for at a fixed pace.
//!
//! Owns: the request, and what its JSON means with all its quirks. The differences that servers also offer are left
//! alone: after a lost one a client has to notice by a hash that it is wrong, and a whole list is a few megabytes.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use super::super::entry::{Answer, Entry, EntryState, metadata, plain_text, port};
use super::super::http::exchange;
use super::super::link::{Client, Line, LinkError, Query};
use super::super::settings::EurekaSettings;

pub struct Eureka {
    settings: EurekaSettings,
}

impl Eureka {
    pub fn new(settings: EurekaSettings) -> Eureka {
        Eureka { settings }
    }

    async fn applications(&self, server: usize) -> Result<Value, LinkError> {
        let base = self.settings.addresses.get(server).map_or("", String::as_str);
        let url = format!("{}/apps/", base.trim_end_matches('/'));
        let mut request = Request::get(url).header(header::ACCEPT, "application/json");
        if let Some(login) = &self.settings.login {
            let pair = STANDARD.encode(format!("{}:{}", login.username, login.password()?));
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        let request = request.body(Full::new(Bytes::new()));
        let request = request.map_err(|error| LinkError::Connect(error.to_string()))?;
        let answer = exchange(request, self.settings.tls.as_ref()).await?;
        if answer.status != StatusCode::OK {
            return Err(LinkError::Refused(format!("answered with {}", answer.status.as_u16())));
        }
        serde_json::from_slice(&answer.body).map_err(|error| LinkError::Malformed(error.to_string()))
    }
}

#[async_trait]
impl Client for Eureka {
    fn servers(&self) -> &[String] {
        &self.settings.addresses
    }

    async fn link(&self, server: usize, line: &mut Line) -> LinkError {
        let mut is_up = false;
        loop {
            let listed = match self.applications(server).await {
                Ok(listed) => listed,
                Err(lost) => return lost,
            };
            if !is_up {
                line.up().await;
                is_up = true;
            }
            for query in line.wanted().iter() {
                match of_application(&listed, &query.name) {
                    Ok(answer) => line.shows(query, answer).await,
                    Err(why) => return LinkError::Malformed(why),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.settings.every) => {}
                () = line.wanted_changed() => {}
            }
        }
    }

    async fn ask(&self, server: usize, query: &Query) -> Result<Answer, LinkError> {
        of_application(&self.applications(server).await?, &query.name).map_err(LinkError::Malformed)
    }
}

/// The instances of one application. Names are compared without case: servers write them in capitals.
fn of_application(listed: &Value, name: &str) -> Result<Answer, String> {
    let applications = listed.get("applications").ok_or("there are no `applications`")?;
    let mut answer = Answer::default();
    for application in one_or_several(applications.get("application")) {
        let named = application.get("name").and_then(Value::as_str).unwrap_or_default();
        if named.eq_ignore_ascii_case(name) {
            for instance in one_or_several(application.get("instance")) {
                let id = instance.get("instanceId").or_else(|| instance.get("hostName"));
                let id = id.and_then(Value::as_str).unwrap_or_default();
                answer.take(id, entry(instance));
            }
        }
    }
    Ok(answer)
}

/// Old servers write a list of one as its only item.
fn one_or_several(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(several)) => several,
        Some(Value::Null) | None => &[],
        Some(one) => std::slice::from_ref(one),
    }
}

fn entry(instance: &Value) -> Result<Entry, String> {
    let text = |key: &str| instance.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let address = text("ipAddr").or_else(|| text("hostName")).ok_or("there is no ipAddr")?;
    let overridden = text("overriddenStatus").or_else(|| text("overriddenstatus"));
    let status = overridden.filter(|status| *status != "UNKNOWN").or_else(|| text("status"));
    let state = match status {
        Some("UP") | None => EntryState::Serving,
        Some("OUT_OF_SERVICE") => EntryState::Offline,
        Some(_) => EntryState::Unhealthy,
    };
    let number = enabled_port(instance, "port").or_else(|| enabled_port(instance, "securePort"));
    let mut metadata = metadata(instance.get("metadata"));
    // An empty map is written as the name of its Java class.
    metadata.remove("@class");
    Ok(Entry { host: address.to_owned(), port: port(number)?, metadata, weight: None, state })
}

/// `{"$": 8080, "@enabled": "true"}`, or a bare number.
fn enabled_port<'v>(instance: &'v Value, key: &str) -> Option<&'v Value> {
    let value = instance.get(key)?;
    if !value.is_object() {
        return Some(value);
    }
    let is_enabled = value.get("@enabled").and_then(plain_text).is_none_or(|text| text == "true");
    value.get("$").filter(|_| is_enabled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(change: Value) -> Value {
        let mut instance = json!({
            "instanceId": "i-1", "hostName": "patient-1", "app": "PATIENT-SERVER", "ipAddr": "10.0.0.1",
            "status": "UP", "overriddenStatus": "UNKNOWN", "port": {"$": 8080, "@enabled": "true"},
            "securePort": {"$": 8443, "@enabled": "false"}, "metadata": {"version": "gray"},
        });
        instance.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        instance
    }

    #[test]
    fn an_instance_and_its_quirks() {
        for (change, expected) in [
            (json!({}), Some((8080, EntryState::Serving))),
            (json!({"status": "DOWN"}), Some((8080, EntryState::Unhealthy))),
            (json!({"status": "STARTING"}), Some((8080, EntryState::Unhealthy))),
            (json!({"overriddenStatus": "OUT_OF_SERVICE"}), Some((8080, EntryState::Offline))),
            (
                json!({"status": "OUT_OF_SERVICE", "overriddenStatus": "UP"}),
                Some((8080, EntryState::Serving)),
            ),
            (
                json!({"port": {"$": 80, "@enabled": "false"}, "securePort": {"$": 8443, "@enabled": "true"}}),
                Some((8443, EntryState::Serving)),
            ),
            (json!({"port": 9090}), Some((9090, EntryState::Serving))),
            (json!({"port": {"$": 80, "@enabled": "false"}}), None),
            (json!({"ipAddr": "", "hostName": ""}), None),
        ] {
            let read = entry(&instance(change.clone()));
            assert_eq!(read.ok().map(|entry| (entry.port, entry.state)), expected, "{change}");
        }
        let empty = instance(json!({"metadata": {"@class": "java.util.Collections$EmptyMap"}}));
        assert!(entry(&empty).unwrap().metadata.is_empty());
    }

    #[test]
    fn lists_of_one_and_of_none() {
        let one = json!({"applications": {"application": {"name": "PATIENT-SERVER", "instance": instance(json!({}))}}});
        let several = json!({"applications": {"application": [
            {"name": "OTHER", "instance": [instance(json!({}))]},
            {"name": "PATIENT-SERVER", "instance": [instance(json!({})), {"instanceId": "broken"}]},
        ]}});
        let none = json!({"applications": {"application": []}});
        for (listed, entries, unreadable) in [(one, 1, 0), (several, 1, 1), (none, 0, 0)] {
            let answer = of_application(&listed, "patient-server").unwrap();
            assert_eq!((answer.entries.len(), answer.unreadable.len()), (entries, unreadable), "{listed}");
        }
        assert!(of_application(&json!({"error": "starting"}), "patient-server").is_err());
    }
}
