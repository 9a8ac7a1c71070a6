//! What the compiled documents ask of the pools: services, versions, instances, checks.
//!
//! Answers: what is a service made of, after aliases and fallbacks were resolved?
//! Owns: plain values that compare, so that an unchanged service keeps its running pools.
//! Never: state; that lives in `vitals`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509};
use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::vocab::{Label, Name, Share};

/// One service as one generation wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    pub name: Name,
    /// Every word rules may say; one of them is `release`.
    pub versions: Vec<VersionSpec>,
    pub instances: Vec<InstanceSpec>,
    pub balance: Balance,
    /// Active checks; `None`: every instance counts as healthy.
    pub health: Option<HealthSpec>,
    /// Passive ejection; `None`: off.
    pub outlier: Option<OutlierSpec>,
    /// Requests in flight to all instances of the service together; `None`: no limit.
    pub max_connections: Option<usize>,
    /// The tag that reserves an instance for pinned requests.
    pub pin_tag: Option<Label>,
}

/// A version a rule can decide for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionSpec {
    /// What rules say.
    pub word: Name,
    /// What instances wear, after aliases.
    pub label: Name,
    /// Indices into [`ServiceSpec::versions`]: itself first, then its fallbacks in order.
    pub chain: Vec<usize>,
}

/// One address of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceSpec {
    pub address: SocketAddr,
    /// The label it wears.
    pub version: Name,
    /// Its share of the pool's requests, relative to the others; 0: no requests.
    pub weight: u32,
    pub tags: BTreeMap<Label, Label>,
    /// No new requests; running ones finish.
    pub draining: bool,
}

/// How a pool chooses among its available instances.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// Smooth weighted round robin: no instance is chosen in bursts.
    #[default]
    RoundRobin,
    /// The better of two candidates by requests in flight, relative to weight.
    LeastRequests,
    /// The home of the request's key, by weight; round robin where there is no key.
    Hash,
}

/// How instances are checked from the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthSpec {
    pub check: Check,
    /// From one check's end to the next one's start, before jitter.
    pub interval: Duration,
    /// For one whole check: connecting, TLS, answer.
    pub timeout: Duration,
    /// Good answers in a row that make an unhealthy instance healthy; 0 counts as 1.
    pub healthy_after: u32,
    /// Bad answers in a row that make a healthy instance unhealthy; 0 counts as 1.
    pub unhealthy_after: u32,
    /// How the service's own connections speak; a check speaks the same way.
    pub transport: Transport,
}

/// What is asked in a check.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Check {
    /// A GET whose status has to be one of `statuses`.
    Http {
        /// Origin form, query included.
        path: String,
        /// The Host; `None`: the instance's address.
        host: Option<String>,
        statuses: Vec<u16>,
        headers: Vec<(String, String)>,
    },
    /// The connection is accepted (and the TLS handshake succeeds).
    Tcp,
    /// `grpc.health.v1.Health/Check` of this service answers SERVING; empty: the whole server.
    Grpc { service: String },
}

/// How bytes reach an instance.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transport {
    pub wire: Wire,
    /// `None`: plain text.
    pub tls: Option<TlsSpec>,
}

/// The protocol spoken on a connection; a gRPC check always speaks HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Wire {
    #[default]
    Http1,
    Http2,
}

/// The TLS side of a check's connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSpec {
    /// SNI, and the name the certificate has to carry.
    pub server_name: String,
    /// The authorities to believe; `None`: the system's.
    pub ca: Option<Authorities>,
    /// What is shown where the instance asks for a certificate.
    pub identity: Option<Identity>,
    /// Whether the certificate is checked at all.
    pub verify: bool,
}

