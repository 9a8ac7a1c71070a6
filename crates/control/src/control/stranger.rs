//! Who writes the store itself, past every call.

use crate::people::{Principal, Via};

/// The way strangers write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    Etcd,
    File,
}

impl Stranger {
    pub fn principal(self) -> Principal {
        match self {
            Stranger::Etcd => Principal::own("etcd", Via::Etcd),
            Stranger::File => Principal::own("file", Via::File),
        }
    }
}
