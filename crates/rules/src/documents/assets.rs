//! `assets` of a service: files of pages that other versions are asked for.

use super::fields::{Emptiness, Field};
use super::route::{PathPattern, read_paths};

/// Which requests, and which answers to them say that a version does not have the file.
#[derive(Clone, Debug)]
pub struct Assets {
    pub paths: Vec<PathPattern>,
    pub statuses: Vec<u16>,
}

impl Assets {
    /// What says that a file is not there, unless `on` says something else.
    pub const STATUSES: [u16; 2] = [404, 410];

    pub(super) fn read(field: &Field<'_>) -> Option<Assets> {
        let mut map = field.map()?;
        let paths = map.required("paths").and_then(|f| read_paths(&f));
        let statuses = map.or("on", Assets::STATUSES.to_vec(), |f| {
            f.list_of(Emptiness::Refused, |item| {
                item.integer(400, 599).and_then(|status| u16::try_from(status).ok())
            })
        });
        map.note_unknown();
        Some(Assets { paths: paths?, statuses })
    }
}
