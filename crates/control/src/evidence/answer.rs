//! What a proxy answered: rows, and where the next question goes on.
//!
//! Owns: what makes an answer one. Rows that cannot be read, or cannot be true, are counted and left out; an answer of
//! another proxy is none. Never: asks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use graygate_judge::blocks::{Edges, Reading, Row, Teller};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursors::Cursor;

/// Longest id, boot or cursor.
const WORD_LIMIT: usize = 512;

/// An answer of `GET /observations`.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    proxy: Cow<'a, str>,
    #[serde(borrow)]
    boot: Cow<'a, str>,
    #[serde(borrow)]
    cursor: Cow<'a, str>,
    lost: u64,
    edges_ms: Vec<f64>,
    now: u64,
    #[serde(borrow)]
    seconds: Vec<&'a RawValue>,
}

/// The same, as far as it can be believed.
#[derive(Debug)]
pub struct Answer {
    pub proxy: String,
    pub cursor: Cursor,
    pub now: u64,
    pub lost: u64,
    pub rows: Vec<Row>,
    /// Rows that could not be read or cannot be true, by service; empty for those that name none.
    pub left_out: BTreeMap<String, u64>,
}

impl Answer {
    pub fn read(body: &[u8]) -> Result<Answer, String> {
        let written: Written<'_> =
            serde_json::from_slice(body).map_err(|error| format!("the answer is not one: {error}"))?;
        let words = [&written.proxy, &written.boot, &written.cursor];
        if words.iter().any(|word| word.is_empty() || word.len() > WORD_LIMIT) {
            return Err("the answer has no good `proxy`, `boot` or `cursor`".to_owned());
        }
        let edges = Edges::new(written.edges_ms.clone()).ok_or("the answer's `edges_ms` are none")?;
        let edges = Some(&edges).filter(|edges| !edges.same_as(Edges::usual()));
        let teller = Teller { proxy: &written.proxy, boot: &written.boot, edges };
        let mut answer = Answer {
            proxy: written.proxy.to_string(),
            cursor: cursor(&written),
            now: written.now,
            lost: written.lost,
            rows: Vec::with_capacity(written.seconds.len()),
            left_out: BTreeMap::new(),
        };
        for entry in &written.seconds {
            answer.take(Row::read_entry(entry.get().as_bytes(), &teller).ok());
        }
        Ok(answer)
    }

    fn take(&mut self, reading: Option<Reading>) {
        let service = match reading {
            Some(Reading::Row(row)) => return self.rows.push(row),
            Some(Reading::Impossible { service, .. }) => service.into_string(),
            None => String::new(),
        };
        *self.left_out.entry(service).or_default() += 1;
    }
}

fn cursor(written: &Written<'_>) -> Cursor {
    // A cursor's last part is the first second that was not told; of any other kind, what was told is before `now`.
    let told = written.cursor.rsplit('.').next().and_then(|second| second.parse().ok());
    Cursor {
        boot: written.boot.to_string(),
        text: written.cursor.to_string(),
        told: told.unwrap_or(written.now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"second":7,"service":"s","route":"r","rule":null,"share":0,"version":"release","requests":3,
        "timed":3,"undrawn":0,"errors":0,"error_clients":[],"sampled":0,"fallbacks":0,"slower":[2,1]}"#;

    fn answer(edges: &str, seconds: &str) -> String {
        format!(
            r#"{{"proxy":"p","boot":"b","cursor":"b.8","lost":2,"edges_ms":{edges},"now":9,"counting_since":1,
            "left_out":0,"seconds":[{seconds}],"something":"newer"}}"#
        )
    }

    #[test]
    fn rows_are_read_and_bad_ones_are_counted() {
        let bad = ROW.replace("\"requests\":3", "\"requests\":2");
        let text = answer("[1,1.5]", &[ROW, &bad, "7", "{}"].join(","));
        let read = Answer::read(text.as_bytes()).unwrap();
        assert_eq!((read.rows.len(), read.now, read.lost), (1, 9, 2));
        assert_eq!(read.left_out, BTreeMap::from([("s".to_owned(), 1), (String::new(), 2)]));
        assert_eq!(read.cursor, Cursor { boot: "b".into(), text: "b.8".into(), told: 8 });
        let row = &read.rows[0];
        assert_eq!((&*row.key.proxy, &*row.key.boot, row.counts.slower_than(1)), ("p", "b", 1));
        assert_eq!(row.edges.as_deref().map(Edges::len), Some(2));
        let usual: Vec<f64> = (0..61).map(|k| 1.2f64.powi(k)).collect();
        let read = Answer::read(answer(&serde_json::to_string(&usual).unwrap(), ROW).as_bytes()).unwrap();
        assert_eq!(read.rows[0].edges, None, "the usual ones are named nowhere");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for text in [
            String::new(),
            "[]".into(),
            "<html>".into(),
            answer("[]", ROW),
            answer("[1]", ROW).replace("\"proxy\":\"p\"", "\"proxy\":\"\""),
            answer("[1]", ROW).replace("\"now\":9", "\"now\":-1"),
            answer("[1]", ROW).replace("\"now\":9", "\"later\":9"),
            answer("[1]", ROW).replace("\"cursor\":\"b.8\"", "\"cursor\":7"),
        ] {
            assert!(Answer::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
