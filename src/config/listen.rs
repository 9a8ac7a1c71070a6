//! Listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use graygate_proxy::edge::{Listener, Tls, TlsVersion};
use graygate_rules::documents::fields::{Emptiness, Field};

pub fn read(field: &Field<'_>) -> Option<Vec<Listener>> {
    let listeners = field.list_of(Emptiness::Refused, read_one)?;
    for (i, Listener { address, .. }) in listeners.iter().enumerate() {
        if listeners.iter().take(i).any(|earlier| earlier.address == *address) {
            field.wrong::<()>(format!("`{address}` is there twice"), "");
        }
    }
    Some(listeners)
}

fn read_one(field: &Field<'_>) -> Option<Listener> {
    let mut map = field.map()?;
    let address = map.required("address").and_then(|f| read_address(&f));
    let has_tls = map.get("tls");
    let tls = has_tls.as_ref().and_then(read_tls);
    let h2 = map.or("h2", false, |f| match f.boolean()? {
        true if has_tls.is_none() => f.wrong(
            "`h2` is offered in the handshake of `tls`, which is not there",
            "write `h2c` for HTTP/2 without TLS",
        ),
        h2 => Some(h2),
    });
    let h2c = map.or("h2c", false, |f| match f.boolean()? {
        true if has_tls.is_some() => f.wrong("`h2c` is HTTP/2 without TLS", "write `h2: true` beside `tls`"),
        h2c => Some(h2c),
    });
    let proxy_protocol = map.or("proxy_protocol", false, |f| f.boolean());
    map.note_unknown();
    Some(Listener { address: address?, tls, h2, h2c, proxy_protocol })
}

pub fn read_tls(field: &Field<'_>) -> Option<Tls> {
    let mut map = field.map()?;
    let certificates = map.required("certificates").and_then(|f| f.text().map(PathBuf::from));
    let min_version = map.or("min_version", TlsVersion::Tls12, |f| {
        f.word(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)])
    });
    map.note_unknown();
    Some(Tls { certificates: certificates?, min_version })
}

pub fn read_address(field: &Field<'_>) -> Option<SocketAddr> {
    field.parsed("an address with a port like `0.0.0.0:8080` or `[::]:8080`", |text| {
        text.parse().ok().filter(|address: &SocketAddr| address.port() > 0)
    })
}
