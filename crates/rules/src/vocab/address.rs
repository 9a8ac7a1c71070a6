//! Addresses and networks, in one form each.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// Reads an address or a CIDR. A bare address is a network of one, bits behind the prefix are masked, and
/// `::ffff:a.b.c.d` is the IPv4 address it carries.
pub fn canonical_net(text: &str) -> Option<IpNet> {
    let net: IpNet = match text.contains('/') {
        true => text.parse().ok()?,
        false => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::V4(Ipv4Net::new(v4, v6.prefix_len() - 96).ok()?).trunc(),
            None => net.trunc(),
        },
        _ => net.trunc(),
    })
}

/// Reads an address as a proxy writes it, with or without a port: `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]:80`.
pub fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_fine
            .then(|| address.parse::<Ipv6Addr>().ok())?
            .map(|address| IpAddr::V6(address).to_canonical());
    }
    let (address, port) = text.rsplit_once(':')?;
    is_port(port).then(|| address.parse::<std::net::Ipv4Addr>().ok())?.map(IpAddr::V4)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_one_form() {
        for (text, expected) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("::1", Some("::1/128")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("10.0.0.0/33", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(canonical_net(text).map(|n| n.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn addresses_with_and_without_port() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            (" 10.0.0.1:8080 ", Some("10.0.0.1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("[::ffff:10.0.0.1]:9", Some("10.0.0.1")),
            ("unknown", None),
            ("10.0.0.1:x", None),
            ("10.0.0.1:99999", None),
            ("", None),
        ] {
            assert_eq!(read_address(text).map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
    }
}
