//! What other gateways' operators wrote, as documents: text in, documents and a parity report out.
//!
//! Answers: what do these manifests mean here, and what of them means something else or nothing? Owns: the reading of
//! five foreign languages and the [`Report`]. Every rule of theirs is in the report as same, close or left out; what is
//! written is well-formed. Never: IO, or a guess that widens an audience: what is not understood reaches `release`.
//! Start at [`import`].

mod apisix;
mod beside;
mod condition;
mod drafts;
pub mod hospital;
mod ingress_nginx;
mod istio;
mod kubernetes;
mod nginx;
mod pattern;
mod report;
mod shares;
mod terms;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use report::{Finding, Report, Verdict};

use crate::documents::DocumentId;

/// Whose text it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Ingress objects with the annotations of ingress-nginx, and Services and Endpoints beside them.
    IngressNginx,
    /// Routes, upstreams and services of APISIX, as its file or its Admin API writes them.
    Apisix,
    /// VirtualService, DestinationRule and ServiceEntry objects.
    Istio,
    /// The setting of a hospital's gateway, as its platform keeps it.
    Hospital,
    /// A configuration file of nginx, or what `nginx -T` prints.
    Nginx,
}

/// A file as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// What became of it.
#[derive(Debug)]
pub struct Imported {
    /// Each with its text, in YAML.
    pub documents: BTreeMap<DocumentId, String>,
    pub report: Report,
}

/// Reads the files together, as they are applied together.
pub fn import(source: Source, inputs: &[Input<'_>]) -> Imported {
    let drafts = match source {
        Source::IngressNginx => ingress_nginx::read(inputs),
        Source::Apisix => apisix::read(inputs),
        Source::Hospital => return hospital::read(inputs),
        Source::Istio => istio::read(inputs),
        Source::Nginx => nginx::read(inputs),
    };
    drafts.finish()
}
