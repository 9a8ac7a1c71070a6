//! Sources against the real thing: an etcd of their own, and directories on disk.

#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;

#[cfg(test)]
mod directory;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod following;
#[cfg(test)]
mod push;
