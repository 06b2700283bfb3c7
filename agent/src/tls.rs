//! Mutual TLS: TLS 1.3 only, one certificate authority (the site's own), the collector's name checked.
//!
//! The agent's name is the DNS name in its own certificate: nobody can configure an agent to speak for another host by
//! mistake. What it never does: trust the system's authorities, or resume a session (each connection proves itself).

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;

/// The host's name and how it proves it.
pub struct Identity {
    pub agent: String,
    pub client: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the certificates of the configuration.
    pub fn load(config: &Config) -> Result<Self> {
        let authorities = certificates("tls.ca", &config.tls.ca)?;
        let chain = certificates("tls.cert", &config.tls.cert)?;
        let agent = agent_name(config, &chain[0])?;
        let path = &config.tls.key;
        let key = PrivateKeyDer::from_pem_file(path)
            .with_context(|| format!("tls.key: {}: expected a private key in PEM", path.display()))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).with_context(|| format!("tls.ca: {}", config.tls.ca.display()))?;
        }
        let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("tls.key: expected the key of tls.cert")?;
        client.resumption = Resumption::disabled();
        Ok(Self { agent, client: Arc::new(client) })
    }
}

/// Why the collector refuses our certificate, if that is what an error says. The alerts are those that rustls sends for what it finds
/// (RFC 8446, section 6.2).
pub(crate) fn refused_certificate(error: &anyhow::Error) -> Option<&'static str> {
    let mut errors = error.chain().filter_map(|error| error.downcast_ref::<std::io::Error>());
    let alert = errors.find_map(|error| match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(alert),
        _ => None,
    })?;
    match alert {
        AlertDescription::CertificateExpired => Some("expired, or not valid yet: look at both clocks, too"),
        AlertDescription::UnsupportedCertificate => {
            Some("wrong usage: expected one for clients, not a server's")
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            Some("not signed by its authority (its CA)")
        }
        AlertDescription::CertificateRevoked => Some("revoked"),
        AlertDescription::CertificateRequired => Some("none was sent"),
        AlertDescription::AccessDenied => Some("not allowed here"),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => Some("it cannot be read"),
        _ => None,
    }
}

/// Random bytes of the operating system, through TLS' own source.
pub(crate) fn random_u64() -> Result<u64> {
    let mut bytes = [0; 8];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let expected = || format!("{key}: {}: expected certificates in PEM", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(expected)?
        .collect::<Result<_, _>>()
        .with_context(expected)?;
    ensure!(!found.is_empty(), "{}, found none", expected());
    Ok(found)
}

fn agent_name(config: &Config, certificate: &CertificateDer<'_>) -> Result<String> {
    let path = config.tls.cert.display();
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .with_context(|| format!("tls.cert: {path}: expected an X.509 certificate"))?;
    let names: Vec<_> = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let [name] = names.as_slice() else {
        bail!("tls.cert: {path}: expected one DNS name (the host's), found {names:?}");
    };
    if let Some(agent) = &config.agent {
        ensure!(agent == name, "agent = {agent:?}: expected {name:?}, the name in tls.cert {path}");
    }
    Ok(name.clone())
}
