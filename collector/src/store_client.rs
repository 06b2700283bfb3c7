//! The way to the store: plain HTTP to the embedded one and wherever `clickhouse.url` says so, TLS where it says https.
//!
//! Over TLS the server must show a certificate for the host of the URL, of an authority of `clickhouse.ca`, or of the host's own
//! authorities where that is not given.

use std::path::Path;
use std::time::Duration;

use clickhouse::Client;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

use crate::config::{ConfigError, Endpoint};
use crate::tls::{TlsError, client_config};

/// A connection on which nothing comes is asked whether it lives, as the client's own does without TLS.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// ClickHouse closes an idle connection after 3 s: ours are let go before.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no way.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the store's password: {0}")]
    Password(#[from] ConfigError),
    #[error("clickhouse.ca: {0}")]
    Tls(#[from] TlsError),
}

/// A client of the store. Nothing is sent yet.
pub(crate) fn client(endpoint: &Endpoint) -> Result<Client, ClientError> {
    let client = if endpoint.url.starts_with("https://") {
        let connector = over_tls(endpoint.ca.as_deref())?;
        let mut http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        Client::with_http_client(http.pool_idle_timeout(POOL_IDLE_TIMEOUT).build(connector))
    } else {
        Client::default()
    };
    Ok(client
        .with_url(&endpoint.url)
        .with_user(&endpoint.user)
        .with_password(endpoint.password()?)
        .with_database(&endpoint.database))
}

fn over_tls(ca: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new().with_tls_config(client_config(ca)?);
    Ok(connector.https_only().enable_http1().wrap_connector(tcp))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::log::said;
    use crate::site::Site;

    /// A server with the site's certificate that says yes to each request. Its port.
    async fn serve(site: &Site) -> u16 {
        let tls = site.tls();
        let certificate = CertificateDer::from_pem_file(&tls.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&tls.key).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor: TlsAcceptor = Arc::new(config).into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not believe the certificate goes.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"POST ") || request[..length].starts_with(b"GET "));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        port
    }

    fn endpoint(url: String, ca: Option<PathBuf>) -> Endpoint {
        Endpoint { url, user: "vonggac".into(), password_file: None, ca, database: "default".into() }
    }

    #[tokio::test]
    async fn asks_over_tls_whom_the_authority_has_signed_and_nobody_else() {
        let site = Site::new();
        let url = format!("https://localhost:{}", serve(&site).await);
        let own = client(&endpoint(url.clone(), Some(site.tls().ca))).unwrap();
        own.query_raw("SELECT 1").execute().await.unwrap();
        for ca in [None, Some(Site::new().tls().ca)] {
            let stranger = client(&endpoint(url.clone(), ca)).unwrap();
            let error = stranger.query_raw("SELECT 1").execute().await.unwrap_err();
            assert!(said(&error).contains("invalid peer certificate"), "{}", said(&error));
        }
    }

    #[test]
    fn says_which_key_names_what_is_no_authority() {
        let site = Site::new();
        let error = client(&endpoint("https://localhost".into(), Some(site.tls().key))).unwrap_err();
        assert!(error.to_string().starts_with("clickhouse.ca: "), "{error}");
    }
}
