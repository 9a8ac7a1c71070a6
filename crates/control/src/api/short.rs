//! The short way to a configuration value: instances ask for them all the time, and the whole way costs several times
//! as much as the answer.
//!
//! Owns: which questions are plain enough for it. A plain question of a token that was looked up a moment ago is answered
//! from memory, with the checks, the answer and the headers of the whole way. Never: a refusal, or a guess: whatever is
//! odd about a request takes the whole way, and is answered there.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::Either;
use http::{Method, Request, header};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::envelope::{GRAY_RELEASE, success};
use super::guard::{Peer, bearer, check_host, client_of};
use super::headers;
use super::site::Site;
use crate::configs::{Asker, ItemName};

/// Everything that answers at the control address.
#[derive(Clone)]
pub struct Answers {
    short: Option<Arc<Short>>,
    whole: Router,
}

/// All of it the whole way.
impl From<Router> for Answers {
    fn from(whole: Router) -> Answers {
        Answers { short: None, whole }
    }
}

impl Answers {
    pub fn new(site: &Site, whole: Router) -> Answers {
        let path = format!("{}{GRAY_RELEASE}/config/value", site.front.path);
        Answers { short: Some(Arc::new(Short { site: site.clone(), path })), whole }
    }

    pub fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        match self.short.as_ref().and_then(|short| short.answer(&request, peer)) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => {
                request.extensions_mut().insert(peer);
                Either::Right(self.whole.clone().oneshot(request.map(Body::new)))
            }
        }
    }
}

struct Short {
    site: Site,
    /// As it is sent, and counted.
    path: String,
}

impl Short {
    /// The answer, where this request is plain and would be answered so by the whole way.
    fn answer<B>(&self, request: &Request<B>, peer: Peer) -> Option<Response> {
        let uri = request.uri();
        if request.method() != Method::GET || uri.path() != self.path || uri.authority().is_some() {
            return None;
        }
        let Site { control, front } = &self.site;
        let (begun, headers) = (control.clock.instant(), request.headers());
        let question = Question::read(uri.query()?)?;
        let peer = peer.0.ip().to_canonical();
        check_host(front, headers, peer).ok()?;
        let token = bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)?;
        if !control.is_known_reader(token) {
            return None;
        }
        let address = match question.address {
            Some(text) => text.parse::<IpAddr>().ok()?.to_canonical(),
            None => client_of(front, headers, peer),
        };
        let asker = Asker { instance: question.instance, user: question.user, address };
        let shown = control.known_config_value(&question.item, &asker)?;
        let mut response = success(shown).into_response();
        headers::dress_with(&self.site, response.headers_mut());
        let took = control.clock.instant().saturating_duration_since(begun);
        control.metrics.call(&self.path, response.status().as_u16(), took);
        Some(response)
    }
}

/// A question whose text is what it means: nothing is escaped, said twice, or unknown here.
#[derive(PartialEq, Eq, Debug)]
struct Question<'q> {
    item: ItemName<'q>,
    instance: Option<&'q str>,
    address: Option<&'q str>,
    user: Option<&'q str>,
}

