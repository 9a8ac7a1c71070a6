//! Protobuf on the wire, edited field by field.
//!
//! Answers: what does a message say at this path, and what is it with another text there? Fields that no one asked for are
//! copied byte for byte, in their order: clients and brokers newer than this program lose nothing. Never: knows what a
//! field means. A message that is no protobuf is an error, and its caller sends it on as it came.

use thiserror::Error;

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the message is no protobuf")]
pub struct Malformed;

/// Groups are long gone from the format; what is nested deeper than this is no message of RocketMQ's.
const VARINT_BYTES: usize = 10;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'b> {
    Varint(u64),
    /// Text, bytes, or a message.
    Bytes(&'b [u8]),
    /// A fixed width, which no field here has that matters.
    Fixed,
}

/// One field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'b> {
    pub number: u64,
    pub value: Value<'b>,
    /// Its key and all.
    pub whole: &'b [u8],
}

/// The fields of a message in the order they stand in; ends behind the first error.
#[derive(Clone, Debug)]
pub struct Fields<'b> {
    rest: &'b [u8],
}

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<Field<'b>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = read_field(self.rest);
        self.rest = read.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(read.map(|(field, _)| field))
    }
}

fn read_field(bytes: &[u8]) -> Result<(Field<'_>, &[u8]), Malformed> {
    let (key, rest) = read_varint(bytes)?;
    let (value, rest) = match key & 7 {
        0 => read_varint(rest).map(|(value, rest)| (Value::Varint(value), rest))?,
        1 => (Value::Fixed, rest.get(8..).ok_or(Malformed)?),
        2 => {
            let (length, rest) = read_varint(rest)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
            (Value::Bytes(value), rest)
        }
        5 => (Value::Fixed, rest.get(4..).ok_or(Malformed)?),
        _ => return Err(Malformed),
    };
    let whole = bytes.get(..bytes.len() - rest.len()).ok_or(Malformed)?;
    Ok((Field { number: key >> 3, value, whole }, rest))
}

fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(VARINT_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f).wrapping_shl(7 * u32::try_from(at).unwrap_or(0));
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(at + 1..).unwrap_or(&[])));
        }
    }
    Err(Malformed)
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// Appends a number.
pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a text, bytes or a message.
pub fn put(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, u64::try_from(bytes.len()).unwrap_or(0));
    out.extend_from_slice(bytes);
}

/// What stands at a path of field numbers; the last one counts where there are several, as it does to protobuf.
pub fn get<'b>(message: &'b [u8], path: &[u64]) -> Result<Option<&'b [u8]>, Malformed> {
    let Some((number, below)) = path.split_first() else { return Ok(Some(message)) };
    let mut found = None;
    for field in fields(message) {
        match field? {
            Field { number: at, value: Value::Bytes(bytes), .. } if at == *number => found = Some(bytes),
            _ => {}
        }
    }
    found.map_or(Ok(None), |bytes| get(bytes, below))
}

/// The text at a path; empty where there is none, as protobuf has it.
pub fn text<'b>(message: &'b [u8], path: &[u64]) -> Result<&'b str, Malformed> {
    let bytes = get(message, path)?.unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// The number at a path; 0 where there is none.
pub fn number(message: &[u8], path: &[u64]) -> Result<u64, Malformed> {
    let Some((last, above)) = path.split_last() else { return Err(Malformed) };
    let mut found = 0;
    for field in fields(get(message, above)?.unwrap_or_default()) {
        match field? {
            Field { number: at, value: Value::Varint(value), .. } if at == *last => found = value,
            _ => {}
        }
    }
    Ok(found)
}

/// Each of a repeated field.
pub fn each(message: &[u8], number: u64) -> Result<Vec<&[u8]>, Malformed> {
    let mut found = Vec::new();
    for field in fields(message) {
        match field? {
            Field { number: at, value: Value::Bytes(bytes), .. } if at == number => found.push(bytes),
            _ => {}
        }
    }
    Ok(found)
}

/// The message with these bytes at a path, which is made where it is not there.
pub fn set(message: &[u8], path: &[u64], bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let Some((number, below)) = path.split_first() else { return Ok(bytes.to_vec()) };
    let inner = set(get(message, &[*number])?.unwrap_or_default(), below, bytes)?;
    let mut out = Vec::with_capacity(message.len() + bytes.len() + VARINT_BYTES);
    let mut is_put = false;
    for field in fields(message) {
        let field = field?;
        match field.number == *number {
            false => out.extend_from_slice(field.whole),
            // Where a field stands twice both are replaced by one, which is what a reader sees of them.
            true if is_put => {}
            true => {
                put(&mut out, *number, &inner);
                is_put = true;
            }
        }
    }
    if !is_put {
        put(&mut out, *number, &inner);
    }
    Ok(out)
}

/// The message with each of a repeated field changed; `None` leaves it out.
pub fn change_each(
    message: &[u8],
    number: u64,
    mut change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message) {
        match field? {
            Field { number: at, value: Value::Bytes(bytes), .. } if at == number => {
                if let Some(changed) = change(bytes)? {
                    put(&mut out, number, &changed);
                }
            }
            other => out.extend_from_slice(other.whole),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(parts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in parts {
            put(&mut out, *number, bytes);
        }
        out
    }

    #[test]
    fn a_path_is_read_and_written_and_everything_else_stays() {
        let inner = message(&[(1, b"ns"), (2, b"orders"), (900, b"new")]);
        let mut outer = message(&[(1, &inner), (77, b"unknown")]);
        put_number(&mut outer, 5, 300);
        outer.extend_from_slice(&[0x0d | 8 << 3, 1, 2, 3, 4]);
        assert_eq!(text(&outer, &[1, 2]), Ok("orders"));
        assert_eq!(number(&outer, &[5]), Ok(300));
        let changed = set(&outer, &[1, 2], b"orders--feat1").unwrap();
        assert_eq!(text(&changed, &[1, 2]), Ok("orders--feat1"));
        assert_eq!(set(&changed, &[1, 2], b"orders").unwrap(), outer, "and back, byte for byte");
        let made = set(&[], &[3, 4], b"x").unwrap();
        assert_eq!(text(&made, &[3, 4]), Ok("x"));
        assert_eq!(text(&[], &[3, 4]), Ok(""));
    }

    #[test]
    fn of_two_the_last_counts_and_one_is_left() {
        let twice = message(&[(2, b"a"), (3, b"k"), (2, b"b")]);
        assert_eq!(text(&twice, &[2]), Ok("b"));
        assert_eq!(set(&twice, &[2], b"c").unwrap(), message(&[(2, b"c"), (3, b"k")]));
    }

    #[test]
    fn what_is_no_message_is_told() {
        for bytes in [&[0x0a, 5, 1][..], &[0x0b], &[0x80], &[0x09, 1], &[0xff; 11]] {
            assert_eq!(get(bytes, &[1]), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_copied_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let copied = change_each(&bytes, 3, |inner| Ok(Some(inner.to_vec())));
            let read: Result<Vec<_>, _> = fields(&bytes).collect();
            prop_assert_eq!(copied.is_ok(), read.is_ok());
            if let Ok(read) = read {
                let whole: Vec<u8> = read.iter().flat_map(|field| field.whole.to_vec()).collect();
                prop_assert_eq!(whole, bytes);
            }
        }
    }
}
