//! The program from outside, and what is written about it: the real binary, real sockets, a real etcd.

#![cfg(test)]

mod harness;
mod support;

mod architecture;
mod commands;
mod conf;
mod control;
mod edge;
mod faults;
mod messages;
mod proxy;
mod readme;
mod registries;
mod sources;
