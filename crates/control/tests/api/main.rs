//! The API over real HTTP, as those who use it see it.
#![cfg(test)]

mod attacks;
mod clients;
mod configs;
mod documents;
mod gateway;
mod harness;
mod oidc;
mod openapi;
mod people;
mod plans;
mod questions;
mod roles;
mod stores;
mod walk;
