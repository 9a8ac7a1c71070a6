//! The API over real HTTP, as those who use it see it.
#![cfg(test)]

mod abuse;
mod attacks;
mod clients;
mod configs;
mod documents;
mod etcd;
mod front;
mod gateway;
mod harness;
mod latencies;
mod oidc;
mod openapi;
mod people;
mod plans;
mod print;
mod promises;
mod questions;
mod roles;
mod session;
mod stores;
mod truth;
mod walk;
