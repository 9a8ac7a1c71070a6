//! The console as those who use it see it: pages over HTTP, and in a real browser.
//!
//! Needs Debian's `chromium` and `chromium-driver`, and axe-core; `make test-tools` brings them.
#![cfg(test)]

mod browser;
mod channels;
mod configs;
mod editing;
mod keyboard;
mod lists;
mod live;
mod load;
mod pages;
mod plain;
mod plans;
mod proxy;
mod replay;
mod stage;
