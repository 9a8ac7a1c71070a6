//! Listeners.

use std::net::SocketAddr;

use crate::documents::fields::{Emptiness, Field};

pub fn read(field: &Field<'_>) -> Option<Vec<SocketAddr>> {
    let addresses = field.list_of(Emptiness::Refused, read_one)?;
    for (i, address) in addresses.iter().enumerate() {
        if addresses.iter().take(i).any(|earlier| earlier == address) {
            field.wrong::<()>(format!("`{address}` is there twice"), "");
        }
    }
    Some(addresses)
}

fn read_one(field: &Field<'_>) -> Option<SocketAddr> {
    let mut map = field.map()?;
    let address = map.required("address").and_then(|f| read_address(&f));
    for key in ["tls", "h2", "h2c"] {
        if let Some(f) = map.get(key) {
            f.wrong::<()>(
                format!("`{key}` is not built into this version"),
                "listeners speak plain HTTP/1.1",
            );
        }
    }
    map.note_unknown();
    address
}

pub fn read_address(field: &Field<'_>) -> Option<SocketAddr> {
    field.parsed("an address with a port like `0.0.0.0:8080` or `[::]:8080`", |text| {
        text.parse().ok().filter(|address: &SocketAddr| address.port() > 0)
    })
}
