//! Decisions against slow, obvious second evaluators, on random documents and requests.

#![cfg(test)]

mod oracle;

mod differential;
mod incremental;
mod index;
mod places;
