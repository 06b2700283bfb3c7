//! TLS of the intakes: version 1.3 only, and nobody comes in without a certificate of the site's authority.
//!
//! A [`Peer`] is what a certificate says of its holder: the one host that it may speak for, and whether it may carry drills.
//! Names are read from the subject alternative name only, never from the common name (RFC 6125, section 6.4.4).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::Tls;

/// Organisational unit of the certificates that may carry drills.
pub(crate) const DRILL_UNIT: &str = "drill";

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{}: expected {expected} in PEM: {source}", path.display())]
    Pem { path: PathBuf, expected: &'static str, source: rustls_pki_types::pem::Error },
    #[error("{}: expected certificates in PEM (BEGIN CERTIFICATE), found none", path.display())]
    Empty { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("{}: {source}", path.display())]
    Verifier { path: PathBuf, source: rustls::server::VerifierBuilderError },
    #[error("{} and {}: certificate and key do not fit: {source}", cert.display(), key.display())]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

/// Why a certificate that the authority signed is of no use here.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum PeerError {
    #[error("no certificate was shown")]
    Missing,
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate must name exactly one host as subject alternative name, it names {found}")]
    Hosts { found: usize },
}

/// Who is on the other side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Lower case.
    pub host: String,
    /// May send batches with a drill.
    pub drill: bool,
    /// The certificate's last moment, in seconds since 1970.
    pub expires: i64,
}

/// The configuration of a server whose clients must show a certificate of our authority. `alpn` is empty for our own protocol.
pub fn server_config(tls: &Tls, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = authorities(&tls.ca)?;
    let verifier = WebPkiClientVerifier::builder(roots.into())
        .build()
        .map_err(|source| TlsError::Verifier { path: tls.ca.clone(), source })?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem(&tls.key, "a private key"))?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&tls.cert)?, key)
        .map_err(|source| TlsError::Pair { cert: tls.cert.clone(), key: tls.key.clone(), source })?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The configuration of a client that shows no certificate and believes the authorities of `ca`, or those of the host. TLS 1.2
/// is spoken, too: the servers are other people's.
pub(crate) fn client_config(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(path) => authorities(path)?,
        None => {
            let mut roots = RootCertStore::empty();
            // One that rustls does not take is one that nobody is believed by.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

impl Peer {
    /// What the certificates say that a peer has shown; the handshake has verified them.
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Result<Self, PeerError> {
        let leaf = certificates.and_then(<[_]>::first).ok_or(PeerError::Missing)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| PeerError::Unreadable)?;
        let names = dns_names(&parsed)?;
        let [host] = names.as_slice() else { return Err(PeerError::Hosts { found: names.len() }) };
        let units = parsed.subject().iter_organizational_unit();
        let drill = units.filter_map(|unit| unit.as_str().ok()).any(|unit| unit == DRILL_UNIT);
        let expires = parsed.validity().not_after.timestamp();
        Ok(Self { host: host.to_ascii_lowercase(), drill, expires })
    }
}

/// The names under which the certificate in a PEM file may be reached.
pub(crate) fn server_names(path: &Path) -> Result<Vec<String>, TlsError> {
    let leaf = certificates(path)?.into_iter().next();
    let parsed =
        leaf.as_ref().and_then(|leaf| X509Certificate::from_der(leaf).ok()).map(|(_, parsed)| parsed);
    let names = parsed.as_ref().and_then(|parsed| dns_names(parsed).ok()).unwrap_or_default();
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn dns_names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, PeerError> {
    let alternative = certificate.subject_alternative_name().map_err(|_| PeerError::Unreadable)?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect())
}

/// The authorities of a PEM file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Certificate { path: path.into(), source })?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, of which there is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = pem(path, "certificates");
    let found: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(failed)?;
    if found.is_empty() { Err(TlsError::Empty { path: path.into() }) } else { Ok(found) }
}

fn pem(path: &Path, expected: &'static str) -> impl Fn(rustls_pki_types::pem::Error) -> TlsError {
    move |source| TlsError::Pem { path: path.into(), expected, source }
}
