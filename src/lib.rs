//! The program: wiring only. The map of the rooms stands in `graygate_rules`.

pub mod commands;
pub mod config;
pub mod echo;
pub mod node;
