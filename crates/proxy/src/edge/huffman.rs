//! The Huffman code of HPACK (RFC 7541, appendix B), decoded.
//!
//! Answers: what does this text say? The code is canonical, so its lengths are all there is to know of it; from them a
//! table is made once that takes half a byte a step. Never: encodes.

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
const LONGEST: u8 = 30;
/// A text ends with less than a byte of ones.
const PADDING: usize = 7;

/// Where a bit leads to.
#[derive(Clone, Copy)]
enum Branch {
    /// No code begins like this.
    Nothing,
    Node(u8),
    Byte(u8),
}

/// What half a byte of code comes to: no code is shorter than five bits, so one byte of text at most.
#[derive(Clone, Copy)]
struct Step {
    node: u8,
    byte: Option<u8>,
}

struct Decoder {
    /// By node and half a byte.
    steps: Vec<[Option<Step>; 16]>,
    /// Where a text may end.
    ends: Vec<u8>,
}

static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
    let tree = tree();
    let steps_of = |node| std::array::from_fn(|half| step(&tree, node, half));
    let ones = std::iter::successors(Some(0), |node| match branch(&tree, *node, 1) {
        Branch::Node(next) => Some(next),
        Branch::Nothing | Branch::Byte(_) => None,
    });
    let ends = ones.take(PADDING + 1).collect();
    Decoder { steps: (0..tree.len()).map(|node| steps_of(node as u8)).collect(), ends }
});

/// The code as a tree, whose first node is the root.
fn tree() -> Vec<[Branch; 2]> {
    let mut tree = vec![[Branch::Nothing; 2]];
    let mut code = 0_u32;
    for length in 1..=LONGEST {
        code <<= 1;
        for (byte, _) in (0..=u8::MAX).zip(LENGTHS).filter(|(_, own)| *own == length) {
            grow(&mut tree, code, length, byte);
            code += 1;
        }
    }
    tree
}

fn grow(tree: &mut Vec<[Branch; 2]>, code: u32, length: u8, byte: u8) {
    let mut node = 0;
    for place in (0..length).rev() {
        let next = tree.len() as u8;
        let Some(branch) = tree.get_mut(node).and_then(|node| node.get_mut((code >> place & 1) as usize))
        else {
            return;
        };
        node = match *branch {
            _ if place == 0 => {
                *branch = Branch::Byte(byte);
                return;
            }
            Branch::Node(next) => next.into(),
            Branch::Nothing | Branch::Byte(_) => {
                *branch = Branch::Node(next);
                tree.push([Branch::Nothing; 2]);
                next.into()
            }
        };
    }
}

fn branch(tree: &[[Branch; 2]], node: u8, bit: usize) -> Branch {
    tree.get(usize::from(node)).and_then(|node| node.get(bit)).copied().unwrap_or(Branch::Nothing)
}

fn step(tree: &[[Branch; 2]], mut node: u8, half: usize) -> Option<Step> {
    let mut byte = None;
    for place in (0..4).rev() {
        node = match branch(tree, node, half >> place & 1) {
            Branch::Nothing => return None,
            Branch::Node(next) => next,
            Branch::Byte(found) => {
                byte = Some(found);
                0
            }
        };
    }
    Some(Step { node, byte })
}

/// The text behind a code; `None` for what is none.
pub fn decode(code: &[u8]) -> Option<Vec<u8>> {
    let Decoder { steps, ends } = &*DECODER;
    // The shortest codes are of five bits.
    let mut text = Vec::with_capacity(code.len() * 8 / 5 + 1);
    let mut node = 0;
    for half in code.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
        let step = (*steps.get(usize::from(node))?.get(usize::from(half))?)?;
        node = step.node;
        text.extend(step.byte);
    }
    ends.contains(&node).then_some(text)
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
        // A byte of ones is no end of a text, and neither are zeros.
        assert_eq!(decode(&[0x64, 0x02, 0xff]), None);
        assert_eq!(decode(&[0x64]), None);
    }
}
