//! Files of pages: which requests ask for one, and who else is asked where the decided version does not have it.

use super::candidate::PathMatch;
use super::request::Request;
use super::rule::VersionId;

/// What a service says of the files that its pages name.
#[derive(Clone, Debug)]
pub struct AssetsPlan {
    pub paths: Box<[PathMatch]>,
    /// Statuses that say a version does not have the file.
    pub statuses: Box<[u16]>,
    /// Versions in the order they are asked: each label once, under the first word that leads to it.
    pub order: Box<[VersionId]>,
    /// For each version the one of `order` that has the same label.
    pub same: Box<[VersionId]>,
}

impl AssetsPlan {
    /// Most versions that one request is asked of beside its own: pages are rarely older, and a request for what no
    /// version has costs each of them one.
    pub const OTHERS: usize = 3;

    /// Whether the request asks for a file, by the path that the client sent.
    pub fn covers(&self, request: &Request<'_>) -> bool {
        matches!(request.method, "GET" | "HEAD")
            && self.paths.iter().any(|path| path.accepts(request.path.view))
    }

    /// Who is asked after a version that does not have the file.
    pub fn others(&self, decided: Option<VersionId>) -> impl Iterator<Item = VersionId> {
        let own = decided.and_then(|id| self.same.get(id).copied());
        self.order.iter().copied().filter(move |id| Some(*id) != own).take(Self::OTHERS)
    }

    /// Whether an answer says that the version does not have the file.
    pub fn is_missing(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }
}
