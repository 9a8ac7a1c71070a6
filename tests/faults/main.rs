//! The real binary between real sockets, with upstreams and clients that behave badly.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod availability;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod graygate;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod wire;
