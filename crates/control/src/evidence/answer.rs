//! What a proxy answered: rows, and where the next question goes on.
//!
//! Owns: what makes an answer one. Rows that cannot be read, or cannot be true, are counted and left out; an answer of
//! another proxy is none. Never: asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use graygate_judge::blocks::{Edges, Entry, Names, Reading, Row, Teller};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::cursors::Cursor;

/// Longest id, boot or cursor.
const WORD_LIMIT: usize = 512;

/// The fields that are read.
const FIELDS: [&str; 7] = ["proxy", "boot", "cursor", "lost", "edges_ms", "now", "seconds"];

/// An answer of `GET /observations`.
#[derive(Deserialize)]
struct Written<'a> {
    proxy: String,
    boot: String,
    cursor: String,
    lost: u64,
    edges_ms: Vec<f64>,
    now: u64,
    #[serde(borrow)]
    seconds: Vec<&'a RawValue>,
}

/// What an answer says beside its rows.
struct Head {
    proxy: String,
    boot: String,
    cursor: String,
    lost: u64,
    edges_ms: Vec<f64>,
    now: u64,
}

/// The same, as far as it was read.
#[derive(Default)]
struct Unread {
    proxy: Option<String>,
    boot: Option<String>,
    cursor: Option<String>,
    lost: Option<u64>,
    edges_ms: Option<Vec<f64>>,
    now: Option<u64>,
}

