//! Whether a new version is worse than the one beside it: evidence in, verdicts out.
//!
//! Never: a clock, IO, threads. Time is a number in what comes in.
