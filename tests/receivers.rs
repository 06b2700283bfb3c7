//! Receivers of notifications on the loopback interface: one speaks HTTP, one SMTP. Each remembers what it was sent; what the
//! HTTP one answers may be changed at any time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::site::PATIENCE;

/// Requests and mails that wait to be looked at; who brings more waits, too.
const WAITING_MAX: usize = 1_000;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("no header {name}: {self:?}"))
    }

    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

/// Takes requests over HTTP.
pub(crate) struct HttpReceiver {
    pub(crate) port: u16,
    answers: Arc<Answers>,
    requests: Mutex<Receiver<Request>>,
}

#[derive(Debug)]
struct Answers {
    /// Requests that are answered 503 before the others.
    failures: AtomicUsize,
    status: AtomicU16,
}

impl HttpReceiver {
    /// The first `failures` requests are answered 503, the others 200.
    pub(crate) fn start(failures: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let answers = Arc::new(Answers { failures: failures.into(), status: 200.into() });
        let (sender, requests) = sync_channel(WAITING_MAX);
        let in_thread = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that is cut off, as by a kill, is none.
                let _cut = in_thread.serve(&stream, &sender);
            }
        });
        Ok(Self { port, answers, requests: Mutex::new(requests) })
    }

    /// What the requests from now on are answered, behind the failures that are left.
    pub(crate) fn answer(&self, status: u16) {
        self.answers.status.store(status, Ordering::SeqCst);
    }

    /// The next request; waits for it.
    pub(crate) fn next(&self) -> Result<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.recv_timeout(PATIENCE).context("a request comes")
    }

    /// All requests that have come and were not looked at.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }
}

impl Answers {
    fn serve(&self, mut stream: &TcpStream, requests: &SyncSender<Request>) -> Result<()> {
        let request = read(stream)?;
        let fails =
            self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let status = if fails.is_ok() { 503 } else { self.status.load(Ordering::SeqCst) };
        requests.send(request)?;
        let head = "Content-Length: 4\r\nConnection: close\r\n\r\nsaid";
        Ok(write!(stream, "HTTP/1.1 {status} -\r\n{head}")?)
    }
}

fn read(stream: &TcpStream) -> Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("a path")?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").context("a length")?;
    let mut body = vec![0; length.1.parse()?];
    reader.read_exact(&mut body)?;
    Ok(Request { path, headers, body: String::from_utf8(body)? })
}

/// Takes mail.
pub(crate) struct MailReceiver {
    pub(crate) port: u16,
    mails: Mutex<Receiver<Mail>>,
}

/// A mail as it came: the envelope's commands, and the text with its headers.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) envelope: Vec<String>,
    pub(crate) text: String,
}

impl MailReceiver {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (sender, mails) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _cut = take_mail(stream, &sender);
            }
        });
        Ok(Self { port, mails: Mutex::new(mails) })
    }

    /// The next mail; waits for it.
    pub(crate) fn next(&self) -> Result<Mail> {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.recv_timeout(PATIENCE).context("a mail comes")
    }
}

/// As much of RFC 5321 as a client needs that sends one mail.
fn take_mail(stream: TcpStream, mails: &SyncSender<Mail>) -> Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let mut envelope = Vec::new();
    out.write_all(b"220 receiver\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-receiver\r\n250 8BITMIME\r\n",
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let text = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                let text = text.collect::<Vec<_>>().join("\r\n");
                mails.send(Mail { envelope: std::mem::take(&mut envelope), text })?;
                "250 queued\r\n"
            }
            "MAIL" | "RCPT" => {
                envelope.push(line);
                "250 ok\r\n"
            }
            "QUIT" => return Ok(out.write_all(b"221 bye\r\n")?),
            _ => "502 what\r\n",
        };
        out.write_all(answer.as_bytes())?;
    }
    Ok(())
}
