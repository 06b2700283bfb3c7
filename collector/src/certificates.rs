//! Whether senders will believe the collector, and until when: its certificate is looked at before a sender does.
//!
//! A certificate that no sender can ever believe (another authority's, a client's) is a mistake in the configuration and stops
//! the start. One whose time is over, or has not begun, does not: the clock may be wrong, what is stored is still searched, hunts
//! and exporters go on. It is told loudly instead: in the log, as metrics, by `vonggac status`.
//!
//! What it never does: look at the name in it. The collector does not know under which one it is reached.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntGaugeVec;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::config::Tls;
use crate::metrics;
use crate::tls::{Peer, TlsError, authorities, certificates};

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    own: metrics::gauges(
        "vonggac_certificate_expires_seconds",
        "When the collector's certificates end, in seconds since 1970, the earliest of each file: server (tls.cert), ca (tls.ca).",
        &["file"],
    ),
    peers: metrics::gauges(
        "vonggac_door_certificate_expires_seconds",
        "When the certificate ends that a host showed last, in seconds since 1970, by intake.",
        &["intake", "host"],
    ),
});

struct Metrics {
    own: IntGaugeVec,
    /// As many as hosts that the site's authority gave a certificate.
    peers: IntGaugeVec,
}

/// Why the collector cannot be believed, at no time.
#[derive(Debug, Error)]
pub(crate) enum CertificateFault {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{cert}: expected a certificate that an authority of {ca} signed: agents refuse every other one")]
    Authority { cert: String, ca: String },
    #[error(
        "{cert}: expected a server's certificate (extended key usage serverAuth), found another one, a host's perhaps: `vonggac ca \
         collector` makes one"
    )]
    Usage { cert: String },
    #[error("{cert}: agents will refuse it: {source}")]
    Other { cert: String, source: rustls::Error },
}

/// From when until when, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    from: i64,
    until: i64,
}

/// The collector's certificates, which are right but for their time.
#[derive(Debug)]
pub(crate) struct Certificates {
    server: (String, Span),
    ca: (String, Span),
}

impl Certificates {
    /// Reads them, and holds them against each other as an agent will.
    pub(crate) fn examine(tls: &Tls) -> Result<Self, CertificateFault> {
        let (chain, roots) = (certificates(&tls.cert)?, authorities(&tls.ca)?);
        let server = span(&tls.cert, &chain)?;
        let ca = span(&tls.ca, &certificates(&tls.ca)?)?;
        // At a time at which it holds: what the dates are now is told apart.
        let now = Timestamp::now().as_second().max(server.from).min(server.until);
        believed(&chain, &roots, now).map_err(|error| fault(tls, error))?;
        Ok(Self { server: (shown(&tls.cert), server), ca: (shown(&tls.ca), ca) })
    }

    /// Tells the metrics.
    pub(crate) fn measure(&self) {
        METRICS.own.with_label_values(&["server"]).set(self.server.1.until);
        METRICS.own.with_label_values(&["ca"]).set(self.ca.1.until);
    }

    /// What is wrong with their dates, at a time in seconds since 1970.
    pub(crate) fn out_of_date(&self, now: i64) -> Vec<String> {
        let server = (&self.server, "senders refuse the collector until it is renewed");
        // Whoever trusts an authority need not look at its dates: rustls does not, OpenSSL does.
        let ca =
            (&self.ca, "agents go on, other senders may refuse the collector until there is a new authority");
        let faults = [server, ca].into_iter().map(|((file, span), follows)| span.fault(file, now, follows));
        faults.flatten().collect()
    }
}

impl Span {
    /// `follows`: what follows from its end.
    fn fault(self, file: &str, now: i64, follows: &str) -> Option<String> {
        if now > self.until {
            return Some(format!("{file}: expired at {}: {follows} (deploy/INSTALL.md)", moment(self.until)));
        }
        let early = || {
            format!(
                "{file}: holds from {}: the clock of this machine is behind, or it was issued too early",
                moment(self.from)
            )
        };
        (now < self.from).then(early)
    }
}

/// Notes until when a host's certificate holds.
pub(crate) fn note(intake: &str, peer: &Peer) {
    METRICS.peers.with_label_values(&[intake, &peer.host]).set(peer.expires);
}

/// The time in which all certificates of a file hold.
fn span(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Span, TlsError> {
    let mut common = Span { from: i64::MIN, until: i64::MAX };
    for certificate in chain {
        let unreadable = |_| {
            let source = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
            TlsError::Certificate { path: path.into(), source }
        };
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(unreadable)?;
        let validity = parsed.validity();
        common.from = common.from.max(validity.not_before.timestamp());
        common.until = common.until.min(validity.not_after.timestamp());
    }
    Ok(common)
}

fn believed(chain: &[CertificateDer<'_>], roots: &RootCertStore, now: i64) -> Result<(), rustls::Error> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(rustls::Error::NoCertificatesPresented);
    };
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        roots,
        intermediates,
        now,
        algorithms,
    )
}

