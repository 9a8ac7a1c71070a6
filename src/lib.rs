//! graygate: an edge proxy that decides, for every request, which version of a service answers it.
//!
//! # The rooms, in reading order
//!
//! ```text
//!    operators -> sources -> documents -> compile -> live -> proxy -> upstream
//!                 (file,      (text as     (pure)    (one     |  (the framework's hooks; uses decide and pools)
//!                  etcd,       types)                 cell)   v
//!                  cache)                                   telemetry
//!                                 vocab: the words every room shares
//! ```
//!
//! | room | what it answers |
//! |---|---|
//! | [`vocab`] | how names, shares, durations, attributes and reasons are read and printed |
//! | [`documents`] | what operators write, as types; every mistake with its place |
//! | [`decide`] | which version gets a request, and why: a pure function of a snapshot and a request |
//! | [`compile`] | what a set of documents means together; the only validator |
//! | [`replay`] | who would move if documents changed |
//! | [`sources`] | where documents come from: a directory, etcd, the cache; and the writer behind `push` |
//! | [`pools`] | which instance takes a request: health, ejection, balance, fallback |
//! | [`live`] | what runs now: one cell, generations, the single publisher, explanations |
//! | [`proxy`] | a request from its first byte to its log line |
//! | [`telemetry`] | metrics, access log, process log |
//! | [`admin`] | health, readiness, status, metrics, explain |
//! | [`config`] | the process file |
//! | [`node`] | the rooms wired together, and the life of the process: start, signals, succession, end |
//! | [`echo`] | an upstream that shows what it gets, for trials and tests |
//! | [`commands`] | arguments, one call each, exit codes: the body of `main` |
//!
//! Which room may use which is a table, held by `tests/architecture.rs`; each room's `mod.rs` is its only door.
//!
//! # The life of a request
//!
//! `proxy::listener` agrees on TLS and HTTP/2 where a listener speaks them. `proxy::edge`, or `proxy::h2`, reads the
//! whole head against a deadline and refuses what could be read in two ways. `proxy::intake` removes what an untrusted
//! client must not say ([`decide::Trust`]), loads the running generation once, normalises the target, and calls
//! [`decide::Snapshot::decide`]. [`pools::ServicePools::pick`] chooses an instance along the decided
//! version's fallback chain. `proxy::upstream` edits what the upstream gets, and says what a failure means: another
//! try, or an answer of our own. `proxy::report` counts the request once and writes its one line.
//!
//! # The life of a change
//!
//! A source sees a change and offers a complete [`documents::DocumentSet`]. [`compile::compile`] parses what is new,
//! holds back what is broken, and builds a snapshot and the pools' specifications. [`live::Publisher`] resolves counters,
//! lets the pools keep the state of instances that stay, and replaces the cell. The next request sees it; requests that
//! have begun end where they began. What ran is then written to the cache.
//!
//! # Invariants, each with a test
//!
//! 1. `decide` imports only `vocab`, and a decision allocates nothing.
//! 2. One request sees one generation, through retries and logging.
//! 3. Only the publisher writes the cell.
//! 4. The same documents give the same decisions on every proxy, in any order of arrival, after any restart.
//! 5. A broken document changes nothing but itself; a source that is gone changes nothing at all.
//! 6. Raising the first share of a split never takes a user out.
//! 7. The decision does not depend on health.
//! 8. Every request ends in exactly one log line with one reason, and is counted once.
//! 9. Time, seeds and randomness come in as arguments everywhere but at the edges.

pub mod admin;
pub mod commands;
pub mod compile;
pub mod config;
pub mod decide;
pub mod documents;
pub mod echo;
pub mod live;
pub mod node;
pub mod pools;
pub mod proxy;
pub mod replay;
pub mod sources;
pub mod telemetry;
pub mod vocab;
