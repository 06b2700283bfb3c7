//! The waits between attempts; ways over TLS.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::ask::tests::{given_up, hung};
use crate::ca::Authority;
use crate::config::{Config, ConfigError};

/// The targets of a configuration.
fn targets(text: &str) -> Result<Notifications, ConfigError> {
    Ok(Config::parse(text, Path::new("/x/vonggac.toml"))?.notifications)
}

#[tokio::test]
async fn waits_double_up_to_the_longest_a_quarter_more_or_less() {
    let text = "[notifications]\nretry_first_ms = 1000\nretry_max_ms = 60000\n\
        targets = [{ name = \"a\", webhook = { url = \"http://127.0.0.1:1/\" } }]";
    let config = targets(text).unwrap();
    let (_ring, bell) = watch::channel(());
    let [target] = config.targets.as_slice() else { panic!("one target") };
    let notify = Notify {
        target: target.clone(),
        channel: Channel::open(target).unwrap(),
        ledger: Ledger::new(&Client::default(), target),
        patience: Arc::new(config.clone()),
        bell,
        next_message: 0,
        rung: true,
    };
    for (attempts, middle) in
        [(1, 1_000), (2, 2_000), (3, 4_000), (6, 32_000), (7, 60_000), (u16::MAX, 60_000)]
    {
        let waits = ["m", "n", "o"].map(|message| notify.back_off(attempts, message).as_millis());
        let range = middle * 3 / 4..=middle * 5 / 4;
        assert!(waits.iter().all(|wait| range.contains(wait)), "{attempts}: {waits:?}");
        assert_eq!(waits[0], notify.back_off(attempts, "m").as_millis(), "the same after a restart");
        assert!(waits[0] != waits[1] || waits[1] != waits[2], "{attempts}: {waits:?}");
    }
}

#[tokio::test]
async fn a_stage_does_not_wait_for_ever_for_a_store_that_hangs() {
    let text = "[notifications]\ntargets = [{ name = \"a\", webhook = { url = \"http://127.0.0.1:1/\" } }]";
    let (_store, client) = hung();
    let mut ledger = Ledger::new(&client, &targets(text).unwrap().targets[0]);
    assert!(matches!(given_up(ledger.begin()).await, Err(Error::TimedOut)));
    assert!(matches!(given_up(ledger.unsettled()).await, Err(Error::TimedOut)));
    assert!(matches!(given_up(ledger.waiting()).await, Err(Error::TimedOut)));
    assert!(matches!(given_up(ledger.alerts(&[])).await, Err(Error::TimedOut)));
}