fn fault(tls: &Tls, error: rustls::Error) -> CertificateFault {
    use CertificateError::{BadSignature, InvalidPurpose, InvalidPurposeContext, UnknownIssuer};
    let cert = shown(&tls.cert);
    match error {
        // An authority of the same name has another key: the signature does not fit.
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            CertificateFault::Authority { cert, ca: shown(&tls.ca) }
        }
        rustls::Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. }) => {
            CertificateFault::Usage { cert }
        }
        source => CertificateFault::Other { cert, source },
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::ca::{self, Authority};

    const DAY_S: i64 = 86_400;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            ca::init(folder.path(), &["localhost".into()], 730).unwrap();
            Self(folder)
        }

        fn tls(&self, stem: &str) -> Tls {
            let file = |name: String| -> PathBuf { self.0.path().join(name) };
            Tls {
                ca: file("ca.crt".into()),
                cert: file(format!("{stem}.crt")),
                key: file(format!("{stem}.key")),
            }
        }

        /// A collector's certificate from a day of 1970 on.
        fn issue(&self, stem: &str, from_day: u64, days: u32) -> Tls {
            let authority = Authority::open(self.0.path()).unwrap();
            let from = UNIX_EPOCH + Duration::from_secs(from_day * 86_400);
            let pair = authority.collector(&["localhost".into()], from, days).unwrap();
            let tls = self.tls(stem);
            std::fs::write(&tls.cert, pair.certificate).unwrap();
            std::fs::write(&tls.key, pair.key).unwrap();
            tls
        }
    }

    fn refused(tls: &Tls) -> String {
        Certificates::examine(tls).unwrap_err().to_string()
    }

    #[test]
    fn takes_what_ca_init_makes() {
        let folder = Folder::new();
        let certificates = Certificates::examine(&folder.tls("collector")).unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        assert!(certificates.out_of_date(now).is_empty());
        let late = certificates.out_of_date(now + 731 * DAY_S);
        assert!(matches!(&late[..], [one] if one.contains("collector.crt: expired at")), "{late:?}");
        assert_eq!(certificates.out_of_date(now + 3_651 * DAY_S).len(), 2, "the authority ends, too");
    }

    #[test]
    fn an_authority_that_is_over_is_told_and_believed_all_the_same() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let now = SystemTime::now();
        let (authority, _) = Authority::create(now - Duration::from_secs(11 * 365 * 86_400)).unwrap();
        let pair = authority.collector(&["localhost".into()], now, 1).unwrap();
        let tls = folder.tls("collector");
        for (path, text) in
            [(&tls.ca, authority.certificate()), (&tls.cert, &pair.certificate), (&tls.key, &pair.key)]
        {
            std::fs::write(path, text).unwrap();
        }
        let now = Timestamp::now().as_second();
        believed(&certificates(&tls.cert).unwrap(), &authorities(&tls.ca).unwrap(), now).unwrap();
        let faults = Certificates::examine(&tls).unwrap().out_of_date(now);
        assert!(matches!(&faults[..], [one] if one.contains("ca.crt: expired at")), "{faults:?}");
        assert!(faults[0].contains("agents go on"), "{faults:?}");
    }

    #[test]
    fn tells_a_certificate_that_is_over_from_one_that_has_not_begun_and_takes_both() {
        let folder = Folder::new();
        let tls = folder.issue("old", 20_000, 10);
        let certificates = Certificates::examine(&tls).unwrap();
        let at = |day: i64| certificates.server.1.fault("old.crt", day * DAY_S, "it ends");
        assert_eq!(at(20_010), None, "its last moment");
        assert!(at(20_011).unwrap().starts_with("old.crt: expired at 2024-10-14T00:00:00Z: "));
        assert!(at(19_999).unwrap().starts_with("old.crt: holds from 2024-10-03T23:00:00Z: "));
    }

    #[test]
    fn rejects_what_no_agent_will_believe() {
        let (folder, other) = (Folder::new(), Folder::new());
        let foreign = Tls { ca: other.tls("collector").ca, ..folder.tls("collector") };
        assert!(
            refused(&foreign).contains("expected a certificate that an authority of"),
            "{}",
            refused(&foreign)
        );
        ca::issue(folder.0.path(), "web01", false, 10).unwrap();
        let host = refused(&folder.tls("web01"));
        assert!(host.contains("web01.crt: expected a server's certificate"), "{host}");
        let old = folder.issue("old", 20_000, 10);
        let foreign = Tls { ca: other.tls("collector").ca, ..old };
        assert!(
            refused(&foreign).contains("expected a certificate that an authority of"),
            "also when it is over"
        );
        let key = Tls { cert: folder.tls("collector").key, ..folder.tls("collector") };
        assert!(refused(&key).contains("collector.key: expected certificates in PEM"), "{}", refused(&key));
    }
}
