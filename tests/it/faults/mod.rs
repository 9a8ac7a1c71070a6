//! The real binary between real sockets, with upstreams and clients that behave badly.

mod answers;
mod availability;
mod clients;
mod graygate;
mod recovery;
mod upstream;
mod wire;
