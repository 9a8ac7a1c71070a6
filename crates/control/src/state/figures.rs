//! The figures of each second, so that a start does not begin without the last hour.
//!
//! Owns: one table in a file of its own below `state`. It may be lost, so no write waits for the disk.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, params};

const FILE: &str = "figures.sqlite";
const TABLE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS figures (
        second INTEGER, service TEXT, version TEXT, value TEXT NOT NULL,
        PRIMARY KEY (second, service, version)) WITHOUT ROWID;";

/// One row: a second, a service, a version, and what was counted, as JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Figure {
    pub second: u64,
    pub service: String,
    pub version: String,
    pub value: String,
}

/// The table.
pub struct Figures(Mutex<Connection>);

impl Figures {
    pub fn open(state: &Path) -> Result<Figures, String> {
        let opened = Connection::open(state.join(FILE)).and_then(|database| {
            database.execute_batch(TABLE)?;
            Ok(database)
        });
        let database = opened.map_err(|error| format!("{}: {error}", state.join(FILE).display()))?;
        Ok(Figures(Mutex::new(database)))
    }

    /// Writes rows, each over what was there, and takes away what is older than `oldest`.
    pub fn keep(&self, rows: &[Figure], oldest: u64) -> Result<(), String> {
        let mut database = self.0.lock();
        let mut write = || {
            let written = database.transaction()?;
            for row in rows {
                let text = "INSERT OR REPLACE INTO figures VALUES (?1, ?2, ?3, ?4)";
                let values = params![signed(row.second), row.service, row.version, row.value];
                written.prepare_cached(text)?.execute(values)?;
            }
            written.prepare_cached("DELETE FROM figures WHERE second < ?1")?.execute([signed(oldest)])?;
            written.commit()
        };
        write().map_err(|error: rusqlite::Error| error.to_string())
    }

    /// All rows, oldest first.
    pub fn all(&self) -> Result<Vec<Figure>, String> {
        let database = self.0.lock();
        let read = || {
            let mut asked =
                database.prepare("SELECT second, service, version, value FROM figures ORDER BY second")?;
            let found = asked.query_map([], |row| {
                Ok(Figure {
                    second: row.get::<_, i64>(0)?.unsigned_abs(),
                    service: row.get(1)?,
                    version: row.get(2)?,
                    value: row.get(3)?,
                })
            })?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| error.to_string())
    }
}

fn signed(second: u64) -> i64 {
    i64::try_from(second).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_outlive_a_process_until_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let row = |second, value: &str| Figure {
            second,
            service: "patient".into(),
            version: "gray".into(),
            value: value.into(),
        };
        let figures = Figures::open(folder.path()).unwrap();
        figures.keep(&[row(1, "a"), row(2, "b")], 0).unwrap();
        figures.keep(&[row(2, "c"), row(3, "d")], 2).unwrap();
        drop(figures);
        let again = Figures::open(folder.path()).unwrap().all().unwrap();
        assert_eq!(again, [row(2, "c"), row(3, "d")]);
    }
}
