//! Words of nginx that several gateways share: variables, sizes, and URLs to redirect to.

use super::yaml::Yaml;

/// The attribute that a variable of nginx names.
pub fn attribute_of(variable: &str) -> Option<String> {
    let name = variable.trim().trim_matches('"').strip_prefix('$')?.trim_matches(['{', '}']);
    Some(match name {
        "remote_addr" | "binary_remote_addr" => "ip".into(),
        "uri" | "document_uri" => "path".into(),
        "host" | "http_host" => "host".into(),
        "request_method" => "method".into(),
        "scheme" => "scheme".into(),
        "request_id" => "header:x-request-id".into(),
        "args" | "query_string" | "request_uri" => return None,
        name => {
            let (kind, rest) = name.split_once('_')?;
            match kind {
                "http" => format!("header:{}", rest.replace('_', "-")),
                "cookie" => format!("cookie:{rest}"),
                "arg" => format!("query:{rest}"),
                _ => return None,
            }
        }
    })
}

/// A size as nginx writes it: bytes, or with `k`, `m` or `g`.
pub fn size(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = match text.strip_suffix(['k', 'm', 'g']) {
        Some(number) => (number, text.chars().last()),
        None => (text.as_str(), None),
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(match unit {
        Some('k') => format!("{number}KiB"),
        Some('m') => format!("{number}MiB"),
        Some('g') => format!("{number}GiB"),
        _ => format!("{number}B"),
    })
}

/// The fields of a redirect to a URL or path without variables.
pub fn redirect_to(url: &str) -> Option<Yaml> {
    if url.contains(['$', '?']) {
        return None;
    }
    if url.starts_with('/') {
        return Some(Yaml::of("path", Yaml::text(url)));
    }
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at_checked(slash)?,
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (authority, None),
    };
    let mut to = Yaml::of("scheme", Yaml::text(scheme)).with("host", Yaml::text(host));
    if let Some(port) = port {
        to.set("port", Yaml::number(port));
    }
    Some(to.with("path", Yaml::text(path)))
}
