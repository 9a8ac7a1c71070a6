//! What stands where a number should?
//!
//! Owns the reading of numbers that strangers sent: whatever JSON has in their place is read, and what is no number of the
//! kind is `None`, so that one impossible figure costs its row and not the line's neighbours.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Above that a JSON number is no longer exact everywhere; no proxy counts so many requests in a second.
const LARGEST_COUNT: u64 = 1 << 53;
/// Times of a row that has any: room for them at once costs less than growing. A longer list is read, and not kept in one
/// piece for free.
const FIRST_ITEMS: usize = 64;

/// A whole number that is not negative, also where it was written as `120.0`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count(pub Option<u64>);

/// Any finite number that is not negative.
#[derive(Clone, Copy, Debug)]
pub struct Figure(pub Option<f64>);

/// A list of whole numbers.
#[derive(Debug)]
pub struct CountList(pub Option<Box<[u64]>>);

/// A list of numbers.
#[derive(Debug)]
pub struct FigureList(pub Option<Vec<f64>>);

/// A list of client hashes.
#[derive(Debug)]
pub struct ClientList(pub Option<Vec<u64>>);

impl Count {
    pub const ZERO: fn() -> Self = || Self(Some(0));
}

/// A client's hash from its sixteen hex digits. Anything else names a client just as well, so it is not refused.
fn client(text: &str) -> u64 {
    if text.len() == 16
        && let Ok(hash) = u64::from_str_radix(text, 16)
    {
        return hash;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// What a value turned out to be.
enum Value<T> {
    Whole(u64),
    Number(f64),
    List(Vec<T>),
    Other,
}

/// Reads a number, a list of `T`, or anything else.
struct Anything<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Anything<T> {
    type Value = Value<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // Most lists are empty, and take nothing.
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.is_empty() {
                list.reserve(FIRST_ITEMS);
            }
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

fn anything<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Value<T>, D::Error> {
    from.deserialize_any(Anything(std::marker::PhantomData))
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match anything::<IgnoredAny, D>(from)? {
            Value::Whole(number) => Some(number as f64),
            // Zero is added for the sake of -0, which would be another share.
            Value::Number(number) if number.is_finite() && number >= 0.0 => Some(number + 0.0),
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let whole = |number: f64| number >= 0.0 && number.fract() == 0.0 && number <= LARGEST_COUNT as f64;
        Ok(Self(match anything::<IgnoredAny, D>(from)? {
            Value::Whole(number) => Some(number).filter(|number| *number <= LARGEST_COUNT),
            Value::Number(number) if whole(number) => Some(number as u64),
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for CountList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match anything::<Count, D>(from)? {
            Value::List(counts) => {
                // Two hundred thousand of these are held a second: each takes what it needs, and is allocated once.
                let whole = counts.iter().all(|count| count.0.is_some());
                whole.then(|| counts.iter().filter_map(|count| count.0).collect())
            }
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for FigureList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match anything::<Figure, D>(from)? {
            Value::List(figures) => figures.into_iter().map(|figure| figure.0).collect(),
            _ => None,
        }))
    }
}

/// A client in a list: a text, or something that names no one.
struct Client(Option<u64>);

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Client;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a client's hash")
            }

            fn visit_str<E>(self, text: &str) -> Result<Client, E> {
                Ok(Client(Some(client(text))))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Client, E> {
                Ok(Client(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Client, E> {
                Ok(Client(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Client, E> {
                Ok(Client(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Client, E> {
                Ok(Client(None))
            }

            fn visit_unit<E>(self) -> Result<Client, E> {
                Ok(Client(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Client, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Client(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Client, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Client(None))
            }
        }
        from.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for ClientList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match anything::<Client, D>(from)? {
            Value::List(clients) => clients.into_iter().map(|client| client.0).collect(),
            _ => None,
        }))
    }
}
