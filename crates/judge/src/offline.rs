//! What would the judge have said of these rows?
//!
//! Owns the judge without a control plane: a row a line in, by second, and one line out for each second that has rows, so
//! that anyone can check a verdict. Never: files, clocks, exit codes.

use std::io::{self, BufRead, Read, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::blocks::{Names, Reading, Row};
use crate::evidence::Strata;
use crate::guards::Guards;
use crate::judge::{Judge, Requests, Run, Tick, Verdict, Watched};

/// A row with 256 clients and 61 edges has some 8 KiB; a line of more than this is no row.
const LONGEST_LINE: u64 = 1 << 20;

/// What is judged.
#[derive(Clone, Debug)]
pub struct Options {
    pub plan: String,
    pub version: String,
    /// None: those of the input's first second.
    pub services: Vec<String>,
    pub guards: Guards,
}

/// Reads rows, writes verdicts, and names lines that could not be read. Answers how many those were.
pub fn run(
    input: impl BufRead,
    output: impl Write,
    problems: impl Write,
    options: Options,
) -> io::Result<u64> {
    let mut session =
        Session { output, options, judge: None, second: 0, passed: 1, waiting: Waiting::default() };
    let mut lines =
        Lines { input, problems, number: 0, unreadable: 0, line: Vec::new(), names: Names::default() };
    while let Some(reading) = lines.next()? {
        session.take(reading)?;
    }
    session.close()?;
    session.output.flush()?;
    lines.problems.flush()?;
    Ok(lines.unreadable)
}

/// The input, line by line.
struct Lines<I, P> {
    input: I,
    problems: P,
    number: u64,
    unreadable: u64,
    line: Vec<u8>,
    names: Names,
}

impl<I: BufRead, P: Write> Lines<I, P> {
    /// The next line that is a row.
    fn next(&mut self) -> io::Result<Option<Reading>> {
        loop {
            self.line.clear();
            let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LONGEST_LINE && !self.line.ends_with(b"\n") {
                self.input.skip_until(b'\n')?;
                self.complain(&format!("longer than {LONGEST_LINE} bytes"))?;
                continue;
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            match Row::read_with(&self.line, &mut self.names) {
                Ok(reading) => return Ok(Some(reading)),
                Err(error) => self.complain(&error.to_string())?,
            }
        }
    }

    fn complain(&mut self, why: &str) -> io::Result<()> {
        self.unreadable += 1;
        // The line is the only one its reader saw, so a place within it is a column.
        let why = why.replacen(" at line 1 column ", " at column ", 1);
        writeln!(self.problems, "line {}: {why}", self.number)
    }
}

/// The second at hand, and the judge once there is one.
struct Session<W> {
    output: W,
    options: Options,
    judge: Option<Judge>,
    second: u64,
    passed: u64,
    waiting: Waiting,
}

/// What came in for a second.
#[derive(Default)]
struct Waiting {
    any: bool,
    rows: Vec<Row>,
    impossible: u64,
    /// In the first second alone, in the order of their coming.
    services: Vec<Box<str>>,
}

impl<W: Write> Session<W> {
    fn take(&mut self, reading: Reading) -> io::Result<()> {
        let (second, service) = match &reading {
            Reading::Row(row) => (Some(row.key.second), &row.key.series.service),
            Reading::Impossible { second, service } => (*second, service),
        };
        if let Some(second) = second {
            self.reach(second)?;
        }
        if self.judge.is_none() && !self.waiting.services.contains(service) {
            self.waiting.services.push(service.clone());
        }
        match reading {
            Reading::Row(row) if self.waiting.rows.len() < crate::blocks::MOST_ROWS => {
                self.waiting.rows.push(row)
            }
            Reading::Row(_) | Reading::Impossible { .. } => self.waiting.impossible += 1,
        }
        Ok(())
    }

    /// Later rows end the second at hand; earlier ones came late and belong to it.
    fn reach(&mut self, second: u64) -> io::Result<()> {
        if self.waiting.any || self.judge.is_some() {
            if second <= self.second {
                self.waiting.any = true;
                return Ok(());
            }
            self.close()?;
            self.passed = second - self.second;
        }
        self.waiting.any = true;
        self.second = second;
        Ok(())
    }

    /// Judges the second at hand, if it has rows, and prints what came of it.
    fn close(&mut self) -> io::Result<()> {
        if !self.waiting.any {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let judge = self.judge.get_or_insert_with(|| Judge::new(self.options.run(&waiting.services)));
        judge.reach(self.second);
        judge.leave_out(waiting.impossible);
        judge.advance(Tick { passed: self.passed, now: None, rows: waiting.rows });
        self.passed = 0;
        serde_json::to_writer(&mut self.output, &Line::of(judge, self.second))?;
        self.output.write_all(b"\n")
    }
}

impl Options {
    fn run(&self, first: &[Box<str>]) -> Run {
        let services = match self.services.is_empty() {
            true => first.iter().map(|service| String::from(&**service)).collect(),
            false => self.services.clone(),
        };
        let (plan, version) = (self.plan.clone(), self.version.clone());
        Run { plan, version, services, guards: self.guards, start: None }
    }
}

/// What a second came to; also what `GET /api/v1/plans/<name>/evidence` answers for it.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    second: u64,
    requests: Requests,
    guards: Guarded<'a>,
    left_out: u64,
    verdict: Verdict,
}

impl<'a> Line<'a> {
    pub fn of(judge: &'a Judge, second: u64) -> Self {
        Self {
            second,
            requests: judge.requests(),
            guards: Guarded(judge.guards()),
            left_out: judge.left_out(),
            verdict: judge.verdict(),
        }
    }
}

/// Guards by name, in their order.
#[derive(Clone, Debug)]
struct Guarded<'a>(&'a [Watched]);

impl Serialize for Guarded<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for watched in self.0 {
            map.serialize_entry(watched.name().as_str(), &Told::of(watched))?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Told {
    log10_e: f64,
    strata: ToldStrata,
    verdict: Verdict,
}

/// A limit has one stratum, which is gray.
#[derive(Serialize)]
#[serde(untagged)]
enum ToldStrata {
    Three { drawn: f64, chosen: f64, inherited: f64 },
    One { gray: f64 },
}

impl Told {
    fn of(watched: &Watched) -> Self {
        let strata = match watched.log10_strata() {
            Some(Strata { drawn, chosen, inherited }) => ToldStrata::Three {
                drawn: rounded(drawn),
                chosen: rounded(chosen),
                inherited: rounded(inherited),
            },
            None => ToldStrata::One { gray: rounded(watched.log10_largest()) },
        };
        Self { log10_e: rounded(watched.log10_e()), strata, verdict: watched.verdict() }
    }
}

/// To twelve places: what is beyond them is how numbers are added, and no evidence. Zero is added for the sake of -0.
fn rounded(log: f64) -> f64 {
    const PLACES: f64 = 1e12;
    (log * PLACES).round() / PLACES + 0.0
}
