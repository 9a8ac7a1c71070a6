//! Membership: sets of networks, and what stands for sets of texts.

use std::net::IpAddr;

use ipnet::IpNet;

pub use super::members::{Hashed, ValueSet};

/// A set of addresses, kept as sorted ranges that do not touch: one binary search a lookup.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NetworkSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl NetworkSet {
    /// `address` has to be canonical: `::ffff:a.b.c.d` is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => in_ranges(&self.v4, address.to_bits()),
            IpAddr::V6(address) => in_ranges(&self.v6, address.to_bits()),
        }
    }
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let mut set = NetworkSet::default();
        for net in nets {
            match net {
                IpNet::V4(net) => set.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => set.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        merge(&mut set.v4);
        merge(&mut set.v6);
        set
    }
}

fn in_ranges<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= address);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|(_, end)| address <= *end)
}

/// Sorts ranges and drops those inside others; networks nest or are apart, they never overlap in part.
fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    ranges.dedup_by(|next, kept| next.1 <= kept.1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::canonical_net;

    #[test]
    fn networks_nest() {
        let set: NetworkSet = ["10.0.0.0/8", "10.1.0.0/16", "192.168.1.7", "2001:db8::/32", "0.0.0.0/32"]
            .into_iter()
            .filter_map(canonical_net)
            .collect();
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!NetworkSet::default().contains("10.0.0.1".parse().unwrap()));
    }
}
