//! The upstream of `graygate echo` and the demo: one that says who it is and shows the request exactly as it arrived.
//!
//! Answers: what does an upstream behind the proxy get to see? Owns: a small HTTP/1.1 server with keep-alive.
//! Written by hand, because an HTTP library would hide what this is for: the order, case and repetition of headers,
//! and the target's own bytes (they normalise names, and refuse targets that are not UTF-8).
//! Never: lenient about where a message ends; a request whose length can be read in two ways is answered 400.
//!
//! Query parameters steer the answer: `echo-status=503`, `echo-delay=250ms`, `echo-bytes=64KiB`.

mod head;
mod server;
mod steering;

pub use server::serve;
