//! `vonggac ca`: the site's own certificate authority, for the TLS between collectors, agents and OTLP senders.
//!
//! `init` makes the authority and the collector's certificate; `collector` makes the latter anew, to renew it; `issue` makes the
//! certificate of one host. A certificate is
//! the only thing that says who a sender is: the host in its subject alternative name is the one host it may speak for, and
//! only with the organisational unit `drill` may its batches carry a drill. Collectors get `serverAuth`, hosts `clientAuth`,
//! so that no host can pass for a collector.
//!
//! Keys are ECDSA P-256. A file that is there is never overwritten. What it never does: revoke (certificates are short-lived
//! instead, see [`LEAF_DAYS`]), or send anything anywhere.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args as ClapArgs, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;

use crate::hunts::SENDER_PREFIX;
use crate::tls::DRILL_UNIT;

/// An authority lives ten years: as long as the hardware of a data centre.
const CA_DAYS: u32 = 3_650;
/// A certificate lives two years by default: there is no revocation, and a fleet is seldom renewed more often by hand.
pub(crate) const LEAF_DAYS: u32 = 730;
/// Certificates are valid from a little before now, for hosts whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// Longest host name and longest part of one, in bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// What is told of the key that the daemon reads.
const KEY_OWNER: &str = "collector.key must be readable by the user of `vonggac serve`, and by nobody else";

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CaError {
    #[error(
        "{name:?} is no host name: expected letters, digits, - and _ in parts of at most 63 bytes with . between them"
    )]
    Host { name: String },
    #[error(
        "{name:?} begins with {SENDER_PREFIX}, as the senders of hunts do: expected another name for a host"
    )]
    Reserved { name: String },
    #[error("{} is there already: it is never overwritten; move it away first", path.display())]
    Exists { path: PathBuf },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: expected {expected}", path.display())]
    Authority { path: PathBuf, expected: &'static str },
    #[error("the certificate of {name} cannot be made: {source}")]
    Certificate { name: String, source: rcgen::Error },
}

