//! Mutual TLS: TLS 1.3 only, one certificate authority (the site's own), the collector's name checked.
//!
//! The agent's name is the DNS name in its own certificate: nobody can configure an agent to speak for another host by
//! mistake. What it never does: trust the system's authorities, or resume a session (each connection proves itself).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, OtherError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::config::Config;

/// Organisational unit of the certificates that may carry drills, as the collector knows it.
const DRILL_UNIT: &[u8] = b"drill";
/// The end of the year 9999, beyond which X.509 says no time.
const LAST_DAY: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));

/// The host's name and how it proves it.
pub struct Identity {
    pub agent: String,
    pub client: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the certificates of the configuration.
    pub fn load(config: &Config) -> Result<Self> {
        let chain = certificates("tls.cert", &config.tls.cert)?;
        let agent = agent_name(config, &chain[0])?;
        let path = &config.tls.key;
        let key = PrivateKeyDer::from_pem_file(path)
            .with_context(|| format!("tls.key: {}: expected a private key in PEM", path.display()))?;
        let roots = authorities(config)?;
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

/// Until when our certificate is good for a collector that believes `tls.ca`. An error when it is not good now, and why.
pub(crate) fn certificate_until(config: &Config, now: UnixTime) -> Result<UnixTime> {
    let chain = certificates("tls.cert", &config.tls.cert)?;
    let roots = Arc::new(authorities(config)?);
    let collector =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider())).build()?;
    let verify = |at| match collector.verify_client_cert(&chain[0], &chain[1..], at) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(error),
        Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error)))),
    };
    verify(now).map_err(|error| {
        anyhow!("tls.cert: {}: {}", config.tls.cert.display(), in_words(&error, &config.tls.ca))
    })?;
    // Each certificate of the chain may be the first to end.
    let mut until = LAST_DAY;
    while let Err(CertificateError::ExpiredContext { not_after, .. }) = verify(until)
        && not_after < until
    {
        until = not_after;
    }
    Ok(until)
}

fn in_words(error: &CertificateError, ca: &Path) -> String {
    use CertificateError::{
        BadSignature, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYetContext,
        UnknownIssuer,
    };
    match error {
        ExpiredContext { not_after, .. } => {
            format!("ended on {}: issue another with `vonggac ca issue HOST`", day(*not_after))
        }
        NotValidYetContext { not_before, .. } => {
            format!("begins on {}: look at the clock of this host", day(*not_before))
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "is for another use: expected one for a host, as `vonggac ca issue HOST` makes it".to_owned()
        }
        UnknownIssuer | BadSignature => format!("expected one that tls.ca {} has signed", ca.display()),
        error => error.to_string(),
    }
}

/// The day of a time, UTC.
pub(crate) fn day(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a day beyond all".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn authorities(config: &Config) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("tls.ca", &config.tls.ca)? {
        roots.add(authority).with_context(|| format!("tls.ca: {}", config.tls.ca.display()))?;
    }
    Ok(roots)
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
    ensure!(
        config.drill_id.is_empty() || is_for_drills(parsed.subject()),
        "drill_id = {:?}: expected a certificate that `vonggac ca issue --drill` made, and {path} is none",
        config.drill_id
    );
    Ok(name.clone())
}

/// Whether a subject (DER) has the organisational unit `drill`: its object identifier 2.5.4.11, and a text of either kind.
fn is_for_drills(subject: &[u8]) -> bool {
    const UNIT: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0b];
    const TEXTS: [u8; 2] = [0x0c, 0x13]; // UTF8String, PrintableString
    let mut rests = memchr::memmem::find_iter(subject, &UNIT).map(|at| &subject[at + UNIT.len()..]);
    rests.any(|rest| {
        matches!(rest, [kind, length, text @ ..]
            if TEXTS.contains(kind) && usize::from(*length) == DRILL_UNIT.len() && text.starts_with(DRILL_UNIT))
    })
}