impl TlsSpec {
    /// A connection to one instance. Without a name its address is what its certificate has to be for.
    pub fn peer(&self, address: SocketAddr) -> HttpPeer {
        let name = match self.server_name.is_empty() {
            true => address.ip().to_string(),
            false => self.server_name.clone(),
        };
        let mut peer = HttpPeer::new(address, true, name);
        peer.options.verify_cert = self.verify;
        peer.options.verify_hostname = self.verify;
        peer.options.ca = self.ca.as_ref().map(|authorities| authorities.0.clone());
        peer.client_cert_key = self.identity.as_ref().and_then(|identity| identity.0.clone());
        peer
    }
}

/// A certificate chain and its key, parsed once where they are read.
#[derive(Clone, Debug)]
pub struct Identity(Option<Arc<CertKey>>);

/// Which half of an identity is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityPart {
    Certificate,
    Key,
    /// Each is good, and they do not belong together.
    Pair,
}

impl Identity {
    /// Reads the PEM files of a chain, the own certificate first, and of its key.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Identity, IdentityPart> {
        // The same check as for authorities: the framework would panic on a certificate that is none.
        let good = Authorities::parse(chain).ok_or(IdentityPart::Certificate)?;
        let chain: Vec<Vec<u8>> =
            good.0.iter().map(|certificate| certificate.borrow_raw_cert().clone()).collect();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityPart::Key)?;
        let der = key.secret_der().to_vec();
        let certificates = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        match CertifiedKey::from_der(certificates, key, &default_provider()) {
            Ok(_) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(IdentityPart::Pair),
            Err(_) => return Err(IdentityPart::Key),
        }
        // And on a key it cannot tell the kind of.
        PrivateKeyDer::try_from(der.as_slice()).map_err(|_| IdentityPart::Key)?;
        Ok(Identity(Some(Arc::new(CertKey::new(chain, der)))))
    }

    /// Nothing to show.
    pub fn none() -> Identity {
        Identity(None)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        let bytes = |one: &Identity| {
            one.0.as_ref().map(|own| (own.leaf().borrow_raw_cert().clone(), own.key().clone()))
        };
        bytes(self) == bytes(other)
    }
}

impl Eq for Identity {}

/// Certificates of authorities, parsed once where they are read.
#[derive(Clone, Debug)]
pub struct Authorities(pub Arc<CaType>);

impl Authorities {
    /// Reads every certificate of a PEM file; `None` when there is none, or one that is broken.
    pub fn parse(pem: &[u8]) -> Option<Authorities> {
        let wrap = |der: CertificateDer<'_>| {
            WrappedX509::try_new(der.to_vec(), |der| {
                X509Certificate::from_der(der).map(|(_, certificate)| certificate)
            })
            .ok()
        };
        let certificates: Option<Vec<WrappedX509>> =
            CertificateDer::pem_slice_iter(pem).map(|der| wrap(der.ok()?)).collect();
        certificates.filter(|found| !found.is_empty()).map(|found| Authorities(found.into()))
    }

    /// Nobody: every certificate is refused.
    pub fn none() -> Authorities {
        Authorities(Arc::new([]))
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        let bytes = |one: &Authorities| -> Vec<Vec<u8>> {
            one.0.iter().map(|ca| ca.borrow_raw_cert().clone()).collect()
        };
        Arc::ptr_eq(&self.0, &other.0) || bytes(self) == bytes(other)
    }
}

impl Eq for Authorities {}

/// When an instance is taken out because of the answers it gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlierSpec {
    /// Errors in a row that eject; 0 counts as 1.
    pub consecutive_errors: u32,
    /// The first ejection's length; the n-th lasts n times as long, up to [`super::EJECTION_LIMIT`].
    pub eject_for: Duration,
    /// Of a version's instances, how many may be out at once. Zero: none is ever ejected.
    pub max_ejected: Share,
}

impl Default for OutlierSpec {
    /// The contract's default: 5 errors, 30 s, half of the pool.
    fn default() -> Self {
        OutlierSpec {
            consecutive_errors: 5,
            eject_for: Duration::from_secs(30),
            max_ejected: Share::parse("50").unwrap_or(Share::ALL),
        }
    }
}
