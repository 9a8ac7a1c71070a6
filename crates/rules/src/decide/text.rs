//! Comparing texts whatever their case. Never: patterns, which ignore case by themselves.

use icu_casemap::CaseMapper;

/// Writes `value` with its case folded, as Unicode simple case folding does; bytes that are no UTF-8 stay.
pub fn fold(value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    if value.is_ascii() {
        out.extend(value.iter().map(u8::to_ascii_lowercase));
        return;
    }
    let mapper = CaseMapper::new();
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            out.extend_from_slice(mapper.simple_fold(c).encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_simple_and_unicode() {
        let folded = |text: &[u8]| {
            let mut out = Vec::new();
            fold(text, &mut out);
            out
        };
        for (a, b, same) in [
            ("ABC", "abc", true),
            ("ÄÖ", "äö", true),
            ("\u{212a}", "k", true),
            ("ſ", "s", true),
            ("Σ", "ς", true),
            ("ß", "ss", false),
            ("İ", "i", false),
            ("ẞ", "ß", true),
        ] {
            assert_eq!(folded(a.as_bytes()) == folded(b.as_bytes()), same, "{a} {b}");
        }
        assert_eq!(folded(b"A\xffB"), b"a\xffb");
    }
}