/// A server for one connection with a certificate for `localhost`, and the file of its authority.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let now = SystemTime::now();
        let (authority, _) = Authority::create(now).unwrap();
        let pair = authority.collector(&["localhost".into()], now, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.certificate()).unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: Arc::new(config).into(), folder }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    async fn accept(&self) -> std::io::Result<BufReader<TlsStream<TcpStream>>> {
        let (stream, _) = self.listener.accept().await?;
        self.acceptor.accept(stream).await.map(BufReader::new)
    }

    /// Answers a line that begins so, and reads on until it comes.
    async fn answer(stream: &mut BufReader<TlsStream<TcpStream>>, line: &str, answer: &str) {
        let mut read = String::new();
        while !read.starts_with(line) {
            read.clear();
            assert!(stream.read_line(&mut read).await.unwrap() > 0, "{line:?} never came");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn send(text: &str) -> Result<String, Refusal> {
    let config = targets(text).unwrap();
    let channel = channels(&config).unwrap().pop().unwrap();
    channel.send(&Message::test("a", 0)).await
}

#[tokio::test]
async fn a_webhook_believes_the_authority_that_is_named_and_no_other() {
    let server = Server::start().await;
    let url = format!("https://localhost:{}/", server.port());
    let ca = server.ca().display().to_string();
    let named = format!(
        "[notifications]\ntargets = [{{ name = \"a\", webhook = {{ url = \"{url}\", ca = \"{ca}\" }} }}]"
    );
    let served = async {
        let mut stream = server.accept().await.unwrap();
        Server::answer(&mut stream, "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    };
    assert_eq!(tokio::join!(send(&named), served).0.unwrap(), "200 OK ok");

    let host = named.replace(&format!(", ca = \"{ca}\""), "");
    let (refused, accepted) = tokio::join!(send(&host), server.accept());
    assert!(accepted.is_err(), "the handshake fails");
    let refused = refused.unwrap_err();
    assert!(refused.detail.contains("invalid peer certificate") && !refused.is_final, "{refused:?}");
}

#[tokio::test]
async fn a_mail_crosses_tls_with_its_password() {
    let server = Server::start().await;
    std::fs::write(server.folder.path().join("password"), "geheim\n").unwrap();
    let text = format!(
        "[notifications]\ntargets = [{{ name = \"a\", mail = {{ server = \"localhost\", port = {}, tls = \"implicit\", ca = \"{}\", \
            user = \"soc\", password_file = \"{}\", from = \"soc@example.vn\", to = [\"a@example.vn\"] }} }}]",
        server.port(),
        server.ca().display(),
        server.folder.path().join("password").display()
    );
    let served = async {
        let mut stream = server.accept().await.unwrap();
        stream.write_all(b"220 here\r\n").await.unwrap();
        stream.flush().await.unwrap();
        Server::answer(&mut stream, "EHLO", "250-here\r\n250 AUTH PLAIN\r\n").await;
        // "\0soc\0geheim"
        Server::answer(&mut stream, "AUTH PLAIN AHNvYwBnZWhlaW0=", "235 ok\r\n").await;
        Server::answer(&mut stream, "MAIL", "250 ok\r\n").await;
        Server::answer(&mut stream, "RCPT", "554 not geheim\r\n").await;
    };
    let refused = tokio::join!(send(&text), served).0.unwrap_err();
    assert!(refused.is_final, "{refused:?}");
    assert!(refused.detail.contains("not ***"), "{refused:?}");
}

/// A server without TLS that knows no address of `gone`; counts what it took, each time with the number of addresses.
async fn serve_mail(listener: TcpListener, taken: tokio::sync::mpsc::Sender<usize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.unwrap();
        let (mut line, mut to, mut in_text) = (String::new(), 0, false);
        while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                _ if in_text && line != ".\r\n" => "",
                _ if in_text => {
                    in_text = false;
                    taken.send(to).await.unwrap();
                    "250 queued\r\n"
                }
                "RCPT" if line.contains("gone") => "550 no such mailbox\r\n",
                "RCPT" => {
                    to += 1;
                    "250 ok\r\n"
                }
                "DATA\r\n" => {
                    in_text = true;
                    "354 go on\r\n"
                }
                _ => "250 ok\r\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            line.clear();
        }
    }
}

#[tokio::test]
async fn an_address_that_is_no_more_keeps_a_mail_from_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut taken) = tokio::sync::mpsc::channel(8);
    tokio::spawn(serve_mail(listener, sender));
    let to = |people: &str| {
        let people =
            people.split(' ').map(|name| format!("\"{name}@example.vn\"")).collect::<Vec<_>>().join(", ");
        format!(
            "[notifications]\ntargets = [{{ name = \"a\", mail = {{ server = \"127.0.0.1\", port = {port}, tls = \"none\", \
                from = \"soc@example.vn\", to = [{people}] }} }}]"
        )
    };
    assert_eq!(send(&to("lan hoa")).await.unwrap(), "250 queued");
    assert_eq!(taken.recv().await, Some(2), "one mail for both");
    let answer = send(&to("lan gone hoa")).await.unwrap();
    assert!(answer.starts_with("250 queued; NOT taken for gone@example.vn: "), "{answer}");
    assert_eq!((taken.recv().await, taken.recv().await), (Some(1), Some(1)));
    let refused = send(&to("gone gone2")).await.unwrap_err();
    assert!(refused.detail.contains("gone2@example.vn: ") && !refused.is_final, "{refused:?}");
}

/// Who names users by emoji does not make a message too long for a chat service, which would refuse it for ever.
#[test]
fn a_text_is_as_long_as_chat_services_count_it() {
    let alert = |number: usize| message::Alert {
        id: number.to_string(),
        priority: "P1".to_owned(),
        user: "\u{1f600}".repeat(500),
        entity: "\u{1f600}".repeat(500),
        ..message::Alert::default()
    };
    let message = Message::new("a", (0..20).map(alert).collect(), 0);
    let text = message.text(crate::level::Lang::Vi, &crate::people::Clock::new(true), 3_500);
    let units = text.encode_utf16().count();
    assert!((2_500..=3_500).contains(&units), "{units} units");
}
