//! The framing of a chunked body, held strictly while its bytes go by.
//!
//! Answers: which of these bytes belong to the body, and may all of them go on? The framework reads chunks too, and
//! takes an empty size line for a zero and a bare line feed for the end of a line; what an upstream reads as more or
//! less body than we do is another request to it. Bytes are looked at and never changed. Never: IO.

/// Longest size line, its extensions included: no client needs any, and some fill them to hold a connection.
const SIZE_LINE_LIMIT: usize = 4 << 10;
/// All trailers of a body together; they are read and dropped.
const TRAILERS_LIMIT: usize = 16 << 10;
/// Hexadecimal digits of a size that fits, with a bit to spare.
const DIGITS_LIMIT: u8 = 15;

/// The body is not framed as RFC 9112, section 7.1, says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are malformed")]
pub struct Malformed;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a size, of which so many digits were read.
    Size(u8),
    /// Behind a size: spaces, and what may follow them.
    Padding,
    Extension,
    /// Behind the carriage return of a size line.
    SizeEnd,
    Content,
    /// Behind a chunk's content.
    ContentReturn,
    ContentEnd,
    /// At the beginning of a trailer, or of the blank line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    /// Behind the carriage return of a trailer.
    TrailerEnd,
    /// Behind the carriage return of the blank line.
    LastEnd,
}

/// Follows one chunked body to its end.
#[derive(Clone, Debug)]
pub struct ChunkScanner {
    at: At,
    /// The size being read, or what is left of the chunk's content.
    left: u64,
    /// Bytes of the size line, or of all trailers, so far.
    line: usize,
    /// Bytes of content so far.
    content: u64,
}

impl Default for ChunkScanner {
    fn default() -> ChunkScanner {
        ChunkScanner { at: At::Size(0), left: 0, line: 0, content: 0 }
    }
}

impl ChunkScanner {
    /// Bytes of the body itself so far, without what frames them.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Looks at the next bytes. `Some`: the body ends behind so many of them; the rest is not the body's.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        self.scan_into(bytes, |_| {})
    }

    /// The same, for who takes the body itself, without what frames it.
    pub fn scan_into(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<Option<usize>, Malformed> {
        let mut i = 0;
        while let Some(byte) = bytes.get(i) {
            if self.at == At::Content {
                let here = (bytes.len() - i).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= here as u64;
                self.content += here as u64;
                take(bytes.get(i..i + here).unwrap_or_default());
                i += here;
                if self.left == 0 {
                    self.at = At::ContentReturn;
                }
                continue;
            }
            i += 1;
            if self.at == At::LastEnd {
                return if *byte == b'\n' { Ok(Some(i)) } else { Err(Malformed) };
            }
            self.at = self.next(*byte)?;
        }
        Ok(None)
    }

    fn next(&mut self, byte: u8) -> Result<At, Malformed> {
        self.line += 1;
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        match (self.at, byte) {
            (At::Size(digits), _) if byte.is_ascii_hexdigit() && digits < DIGITS_LIMIT => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                self.left = self.left << 4 | u64::from(digit);
                Ok(At::Size(digits + 1))
            }
            (At::Size(1..) | At::Padding | At::Extension, b'\r') => Ok(At::SizeEnd),
            (At::Size(1..) | At::Padding, b' ' | b'\t') => self.within(SIZE_LINE_LIMIT, At::Padding),
            (At::Size(1..) | At::Padding, b';') => Ok(At::Extension),
            (At::Extension, _) if is_text => self.within(SIZE_LINE_LIMIT, At::Extension),
            (At::SizeEnd, b'\n') => {
                self.line = 0;
                Ok(if self.left == 0 { At::Trailer } else { At::Content })
            }
            (At::ContentReturn, b'\r') => Ok(At::ContentEnd),
            (At::ContentEnd, b'\n') => {
                self.line = 0;
                Ok(At::Size(0))
            }
            (At::Trailer, b'\r') => Ok(At::LastEnd),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::Trailer | At::TrailerName, _) if is_token(byte) => {
                self.within(TRAILERS_LIMIT, At::TrailerName)
            }
            (At::TrailerValue, b'\r') => Ok(At::TrailerEnd),
            (At::TrailerValue, _) if is_text => self.within(TRAILERS_LIMIT, At::TrailerValue),
            (At::TrailerEnd, b'\n') => Ok(At::Trailer),
            _ => Err(Malformed),
        }
    }

    fn within(&self, limit: usize, at: At) -> Result<At, Malformed> {
        if self.line > limit { Err(Malformed) } else { Ok(at) }
    }
}

/// What names of fields are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the body ends when its bytes come in pieces of `size`.
    fn end(body: &[u8], size: usize) -> Result<Option<usize>, Malformed> {
        let mut scanner = ChunkScanner::default();
        for (i, piece) in body.chunks(size).enumerate() {
            if let Some(end) = scanner.scan(piece)? {
                return Ok(Some(i * size + end));
            }
        }
        Ok(None)
    }

    /// What the body says, when its bytes come in pieces of `size`.
    fn content(body: &[u8], size: usize) -> Vec<u8> {
        let (mut scanner, mut content) = (ChunkScanner::default(), Vec::new());
        for piece in body.chunks(size) {
            scanner.scan_into(piece, |taken| content.extend_from_slice(taken)).unwrap();
        }
        assert_eq!(scanner.content(), content.len() as u64);
        content
    }

    #[test]
    fn content_is_taken_without_its_frames() {
        let body = b"2;a=b\r\nab\r\nA\r\n0123\r\n6789\r\n0\r\nX: y\r\n\r\n";
        for size in [1, 2, 3, 7, 1_000] {
            assert_eq!(content(body, size), b"ab0123\r\n6789", "pieces of {size}");
        }
    }

    fn check(body: &str, expected: Result<Option<usize>, Malformed>) {
        for size in [1, 2, 3, 7, 1_000] {
            assert_eq!(end(body.as_bytes(), size), expected, "{body:?} in pieces of {size}");
        }
    }

    #[test]
    fn bodies_end_where_they_say() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "2\r\nab\r\n0\r\n\r\n",
            "2 \t\r\nab\r\n0;last\r\n\r\n",
            "2;a=b;c=\"d e\"\r\n\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            check(body, Ok(Some(body.len())));
            check(&format!("{body}GET / HTTP/1.1\r\n"), Ok(Some(body.len())));
            for end in 1..body.len() {
                check(&body[..end], Ok(None));
            }
        }
    }

    #[test]
    fn what_others_may_read_otherwise_is_refused() {
        let (long, many) = ("x".repeat(SIZE_LINE_LIMIT), "X: y\r\n".repeat(TRAILERS_LIMIT / 4));
        for body in [
            "\r\n",
            "\r\n0\r\n\r\n",
            " 2\r\nab\r\n",
            ";a\r\n\r\n",
            "2\nab\r\n",
            "2;\nxx\r\n",
            "2;a\nb\r\nab\r\n",
            "2;a\rb\r\n",
            "2;a\0\r\n",
            "2\r\rab\r\n",
            "2 2\r\nab\r\n",
            "+2\r\n",
            "-2\r\n",
            "0x2\r\n",
            "2\r\nabc\r\n",
            "2\r\nab\n0\r\n\r\n",
            "2\r\nab0\r\n\r\n",
            "g\r\n",
            "1111111111111111\r\n",
            "0\r\n\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            &format!("2;{long}\r\n"),
            &format!("0\r\n{many}\r\n"),
        ] {
            check(body, Err(Malformed));
        }
    }
}