/// Make certificates for the collector and for the hosts that send to it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the authority (ca.crt, ca.key) and the collector's certificate (collector.crt, collector.key)
    ///
    /// Keep ca.key away from the collector where you can: who has it can speak for any host.
    Init {
        /// Folder for the files; made if it is missing
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// Make the collector's certificate anew (collector.crt, collector.key), with the authority that is there
    ///
    /// To renew it, or for another name. Move the old files away first. Agents keep their certificates.
    Collector {
        /// Folder of the authority; the files are put there, too
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// Make the certificate of a host (HOST.crt, HOST.key)
    ///
    /// Its agent, or its OTLP sender, may speak for this host only.
    Issue {
        /// The host's name, as it shall stand in events and alerts
        host: String,
        /// Folder of the authority; the files are put there, too
        #[arg(long)]
        dir: PathBuf,
        /// The host takes part in drills: its batches may carry a drill, and what they make stays out of statistics
        #[arg(long)]
        drill: bool,
        /// Days for which it is valid
        #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

/// What the collector's own certificate says.
#[derive(Debug, ClapArgs)]
struct OwnArgs {
    /// Name or address under which agents reach the collector; may be given several times
    #[arg(long = "host", required = true, value_name = "NAME")]
    hosts: Vec<String>,
    /// Days for which the collector's certificate is valid
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a host's certificate says.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub host: String,
    pub drill: bool,
    pub from: SystemTime,
    pub days: u32,
}

/// A certificate and its key as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The authority: its name and its key.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Init { dir, own: OwnArgs { hosts, days } } => {
            init(&dir, &hosts, days)?;
            print_init(&dir, &hosts, days);
        }
        Command::Collector { dir, own: OwnArgs { hosts, days } } => {
            let issued = collector(&dir, &hosts, days)?;
            let (certificate, key) = (issued.certificate.display(), issued.key.display());
            println!("Made {certificate} and {key} for {}, valid {days} days.", hosts.join(", "));
            println!(
                "Next: put both where [tls] of vonggac.toml names them; {KEY_OWNER}; start the collector anew."
            );
        }
        Command::Issue { host, dir, drill, days } => {
            let issued = issue(&dir, &host, drill, days)?;
            print_issued(&issued, &host, drill, days);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes `ca.crt`, `ca.key`, `collector.crt` and `collector.key` in `dir`. The collector's certificate is for `hosts`: names
/// or addresses under which agents reach it.
pub fn init(dir: &Path, hosts: &[String], days: u32) -> Result<Issued, CaError> {
    let now = SystemTime::now();
    std::fs::create_dir_all(dir).map_err(|source| CaError::File { path: dir.into(), source })?;
    let (ca, collector) = (files(dir, "ca"), files(dir, "collector"));
    refuse_present([&ca, &collector])?;
    let (authority, key) = Authority::create(now)?;
    let pair = authority.collector(hosts, now, days)?;
    write(&ca, &Pair { certificate: authority.certificate, key })?;
    write(&collector, &pair)?;
    Ok(collector)
}

/// Makes `collector.crt` and `collector.key` in `dir`, signed by the authority that is there.
pub(crate) fn collector(dir: &Path, hosts: &[String], days: u32) -> Result<Issued, CaError> {
    let issued = files(dir, "collector");
    refuse_present([&issued])?;
    write(&issued, &Authority::open(dir)?.collector(hosts, SystemTime::now(), days)?)?;
    Ok(issued)
}

/// Makes `HOST.crt` and `HOST.key` in `dir`, signed by the authority that is there.
pub fn issue(dir: &Path, host: &str, drill: bool, days: u32) -> Result<Issued, CaError> {
    let authority = Authority::open(dir)?;
    let host = host_name(host)?;
    if host.starts_with(SENDER_PREFIX) {
        return Err(CaError::Reserved { name: host });
    }
    let issued = files(dir, &host);
    refuse_present([&issued])?;
    write(&issued, &authority.host(&Leaf { host, drill, from: SystemTime::now(), days })?)?;
    Ok(issued)
}

impl Authority {
    /// A new authority and its key as PEM.
    pub fn create(now: SystemTime) -> Result<(Self, String), CaError> {
        let name = "Vọng Gác CA";
        let failed = failure(name);
        let key = KeyPair::generate().map_err(&failed)?;
        let mut params = validity(name, now, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(&failed)?.pem();
        let pem = key.serialize_pem();
        Ok((Self { certificate, issuer: Issuer::new(params, key) }, pem))
    }

    /// The authority in `dir`.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let Issued { certificate: path, key: key_path } = files(dir, "ca");
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| CaError::File { path: path.into(), source })
        };
        let certificate = read(&path)?;
        let broken = |path, expected| move |_| CaError::Authority { path, expected };
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(broken(key_path.clone(), "a private key in PKCS#8 PEM"))?;
        let public = key.public_key_raw().to_vec();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(broken(path, "the certificate of an authority in PEM"))?;
        if !holds_key(&certificate, &public) {
            return Err(CaError::Authority { path: key_path, expected: "the key that belongs to ca.crt" });
        }
        Ok(Self { certificate, issuer })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The certificate of a collector that is reached under `hosts`.
    pub fn collector(&self, hosts: &[String], now: SystemTime, days: u32) -> Result<Pair, CaError> {
        let mut params = validity("Vọng Gác collector", now, days);
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => dns_name(&host_name(host)?)?,
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, "the collector")
    }

    /// The certificate of a host that sends.
    pub fn host(&self, leaf: &Leaf) -> Result<Pair, CaError> {
        let mut params = validity(&leaf.host, leaf.from, leaf.days);
        params.subject_alt_names = vec![dns_name(&leaf.host)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if leaf.drill {
            params.distinguished_name.push(DnType::OrganizationalUnitName, DRILL_UNIT);
        }
        self.sign(params, &leaf.host)
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Result<Pair, CaError> {
        let failed = failure(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(&failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(&failed)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

/// A host name in lower case, as it stands in certificates, batches and the store.
pub fn host_name(name: &str) -> Result<String, CaError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(is_label) {
        return Err(CaError::Host { name: name.to_owned() });
    }
    Ok(name.to_ascii_lowercase())
}

fn dns_name(host: &str) -> Result<SanType, CaError> {
    let name = host.to_owned().try_into().map_err(|_| CaError::Host { name: host.to_owned() })?;
    Ok(SanType::DnsName(name))
}

/// Parameters with a name and a time. The time of rcgen's crate `time` is reached from 1970 by adding.
fn validity(common_name: &str, from: SystemTime, days: u32) -> CertificateParams {
    let from = from.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(BACKDATED);
    let until = from + BACKDATED + Duration::from_secs(u64::from(days) * 86_400);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = epoch + from;
    params.not_after = epoch + until;
    params
}

fn failure(name: &str) -> impl Fn(rcgen::Error) -> CaError {
    move |source| CaError::Certificate { name: name.to_owned(), source }
}

fn holds_key(certificate: &str, public_key: &[u8]) -> bool {
    x509_parser::pem::parse_x509_pem(certificate.as_bytes()).is_ok_and(|(_, pem)| {
        pem.parse_x509().is_ok_and(|parsed| parsed.public_key().subject_public_key.data == public_key)
    })
}

fn files(dir: &Path, stem: &str) -> Issued {
    Issued { certificate: dir.join(format!("{stem}.crt")), key: dir.join(format!("{stem}.key")) }
}

fn refuse_present<'a>(files: impl IntoIterator<Item = &'a Issued>) -> Result<(), CaError> {
    for path in files.into_iter().flat_map(|issued| [&issued.certificate, &issued.key]) {
        // A dangling link counts as there: writing through it would land elsewhere.
        if path.symlink_metadata().is_ok() {
            return Err(CaError::Exists { path: path.clone() });
        }
    }
    Ok(())
}

fn write(files: &Issued, pair: &Pair) -> Result<(), CaError> {
    write_new(&files.key, &pair.key, 0o600)?;
    write_new(&files.certificate, &pair.certificate, 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let create = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    create().map_err(|source| CaError::File { path: path.into(), source })
}

fn print_init(dir: &Path, hosts: &[String], days: u32) {
    let dir = dir.display();
    println!("Made in {dir}:");
    println!("  ca.crt, ca.key                the authority, valid {CA_DAYS} days");
    println!("  collector.crt, collector.key  the collector as {}, valid {days} days", hosts.join(", "));
    println!(
        "Next: put ca.crt, collector.crt and collector.key where [tls] of vonggac.toml names them; {KEY_OWNER}."
    );
    println!("Then: `vonggac ca issue HOST --dir {dir}` for each host that sends.");
    println!("Keep ca.key apart: who has it can speak for any host. The collector does not need it.");
}

fn print_issued(issued: &Issued, host: &str, drill: bool, days: u32) {
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    println!("Made {certificate} and {key}, valid {days} days.");
    println!("Next: put both, and ca.crt, on {host} and name them in [tls] of its agent.toml.");
    if drill {
        println!("It may speak for drills: do not give it to a host that watches for real attacks.");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::tls::Peer;

    fn peer(certificate: &Path) -> Peer {
        let der = CertificateDer::from_pem_file(certificate).unwrap();
        Peer::of(Some(&[der])).unwrap()
    }

    #[test]
    fn issues_certificates_that_name_host_and_drill() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &["localhost".into(), "::1".into()], 1).unwrap();
        let plain = issue(folder.path(), "Web01.Sở-Y-Tế.vn", false, 1);
        assert!(
            matches!(plain, Err(CaError::Host { .. })),
            "letters outside ASCII are punycode in certificates"
        );
        let plain = issue(folder.path(), "Web01.example.vn", false, 1).unwrap();
        let named = |peer: Peer| (peer.host, peer.drill);
        assert_eq!(named(peer(&plain.certificate)), ("web01.example.vn".into(), false));
        assert!(plain.key.ends_with("web01.example.vn.key"));
        let drill = issue(folder.path(), "range", true, 1).unwrap();
        assert_eq!(named(peer(&drill.certificate)), ("range".into(), true));
    }

    #[test]
    fn keeps_keys_to_the_owner_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let collector = init(folder.path(), &["localhost".into()], 1).unwrap();
        for key in [folder.path().join("ca.key"), collector.key] {
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(matches!(init(folder.path(), &["localhost".into()], 1), Err(CaError::Exists { .. })));
        issue(folder.path(), "web01", false, 1).unwrap();
        assert!(matches!(issue(folder.path(), "WEB01", false, 1), Err(CaError::Exists { .. })));
    }

    #[test]
    fn renews_the_collector_when_the_old_one_is_out_of_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = ["localhost".to_owned()];
        let old = init(folder.path(), &hosts, 1).unwrap();
        assert!(matches!(collector(folder.path(), &hosts, 700), Err(CaError::Exists { .. })));
        let before = peer(&old.certificate).expires;
        std::fs::remove_file(&old.certificate).unwrap();
        std::fs::remove_file(&old.key).unwrap();
        let renewed = collector(folder.path(), &hosts, 700).unwrap();
        assert!(peer(&renewed.certificate).expires > before);
        let tls = crate::config::Tls {
            ca: folder.path().join("ca.crt"),
            cert: renewed.certificate,
            key: renewed.key,
        };
        crate::tls::server_config(&tls, &[]).unwrap();
        crate::certificates::Certificates::examine(&tls).unwrap();
    }

    #[test]
    fn keeps_the_names_of_hunts_from_hosts() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &["localhost".into()], 1).unwrap();
        assert!(matches!(issue(folder.path(), "Hunt-beaconing", false, 1), Err(CaError::Reserved { .. })));
        issue(folder.path(), "hunter", false, 1).unwrap();
    }

    #[test]
    fn rejects_a_key_of_another_authority() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            init(folder.path(), &["localhost".into()], 1).unwrap();
        }
        std::fs::copy(one.path().join("ca.key"), two.path().join("ca.key")).unwrap();
        assert!(matches!(issue(two.path(), "web01", false, 1), Err(CaError::Authority { .. })));
    }

    #[test]
    fn reads_host_names_and_rejects_what_could_leave_the_folder() {
        for good in ["a", "web-01", "web_01", "WEB01.example.vn", &"a".repeat(63)] {
            assert_eq!(host_name(good).unwrap(), good.to_ascii_lowercase());
        }
        let long = vec!["a".repeat(63); 4].join(".");
        for bad in ["", ".", "..", "a..b", "-a", "a-", "a/b", "../a", "a b", "é", &"a".repeat(64), &long] {
            assert!(host_name(bad).is_err(), "{bad:?}");
        }
    }
}
