//! Connections of the framework from plain values.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use graygate_rules::spec::{Authorities, Identity, Transport, Wire};

/// What every connection to the instances of a service has in common, parsed once.
pub struct PeerTemplate {
    transport: Transport,
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl PeerTemplate {
    pub fn new(transport: &Transport) -> PeerTemplate {
        let tls = transport.tls.as_ref();
        PeerTemplate {
            authorities: tls.and_then(|tls| tls.ca.as_ref()).map(parsed_authorities),
            identity: tls.and_then(|tls| tls.identity.as_ref()).and_then(parsed_identity),
            transport: transport.clone(),
        }
    }

    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    pub fn wire(&self) -> Wire {
        self.transport.wire
    }

    /// A connection to one instance. Without a name its address is what its certificate has to be for.
    pub fn peer(&self, address: SocketAddr) -> HttpPeer {
        let Some(tls) = &self.transport.tls else {
            return HttpPeer::new(address, false, String::new());
        };
        let name =
            if tls.server_name.is_empty() { address.ip().to_string() } else { tls.server_name.clone() };
        let mut peer = HttpPeer::new(address, true, name);
        peer.options.verify_cert = tls.verify;
        peer.options.verify_hostname = tls.verify;
        peer.options.ca = self.authorities.clone();
        peer.client_cert_key = self.identity.clone();
        peer
    }
}

/// A certificate that does not parse, which the specification has ruled out, is left out: fewer are believed.
fn parsed_authorities(authorities: &Authorities) -> Arc<CaType> {
    let parsed = authorities.certificates().iter().filter_map(|der| {
        WrappedX509::try_new(der.clone(), |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed)).ok()
    });
    parsed.collect()
}

fn parsed_identity(identity: &Identity) -> Option<Arc<CertKey>> {
    let (chain, key) = identity.parts()?;
    Some(Arc::new(CertKey::new(chain.to_vec(), key.to_vec())))
}