impl Unread {
    fn whole(self) -> Option<Head> {
        Some(Head {
            proxy: self.proxy?,
            boot: self.boot?,
            cursor: self.cursor?,
            lost: self.lost?,
            edges_ms: self.edges_ms?,
            now: self.now?,
        })
    }
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
    /// Reads an answer; `names` are those of the round, which all proxies' rows share.
    pub fn read(body: &[u8], names: &mut Names) -> Result<Answer, String> {
        // Almost every answer is read in one go. Where a row is none, each is read by itself, so that it costs no other.
        let mut from = serde_json::Deserializer::from_slice(body);
        if let Ok(answer) = InOneGo(names).deserialize(&mut from)
            && from.end().is_ok()
        {
            return answer;
        }
        let written: Written<'_> =
            serde_json::from_slice(body).map_err(|error| format!("the answer is not one: {error}"))?;
        let Written { proxy, boot, cursor, lost, edges_ms, now, seconds } = written;
        let (mut answer, told) = Head { proxy, boot, cursor, lost, edges_ms, now }.begin()?;
        for entry in seconds {
            answer.take(Entry::read(entry.get()).ok().map(|entry| told.read(entry, names)));
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

/// What stands beside every row of an answer.
struct Told {
    teller: Arc<Teller>,
    edges: Option<Arc<Edges>>,
}

impl Told {
    fn read(&self, entry: Entry<'_>, names: &mut Names) -> Reading {
        entry.told(&self.teller, self.edges.as_ref(), names)
    }
}

impl Head {
    /// An answer without rows.
    fn begin(self) -> Result<(Answer, Told), String> {
        let words = [&self.proxy, &self.boot, &self.cursor];
        if words.iter().any(|word| word.is_empty() || word.len() > WORD_LIMIT) {
            return Err("the answer has no good `proxy`, `boot` or `cursor`".to_owned());
        }
        // A cursor's last part is the first second that was not told; of any other kind, what was told is before `now`.
        let next = self.cursor.rsplit('.').next().and_then(|second| second.parse().ok());
        let edges = Edges::new(self.edges_ms).ok_or("the answer's `edges_ms` are none")?;
        let edges = Some(edges).filter(|edges| !edges.same_as(Edges::usual())).map(Arc::new);
        let told = Told { teller: Arc::new(Teller::new(&self.proxy, &self.boot)), edges };
        let answer = Answer {
            proxy: self.proxy,
            cursor: Cursor { boot: self.boot, text: self.cursor, told: next.unwrap_or(self.now) },
            now: self.now,
            lost: self.lost,
            rows: Vec::new(),
            left_out: BTreeMap::new(),
        };
        Ok((answer, told))
    }
}

/// Reads an answer whose rows come last, as proxies write it, and turns each into what is kept of it at once. An error is only
/// that it has to be read otherwise; what is inside says what the answer comes to.
struct InOneGo<'n>(&'n mut Names);

impl<'de> DeserializeSeed<'de> for InOneGo<'_> {
    type Value = Result<Answer, String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for InOneGo<'_> {
    type Value = Result<Answer, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut head = Unread::default();
        while let Some(field) = fields.next_key::<&str>()? {
            match field {
                "proxy" => head.proxy = Some(fields.next_value()?),
                "boot" => head.boot = Some(fields.next_value()?),
                "cursor" => head.cursor = Some(fields.next_value()?),
                "lost" => head.lost = Some(fields.next_value()?),
                "edges_ms" => head.edges_ms = Some(fields.next_value()?),
                "now" => head.now = Some(fields.next_value()?),
                "seconds" => {
                    let head = head.whole().ok_or_else(|| A::Error::missing_field("boot"))?;
                    let (answer, told) = match head.begin() {
                        Ok(begun) => begun,
                        Err(why) => {
                            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                            return Ok(Err(why));
                        }
                    };
                    let answer = fields.next_value_seed(Rows { answer, told, names: self.0 })?;
                    // Whatever says a field again is read otherwise, and refused there.
                    while let Some((field, IgnoredAny)) = fields.next_entry::<&str, IgnoredAny>()? {
                        if FIELDS.contains(&field) {
                            return Err(A::Error::custom("a field stands behind the rows"));
                        }
                    }
                    return Ok(Ok(answer));
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Err(A::Error::missing_field("seconds"))
    }
}

/// The rows of an answer.
struct Rows<'n> {
    answer: Answer,
    told: Told,
    names: &'n mut Names,
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = Answer;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Answer, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Answer;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<Answer, A::Error> {
        while let Some(entry) = entries.next_element::<Entry<'de>>()? {
            self.answer.take(Some(self.told.read(entry, self.names)));
        }
        self.answer.rows.shrink_to_fit();
        Ok(self.answer)
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
        let read = Answer::read(text.as_bytes(), &mut Names::default()).unwrap();
        assert_eq!((read.rows.len(), read.now, read.lost), (1, 9, 2));
        assert_eq!(read.left_out, BTreeMap::from([("s".to_owned(), 1), (String::new(), 2)]));
        assert_eq!(read.cursor, Cursor { boot: "b".into(), text: "b.8".into(), told: 8 });
        let row = &read.rows[0];
        assert_eq!((&*row.key.teller.proxy, &*row.key.teller.boot, row.counts.slower_than(1)), ("p", "b", 1));
        assert_eq!(row.edges.as_deref().map(Edges::len), Some(2));
        let usual: Vec<f64> = (0..61).map(|k| 1.2f64.powi(k)).collect();
        let read = Answer::read(
            answer(&serde_json::to_string(&usual).unwrap(), ROW).as_bytes(),
            &mut Names::default(),
        )
        .unwrap();
        assert_eq!(read.rows[0].edges, None, "the usual ones are named nowhere");
    }

    #[test]
    fn an_answer_says_the_same_in_any_order_and_whatever_is_between_its_rows() {
        let usual = answer("[1,1.5]", &[ROW, &ROW.replace("release", "gray")].join(","));
        let rows = usual.find("\"seconds\"").unwrap();
        let (head, last) = usual.split_at(rows);
        let (seconds, rest) = last.split_once(",\"something\"").unwrap();
        let turned = format!("{{{seconds},{}\"something\"{rest}", &head[1..]);
        let read = |text: &str| Answer::read(text.as_bytes(), &mut Names::default()).unwrap();
        let (one, other) = (read(&usual), read(&turned));
        assert_eq!((one.rows.len(), &one.rows, &one.cursor), (2, &other.rows, &other.cursor));
        // A number that no machine has costs its row alone, in the middle of an answer as well.
        let text =
            answer("[1,1.5]", &[ROW, &ROW.replace("\"requests\":3", "\"requests\":1e999"), ROW].join(","));
        let read = read(&text);
        assert_eq!((read.rows.len(), read.left_out), (2, BTreeMap::from([(String::new(), 1)])));
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
            assert!(Answer::read(text.as_bytes(), &mut Names::default()).is_err(), "{text}");
        }
    }
}
