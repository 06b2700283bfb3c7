//! A site for the tests of the intakes: an authority, a collector's TLS, and clients with whatever certificate a test needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ca::{Authority, Leaf, Pair};
use crate::config::Tls;

pub(crate) struct Site {
    pub(crate) authority: Authority,
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now();
        let (authority, _) = Authority::create(now).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pair = authority.collector(&["localhost".into()], now, 1).unwrap();
        for (name, text) in [
            ("ca.crt", authority.certificate()),
            ("collector.crt", &pair.certificate),
            ("collector.key", &pair.key),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { authority, folder }
    }

    pub(crate) fn tls(&self) -> Tls {
        let file = |name| self.folder.path().join(name);
        Tls { ca: file("ca.crt"), cert: file("collector.crt"), key: file("collector.key") }
    }

    /// A host's certificate, valid now.
    pub(crate) fn host(&self, host: &str, drill: bool) -> Pair {
        leaf(&self.authority, host, drill, SystemTime::now())
    }

    /// A connection to a collector of the site that shows `pair`, or nothing.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        pair: Option<&Pair>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake_hands(TcpStream::connect(address).await?, pair).await
    }

    /// TLS over a connection that is there.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
        pair: Option<&Pair>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

/// A host's certificate for one day from `from`.
pub(crate) fn leaf(authority: &Authority, host: &str, drill: bool, from: SystemTime) -> Pair {
    authority.host(&Leaf { host: host.into(), drill, from, days: 1 }).unwrap()
}
