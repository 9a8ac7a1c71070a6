//! How bytes reach an instance: the protocol, and which authorities to believe and what to show over TLS.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::der_parser::parse_der;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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

/// The TLS side of a connection to an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSpec {
    /// SNI, and the name the certificate has to carry; empty: the instance's address.
    pub server_name: String,
    /// The authorities to believe; `None`: the system's.
    pub ca: Option<Authorities>,
    /// What is shown where the instance asks for a certificate.
    pub identity: Option<Identity>,
    /// Whether the certificate is checked at all.
    pub verify: bool,
}

/// Certificates in DER, each of them well-formed; none at all where nothing good could be read.
pub type Certificates = Arc<[Vec<u8>]>;

/// Certificates of authorities, checked once where they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorities(Certificates);

impl Authorities {
    /// Reads every certificate of a PEM file; `None` when there is none, or one that is broken.
    pub fn parse(pem: &[u8]) -> Option<Authorities> {
        certificates(pem).map(Authorities)
    }

    /// No authority: every certificate is refused.
    pub fn none() -> Authorities {
        Authorities(Arc::new([]))
    }

    pub fn certificates(&self) -> &Certificates {
        &self.0
    }
}

/// A certificate chain and its private key, checked once where they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The own certificate first; empty: nothing to show.
    chain: Certificates,
    /// In DER: PKCS #1, PKCS #8 or SEC1.
    key: Arc<[u8]>,
}

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
        let chain = certificates(chain).ok_or(IdentityPart::Certificate)?;
        let own = chain.first().ok_or(IdentityPart::Certificate)?;
        let (_, own) = X509Certificate::from_der(own).map_err(|_| IdentityPart::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityPart::Key)?;
        // The connecting side has to find the kind of key out from its bytes alone.
        PrivateKeyDer::try_from(key.secret_der()).map_err(|_| IdentityPart::Key)?;
        check_pair(&key, &own.public_key().subject_public_key.data)?;
        Ok(Identity { key: key.secret_der().into(), chain })
    }

    /// Nothing to show.
    pub fn none() -> Identity {
        Identity { chain: Arc::new([]), key: Arc::new([]) }
    }

    /// The chain, the own certificate first, and its key; `None` where there is nothing to show.
    pub fn parts(&self) -> Option<(&Certificates, &[u8])> {
        (!self.chain.is_empty()).then_some((&self.chain, &self.key))
    }
}

fn certificates(pem: &[u8]) -> Option<Certificates> {
    let checked = |der: CertificateDer<'_>| X509Certificate::from_der(&der).is_ok().then(|| der.to_vec());
    let found: Option<Certificates> =
        CertificateDer::pem_slice_iter(pem).map(|der| checked(der.ok()?)).collect();
    found.filter(|found| !found.is_empty())
}

/// Whether a private key can be used for signing, and is the one of a certificate's public key.
fn check_pair(key: &PrivateKeyDer<'_>, certified: &[u8]) -> Result<(), IdentityPart> {
    let public = match key {
        PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
        PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(der) => return sec1(der.secret_sec1_der(), certified),
        _ => None,
    };
    let public = public.ok_or(IdentityPart::Key)?;
    if public == certified { Ok(()) } else { Err(IdentityPart::Pair) }
}

fn rsa<E>(pair: Result<RsaKeyPair, E>) -> Option<Vec<u8>> {
    pair.ok().map(|pair| pair.public_key().as_ref().to_vec())
}

const CURVES: [&EcdsaSigningAlgorithm; 2] =
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING];

/// The public key of a private one in PKCS #8, of the kinds that TLS is spoken with here.
fn pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let elliptic = CURVES.into_iter().find_map(|curve| EcdsaKeyPair::from_pkcs8(curve, der, &random).ok());
    rsa(RsaKeyPair::from_pkcs8(der))
        .or_else(|| elliptic.map(|pair| pair.public_key().as_ref().to_vec()))
        .or_else(|| {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                .ok()
                .map(|pair| pair.public_key().as_ref().to_vec())
        })
}

/// A SEC1 key (RFC 5915) is a number without its point; whether the certified point is its own says the library.
fn sec1(der: &[u8], certified: &[u8]) -> Result<(), IdentityPart> {
    let (_, parsed) = parse_der(der).map_err(|_| IdentityPart::Key)?;
    let fields = parsed.as_sequence().map_err(|_| IdentityPart::Key)?;
    let number = fields.get(1).and_then(|field| field.as_slice().ok()).ok_or(IdentityPart::Key)?;
    let random = SystemRandom::new();
    let belongs = CURVES.into_iter().any(|curve| {
        EcdsaKeyPair::from_private_key_and_public_key(curve, number, certified, &random).is_ok()
    });
    if belongs { Ok(()) } else { Err(IdentityPart::Pair) }
}