impl<'q> Question<'q> {
    fn read(query: &'q str) -> Option<Question<'q>> {
        if query.bytes().any(|byte| matches!(byte, b'%' | b'+') || !byte.is_ascii()) {
            return None;
        }
        const NAMES: [&str; 7] =
            ["appName", "environment", "groupName", "configKey", "instanceId", "instanceIp", "userId"];
        let mut found: [Option<&str>; NAMES.len()] = [None; NAMES.len()];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let at = NAMES.iter().position(|known| *known == name)?;
            if found.get_mut(at)?.replace(value).is_some() {
                return None;
            }
        }
        let [app, environment, group, key, instance, address, user] =
            found.map(|value| value.filter(|text| !text.is_empty()));
        let item = ItemName::of(app?, environment?, group, key?)?;
        Some(Question { item, instance, address, user })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use time::OffsetDateTime;

    use super::super::site::Front;
    use super::*;
    use crate::configs::{ItemId, ItemPlace};
    use crate::control::{Clock, Control, NewUser};
    use crate::people::{Grant, Principal, Role, SessionSettings, Via};
    use crate::state::Memory;

    #[test]
    fn only_what_needs_no_reading_is_plain() {
        let plain = "appName=a&environment=prod&configKey=k";
        for (more, is) in [
            ("", true),
            ("&groupName=g&instanceId=i&instanceIp=10.0.0.1&userId=u", true),
            ("&groupName=&instanceId=&userId=", true),
            ("&userId=%75", false),
            ("&userId=a+b", false),
            ("&userId=a&userId=b", false),
            ("&watch=true", false),
            ("&version=1", false),
            ("&unknown=1", false),
            ("&userId", false),
            ("&", false),
            ("&groupName=a/b", false),
            ("&userId=名", false),
        ] {
            assert_eq!(Question::read(&format!("{plain}{more}")).is_some(), is, "{more}");
        }
        for query in ["", "appName=a&environment=prod", "appName=a/prod&environment=default&configKey=k"] {
            assert_eq!(Question::read(query), None, "{query}");
        }
    }

    /// It stands still, so that nothing is forgotten on a machine that has much to do.
    struct Still(Instant, OffsetDateTime);

    impl Clock for Still {
        fn now(&self) -> OffsetDateTime {
            self.1
        }

        fn instant(&self) -> Instant {
            self.0
        }
    }

    async fn site() -> (Site, String) {
        let clock = Arc::new(Still(Instant::now(), OffsetDateTime::now_utc()));
        let control = Arc::new(Control::new(Arc::new(Memory::default()), clock, SessionSettings::default()));
        let root = Principal::own("command", Via::Command);
        let place = ItemPlace::of("a", "prod", None).unwrap();
        let item = ItemId::of(place, "k").unwrap();
        control.put_config_item(&root, (&item, Some("1".to_owned())), None, None).await.unwrap();
        let token = token(&control, "li", Role::Viewer).await;
        (Site { control, front: Arc::new(Front::loopback()) }, token)
    }

    async fn token(control: &Control, name: &str, role: Role) -> String {
        let root = Principal::own("command", Via::Command);
        let new = NewUser {
            name: name.into(),
            password: "correct horse battery".into(),
            roles: vec![Grant::all(role)],
        };
        control.add_user(&root, new).await.unwrap();
        let body = serde_json::json!({"name": "test", "user": name, "role": role});
        let token = control.add_token(&root, serde_json::from_value(body).unwrap()).await.unwrap().token;
        control.by_token(&token, &Principal::own("", Via::Session)).await.unwrap();
        token
    }

    #[tokio::test]
    async fn whatever_is_odd_takes_the_whole_way() {
        let (site, token) = site().await;
        let reporter = self::token(&site.control, "app", Role::Reporter).await;
        // Its person was looked up before the last write.
        let from = Principal::own("", Via::Session);
        site.control.by_token(&token, &from).await.unwrap();
        let short = Short { site: site.clone(), path: "/api/gray-release/config/value".to_owned() };
        let good = "/api/gray-release/config/value?appName=a&environment=prod&configKey=k";
        let ask = |method: &str, uri: &str, host: &str, authorization: &str| {
            let request = Request::builder().method(method).uri(uri).header("host", host);
            let request = request.header("authorization", authorization).body(()).unwrap();
            short.answer(&request, Peer(SocketAddr::from(([127, 0, 0, 1], 9)))).is_some()
        };
        let bearer = format!("Bearer {token}");
        for (method, uri, host, authorization, is) in [
            ("GET", good, "127.0.0.1:9180", bearer.as_str(), true),
            ("POST", good, "127.0.0.1:9180", &bearer, false),
            ("HEAD", good, "127.0.0.1:9180", &bearer, false),
            ("GET", good, "evil.example", &bearer, false),
            ("GET", good, "127.0.0.1", "Bearer gg_0123456789abcdef_x", false),
            ("GET", good, "127.0.0.1", &format!("Basic {token}"), false),
            ("GET", good, "127.0.0.1", &format!("{bearer}x"), false),
            ("GET", good, "127.0.0.1", &format!("Bearer {reporter}"), false),
            ("GET", "/api/gray-release/config/value", "127.0.0.1", &bearer, false),
            ("GET", &good.replace("=k", "=none"), "127.0.0.1", &bearer, false),
            ("GET", &good.replace("/config", "//config"), "127.0.0.1", &bearer, false),
            ("GET", &format!("{good}&instanceIp=x"), "127.0.0.1", &bearer, false),
        ] {
            assert_eq!(ask(method, uri, host, authorization), is, "{method} {uri} {host}");
        }
        let root = Principal::own("command", Via::Command);
        let id = site.control.tokens(&root).await.unwrap()[0].id.clone();
        let other = site.control.tokens(&root).await.unwrap()[1].id.clone();
        site.control.remove_token(&root, &id).await.unwrap();
        site.control.remove_token(&root, &other).await.unwrap();
        assert!(!ask("GET", good, "127.0.0.1", &bearer), "what was taken away opens nothing");
    }
}
