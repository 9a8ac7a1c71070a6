//! Any bytes as a path and, behind a zero byte, as a host: one spelling, which is its own, and the oracle's.

use super::shared::ask;
use crate::oracle::{Ask, Seen};
use graygate_rules::decide::{PathBuffer, normalise_host};

pub fn check(data: &[u8]) {
    let (path, host) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b""[..]),
    };
    let ask = Ask { path: path.to_vec(), ..ask() };
    let expected = Seen::of(&ask).map(|seen| (seen.view, seen.upstream));
    let (mut buffer, mut again) = (PathBuffer::default(), PathBuffer::default());
    let found = buffer.normalise(path).ok();
    assert_eq!(found.map(|path| (path.view.to_string(), path.upstream.to_string())), expected);
    if let Some(path) = found {
        assert_eq!(again.normalise(path.upstream.as_bytes()), Ok(path));
        assert!(path.view.starts_with('/') && !path.view.contains("//"));
        assert!(path.view.split('/').all(|segment| segment != "." && segment != ".."));
    }

    let (mut buffer, mut again) = (String::new(), String::new());
    if let Some(host) = normalise_host(host, &mut buffer) {
        assert!(!host.name.bytes().any(|byte| byte.is_ascii_uppercase()));
        let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
        // A second trailing dot is a part of the name, and would be taken for the one that may be left out.
        if !host.name.ends_with('.') {
            assert_eq!(normalise_host(format!("{}{port}", host.name).as_bytes(), &mut again), Some(host));
        }
    }
}
