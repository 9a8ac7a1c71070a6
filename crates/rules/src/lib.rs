//! graygate: an edge proxy that decides, for every request, which version of a service answers it.
//!
//! # The rooms, in reading order
//!
//! ```text
//!    operators -> sources -> documents -> compile -> live -> request -> upstream
//!                 (file,      (text as     (pure)    (one    ^ |  (the framework's hooks; uses decide and pools)
//!                  etcd,       types)                 cell)  | v
//!                  cache)                     clients -> edge  telemetry
//!                                 vocab: the words every room shares
//! ```
//!
//! | room | what it answers |
//! |---|---|
//! | `vocab` | how names, shares, durations, attributes and reasons are read and printed |
//! | `documents` | what operators write, as types; every mistake with its place |
//! | `decide` | which version gets a request, and why: a pure function of a snapshot and a request |
//! | `compile` | what a set of documents means together; the only validator |
//! | `replay` | who would move if documents changed |
//! | `import` | what other gateways' operators wrote, as documents, with a report |
//! | `spec` | what compiled documents ask of the pools: services, instances, checks, transports, as plain values |
//! | `sources` | where documents come from: a directory, etcd, the cache; and the writer behind `push` |
//! | `pools` | which instance takes a request: health, ejection, balance, fallback |
//! | `live` | what runs now: one cell, generations, the single publisher |
//! | `edge` | connections: who may stay, what is spoken, where a request begins and ends, how long anyone waits |
//! | `request` | one request from its head to its log line |
//! | `responses` | what a client reads when the proxy answers by itself |
//! | `explain` | why a request that is only described would get its version |
//! | `telemetry` | metrics, access log, process log |
//! | `admin` | health, readiness, status, metrics, explain |
//! | `config` | the process file |
//! | `node` | the rooms wired together, and the life of the process: start, signals, succession, end |
//! | `echo` | an upstream that shows what it gets, for trials and tests |
//! | `commands` | arguments, one call each, exit codes: the body of `main` |
//!
//! Which room may use which is a table, held by `tests/architecture.rs`; each room's `mod.rs` is its only door.
//!
//! # The life of a request
//!
//! `edge::listener` agrees on TLS and HTTP/2 where a listener speaks them. `edge::h1`, or `edge::h2`, reads the whole
//! head against a deadline and refuses what could be read in two ways. `request::intake` loads the running generation,
//! once, and lets the request in by `decide::Arrival::admit`, which removes what an untrusted client must not say
//! (`decide::Trust`) and normalises host and path; `decide::Snapshot::decide` decides it.
//! `pools::ServicePools::pick` chooses an instance along the decided version's fallback chain. `request::headers` edits
//! what the upstream gets, and `request::attempt` says what a failure means: another try, or an answer of our own.
//! `request::report` counts the request once and writes its one line.
//!
//! # The life of a change
//!
//! A source sees a change and offers a complete `documents::DocumentSet`. `compile::compile` parses what is new,
//! holds back what is broken, and builds a snapshot and the pools' specifications. `live::Publisher` resolves counters,
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

pub mod compile;
pub mod decide;
pub mod documents;
pub mod explain;
pub mod import;
pub mod replay;
pub mod spec;
pub mod vocab;
