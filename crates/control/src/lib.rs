//! The control plane: who may change what, and what moves by itself.
//!
//! Never: the proxy. What runs changes through documents alone.

pub mod registries;
