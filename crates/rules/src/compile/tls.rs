//! How bytes reach the instances of a service, and the files its `tls` names.
//!
//! Answers: who is believed, and what is shown? A file that is broken is a problem at its field and is held back alone:
//! what was read last for that service stays in force. No other authority is trusted in its place.

use std::collections::BTreeMap;
use std::path::Path;

use super::findings::{DocumentFindings, Findings};
use crate::documents::{DocumentId, Protocol, Service, Tls};
use crate::spec::{Authorities, Identity, IdentityPart, TlsSpec, Transport, Wire};
use crate::vocab::Label;

/// Reads a file that a document names, such as the authorities of an upstream: IO comes in from the edge.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// What was last read well, by service.
pub type Memory = BTreeMap<Label, Read>;

/// What was read well for one service.
#[derive(Clone, Default, Debug)]
pub struct Read {
    authorities: Option<Authorities>,
    identity: Option<Identity>,
}

/// The files of one compile.
pub struct TlsFiles<'a> {
    read_file: ReadFile<'a>,
    before: Memory,
    /// For the next compile.
    pub good: Memory,
    pub findings: Findings,
}

impl<'a> TlsFiles<'a> {
    pub fn new(read_file: ReadFile<'a>, before: Memory) -> TlsFiles<'a> {
        TlsFiles { read_file, before, good: Memory::new(), findings: Findings::default() }
    }

    pub fn transport(&mut self, id: &DocumentId, service: &Service) -> Transport {
        let wire = match service.protocol {
            Protocol::Http1 => Wire::Http1,
            Protocol::H2 | Protocol::H2c => Wire::Http2,
        };
        let mut findings = std::mem::take(&mut self.findings);
        let tls = service.tls.as_ref().map(|tls| self.tls(id, tls, findings.of(id)));
        self.findings = findings;
        Transport { wire, tls }
    }

    fn tls(&mut self, id: &DocumentId, tls: &Tls, mut findings: DocumentFindings<'_>) -> TlsSpec {
        let last = self.before.remove(&id.name).unwrap_or_default();
        let mut read = Read::default();
        let mut say = |field: &str, message: String, is_kept: bool, otherwise: &str| {
            let help = if is_kept { "what was read last stays in force" } else { otherwise };
            findings.add(field, message, help);
        };
        let ca = tls.ca.as_ref().map(|path| {
            read.authorities = self.authorities(path).map(Some).unwrap_or_else(|message| {
                say("tls.ca", message, last.authorities.is_some(), "no instance is trusted until then");
                last.authorities
            });
            read.authorities.clone().unwrap_or_else(Authorities::none)
        });
        let identity = tls.identity.as_ref().map(|(certificate, key)| {
            read.identity = self.identity(certificate, key).map(Some).unwrap_or_else(|mistakes| {
                for (field, message) in mistakes {
                    say(field, message, last.identity.is_some(), "no certificate is shown until then");
                }
                last.identity
            });
            read.identity.clone().unwrap_or_else(Identity::none)
        });
        self.good.insert(id.name.clone(), read);
        TlsSpec { server_name: tls.server_name.clone().unwrap_or_default(), ca, identity, verify: tls.verify }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        (self.read_file)(path).map_err(|error| unreadable(path, &error.to_string()))
    }

    fn authorities(&self, path: &Path) -> Result<Authorities, String> {
        let pem = self.read(path)?;
        Authorities::parse(&pem).ok_or_else(|| unreadable(path, "no certificate in it"))
    }

    /// The certificate to show; the error says what is wrong with which field.
    fn identity(&self, certificate: &Path, key: &Path) -> Result<Identity, Vec<(&'static str, String)>> {
        const FIELDS: [&str; 2] = ["tls.certificate", "tls.key"];
        let [certificate_field, key_field] = FIELDS;
        let no_certificate = || unreadable(certificate, "no certificate in it");
        let chain = self.read(certificate).and_then(|pem| match Authorities::parse(&pem) {
            Some(_) => Ok(pem),
            None => Err(no_certificate()),
        });
        let (chain, private) = match (chain, self.read(key)) {
            (Ok(chain), Ok(private)) => (chain, private),
            (chain, private) => {
                let mistakes = FIELDS.into_iter().zip([chain.err(), private.err()]);
                return Err(mistakes.filter_map(|(field, message)| Some((field, message?))).collect());
            }
        };
        Identity::parse(&chain, &private).map_err(|part| {
            let mistake = match part {
                IdentityPart::Certificate => (certificate_field, no_certificate()),
                IdentityPart::Key => (key_field, unreadable(key, "no private key in it")),
                IdentityPart::Pair => {
                    let (key, certificate) = (key.display(), certificate.display());
                    (key_field, format!("`{key}` is not the key of the certificate in `{certificate}`"))
                }
            };
            vec![mistake]
        })
    }
}

fn unreadable(path: &Path, why: &str) -> String {
    format!("`{}` cannot be read: {why}", path.display())
}
