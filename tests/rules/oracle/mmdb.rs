//! A small database of MaxMind's format, written byte by byte as its specification says (MaxMind DB File Format 2.0).

use std::net::IpAddr;

/// A value of the data section.
pub enum Field {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(&'static str, Field)>),
    List(Vec<Field>),
}

/// What a database says of one network.
pub struct Row {
    pub network: &'static str,
    pub country: &'static str,
    pub region: &'static str,
    pub city: &'static str,
    pub asn: u32,
}

/// Of two networks the more special one counts. An empty text, or 0, is not there.
pub const ROWS: [Row; 4] = [
    Row { network: "10.0.0.0/8", country: "CN", region: "ZJ", city: "Hangzhou", asn: 0 },
    Row { network: "10.1.0.0/16", country: "CN", region: "", city: "用户", asn: 64512 },
    Row { network: "127.0.0.1/32", country: "DE", region: "BE", city: "Berlin", asn: 64513 },
    Row { network: "2001:db8::/32", country: "SE", region: "AB", city: "", asn: 64514 },
];

/// A database of these rows.
pub fn database(rows: &[Row]) -> Vec<u8> {
    // Each node has two records: the next node, or a place in the data section, or nothing.
    let mut nodes: Vec<[Record; 2]> = vec![[Record::Nothing; 2]];
    let mut section = Vec::new();
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| length(row.network).1);
    for row in rows {
        let at = section.len();
        row.fields().write(&mut section);
        let (bits, count) = length(row.network);
        let mut node = 0;
        for depth in 0..count {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == count {
                nodes[node][side] = Record::Found(at);
                break;
            }
            node = match nodes[node][side] {
                Record::Node(next) => next,
                // What stood here holds for both halves, until one of them says more.
                before => {
                    nodes.push([before; 2]);
                    nodes[node][side] = Record::Node(nodes.len() - 1);
                    nodes.len() - 1
                }
            };
        }
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for record in nodes.into_iter().flatten() {
        let number = match record {
            Record::Nothing => count,
            Record::Node(next) => next,
            Record::Found(at) => count + 16 + at,
        };
        out.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(section);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(u32::try_from(count).unwrap()).write(&mut out);
    out
}

#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Found(usize),
}

/// The bits of a network in the tree of 128, and how many of them count.
fn length(network: &str) -> (u128, u32) {
    let (address, length) = network.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match address.parse::<IpAddr>().unwrap() {
        // IPv4 stands below ::/96.
        IpAddr::V4(address) => (u128::from(u32::from(address)), length + 96),
        IpAddr::V6(address) => (u128::from(address), length),
    }
}

impl Row {
    fn fields(&self) -> Field {
        let mut all = vec![("country", Field::Map(vec![("iso_code", Field::Text(self.country))]))];
        if !self.region.is_empty() {
            let region = Field::Map(vec![("iso_code", Field::Text(self.region))]);
            all.push(("subdivisions", Field::List(vec![region])));
        }
        if !self.city.is_empty() {
            let names = Field::Map(vec![("de", Field::Text("Stadt")), ("en", Field::Text(self.city))]);
            all.push(("city", Field::Map(vec![("names", names)])));
        }
        if self.asn > 0 {
            all.push(("autonomous_system_number", Field::Number(self.asn)));
        }
        Field::Map(all)
    }
}

fn metadata(nodes: u32) -> Field {
    Field::Map(vec![
        ("binary_format_major_version", Field::Short(2)),
        ("binary_format_minor_version", Field::Short(0)),
        ("build_epoch", Field::Long(1_764_000_000)),
        ("database_type", Field::Text("Graygate-Test")),
        ("description", Field::Map(vec![("en", Field::Text("a test"))])),
        ("ip_version", Field::Short(6)),
        ("languages", Field::List(vec![Field::Text("en")])),
        ("node_count", Field::Number(nodes)),
        ("record_size", Field::Short(24)),
    ])
}

impl Field {
    /// A control byte with the type in its upper three bits and the size in its lower five, and the value.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Field::Text(text) => {
                assert!(text.len() < 29);
                out.push(2 << 5 | u8::try_from(text.len()).unwrap());
                out.extend(text.as_bytes());
            }
            Field::Short(number) => {
                out.push(5 << 5 | 2);
                out.extend(number.to_be_bytes());
            }
            // The type 9 does not fit: 0 there, and in the next byte how much it is above 7.
            Field::Long(number) => {
                out.extend([8, 2]);
                out.extend(number.to_be_bytes());
            }
            Field::Number(number) => {
                out.push(6 << 5 | 4);
                out.extend(number.to_be_bytes());
            }
            Field::Map(entries) => {
                out.push(7 << 5 | u8::try_from(entries.len()).unwrap());
                for (key, value) in entries {
                    Field::Text(key).write(out);
                    value.write(out);
                }
            }
            // Type 11, in the same way.
            Field::List(items) => {
                out.extend([u8::try_from(items.len()).unwrap(), 4]);
                items.iter().for_each(|item| item.write(out));
            }
        }
    }
}
