//! The Huffman code of HPACK (RFC 7541, appendix B), decoded.
//!
//! Answers: what does this text say? The code is canonical, so its lengths are all there is to know of it. Never: encodes.

use std::sync::LazyLock;

/// Bits of each byte's code.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8,
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24,
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26,
];
const LONGEST: usize = 30;

/// The bytes whose codes have one length, in the order of their codes.
#[derive(Clone, Debug, Default)]
struct Row {
    first: u32,
    bytes: Vec<u8>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let mut rows = vec![Row::default(); LONGEST + 1];
    let mut next = 0;
    for (length, row) in rows.iter_mut().enumerate() {
        next <<= 1;
        row.first = next;
        row.bytes = (0..=u8::MAX)
            .filter(|byte| LENGTHS.get(usize::from(*byte)).map(|l| usize::from(*l)) == Some(length))
            .collect();
        next += row.bytes.len() as u32;
    }
    rows
});

/// The text behind a code; `None` for what is none. Codes of bytes that are not ASCII are so long that a text without a
/// byte of ones has none of them.
pub fn decode(code: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(code.len() * 2);
    let (mut bits, mut length) = (0_u32, 0);
    for bit in code.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        (bits, length) = (bits << 1 | u32::from(bit), length + 1);
        let row = ROWS.get(length)?;
        let place = bits.checked_sub(row.first).and_then(|place| row.bytes.get(place as usize));
        if let Some(byte) = place {
            text.push(*byte);
            (bits, length) = (0, 0);
        }
    }
    // Less than a byte of ones fills the last one up.
    (length < 8 && bits == (1 << length) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_the_standard_are_read() {
        for (code, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                &b"www.example.com"[..],
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], b"no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], b"custom-value"),
            (&[0x64, 0x02], b"302"),
            (&[], b""),
        ] {
            assert_eq!(decode(code).as_deref(), Some(text));
        }
        // 0xff is twenty-six bits: eight and fourteen ones, then 1110.
        assert_eq!(decode(&[0xff, 0xff, 0xfb, 0xbf]).as_deref(), Some(&[0xff][..]));
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode(&[0x00]), None);
    }
}
