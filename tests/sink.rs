//! A collector that only remembers: mutual TLS, decodes batches, acknowledges them, keeps what came under which identity.
//!
//! It checks as it goes what an agent must never break: an identity always carries the same records, and a batch that was
//! here before says so.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use event::{Batch, FRAME_BYTES_MAX, Reply};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A certificate authority of a test.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What came, by identity.
#[derive(Default)]
pub(crate) struct Received {
    batches: BTreeMap<(u64, u64), Batch>,
    /// What an agent must never do.
    pub(crate) wrongs: Vec<String>,
}

struct Shared {
    received: Mutex<Received>,
    config: Arc<ServerConfig>,
    /// Batches that get no acknowledgement for now.
    withhold: AtomicBool,
    /// Each connection ends, without acknowledging its last batch, after so many of them.
    batches_per_connection: AtomicU64,
    handshakes_failed: AtomicU64,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// The sink. It ends when it is dropped.
pub(crate) struct Sink {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn issue(&self, name: &str) -> Result<Issued> {
        self.issue_with(name, |_| ())
    }

    /// A certificate that is not as usual.
    pub(crate) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

impl Received {
    fn take(&mut self, batch: Batch) {
        let identity = (batch.header.epoch, batch.header.seq);
        let Some(before) = self.batches.get(&identity) else {
            self.batches.insert(identity, batch);
            return;
        };
        if !batch.header.resent {
            self.wrongs.push(format!("{identity:?} came again and does not say so"));
        }
        let content =
            |batch: &Batch| (batch.header.checksum, batch.header.records, batch.header.source.clone());
        if content(before) != content(&batch) {
            self.wrongs.push(format!("{identity:?} came again with other records"));
        }
    }

    /// Every record of every identity, in the order of the identities.
    pub(crate) fn lines(&self) -> Vec<String> {
        let records = self.batches.values().flat_map(Batch::records);
        records.map(|record| String::from_utf8_lossy(record.bytes).into_owned()).collect()
    }

    pub(crate) fn records(&self) -> u64 {
        self.batches.values().map(|batch| u64::from(batch.header.records)).sum()
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    pub(crate) fn epochs(&self) -> usize {
        let mut epochs: Vec<u64> = self.batches.keys().map(|(epoch, _)| *epoch).collect();
        epochs.dedup();
        epochs.len()
    }

    /// Whether the numbers of the one epoch go from 1 without a gap.
    pub(crate) fn has_no_gap(&self) -> bool {
        self.epochs() == 1 && self.batches.keys().map(|(_, seq)| *seq).eq(1..=self.batches.len() as u64)
    }
}

impl Sink {
    /// A sink under `name`, for agents of `authority`.
    pub(crate) fn start(authority: &Authority, name: &str) -> Result<Self> {
        let issued = authority.issue(name)?;
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            config: server_config(authority, &issued)?,
            withhold: AtomicBool::new(false),
            batches_per_connection: AtomicU64::new(u64::MAX),
            handshakes_failed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let mut sink = Self { port: 0, shared, accepting: None };
        sink.accept(TcpListener::bind("127.0.0.1:0")?)?;
        Ok(sink)
    }

    fn accept(&mut self, listener: TcpListener) -> Result<()> {
        self.port = listener.local_addr()?.port();
        self.shared.ended.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A connection's end, however it comes, is what these tests are about.
                std::thread::spawn(move || {
                    let Ok(socket) = stream.try_clone() else { return };
                    let _ended = serve(&shared, stream);
                    // For every clone of it.
                    let _broken = socket.shutdown(std::net::Shutdown::Both);
                });
            }
        }));
        Ok(())
    }

    /// Ends at once, as a killed process does: connections break, nobody listens.
    pub(crate) fn stop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _joined = accepting.join();
        }
        for connection in self.shared.connections.lock().expect("no panic").drain(..) {
            let _broken = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Listens again where it did.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.accept(TcpListener::bind(("127.0.0.1", self.port))?)
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received.lock().expect("no panic while it is held")
    }

    /// Takes batches, acknowledges none (true), or acknowledges again from the next connection on (false).
    pub(crate) fn withhold(&self, withhold: bool) {
        self.shared.withhold.store(withhold, Ordering::SeqCst);
        if !withhold {
            for connection in self.shared.connections.lock().expect("no panic").drain(..) {
                let _broken = connection.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Breaks each connection after so many batches, the last of them not acknowledged.
    pub(crate) fn break_after(&self, batches: u64) {
        self.shared.batches_per_connection.store(batches, Ordering::SeqCst);
    }

    pub(crate) fn handshakes_failed(&self) -> u64 {
        self.shared.handshakes_failed.load(Ordering::SeqCst)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop();
    }
}

fn server_config(authority: &Authority, issued: &Issued) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes())?)?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn serve(shared: &Shared, stream: TcpStream) -> Result<()> {
    shared.connections.lock().expect("no panic").push(stream.try_clone()?);
    let mut connection = ServerConnection::new(Arc::clone(&shared.config))?;
    let mut socket = &stream;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            shared.handshakes_failed.fetch_add(1, Ordering::SeqCst);
            return Err(error.into());
        }
    }
    let mut stream = StreamOwned::new(connection, stream);
    for count in 1.. {
        let message = read_frame(&mut stream)?;
        let batch = Batch::decode(&message).context("a batch");
        let mut received = shared.received.lock().expect("no panic");
        let seq = match batch {
            Ok(batch) => {
                let seq = batch.header.seq;
                received.take(batch);
                seq
            }
            Err(error) => {
                received.wrongs.push(format!("{error:#}"));
                bail!("no batch");
            }
        };
        drop(received);
        if count >= shared.batches_per_connection.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !shared.withhold.load(Ordering::SeqCst) {
            let reply = Reply::Ack { seq }.encode();
            stream.write_all(&u32::try_from(reply.len())?.to_be_bytes())?;
            stream.write_all(&reply)?;
            stream.flush()?;
        }
    }
    Ok(())
}

fn read_frame(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Writes a host's certificate, its key and the authority's certificate into a folder.
pub(crate) fn write_identity(folder: &Path, authority: &Authority, issued: &Issued) -> Result<()> {
    std::fs::write(folder.join("ca.crt"), &authority.certificate)?;
    std::fs::write(folder.join("agent.crt"), &issued.certificate)?;
    std::fs::write(folder.join("agent.key"), &issued.key)?;
    Ok(())
}
