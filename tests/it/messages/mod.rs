//! Message lanes from outside: a real RocketMQ, the official Python client, and the whole program between them.

mod checks;
mod lanes;
mod producers;
mod proof;
mod scene;
mod soak;
mod stage;
