//! Messages by mail: plain text in UTF-8. The library encodes headers and body (RFC 2047, RFC 2045); texts of alerts come to it
//! on one line each, so that no header can begin in one.
//!
//! A message keeps its `Message-ID` through all attempts: whoever gets it twice sees one mail. It is sent when the server has taken
//! it for one person of the target: an address that is no more keeps it from nobody else.

use lettre::address::Envelope;
use lettre::message::header::{ContentType, MIME_VERSION_1_0};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::config::{Mail, MailTls, NotificationTarget};
use crate::level::Lang;
use crate::notifications::channel::{ChannelError, Refusal};
use crate::notifications::message::Message;
use crate::notifications::request::{ANSWER_TIMEOUT, reasons};
use crate::notifications::secret::Secret;
use crate::people::Clock;

/// Longest text, in UTF-16: all alerts that a message names.
const TEXT_UNITS_MAX: usize = 40_000;
/// A server's words for a message that it will never take: too large, refused for what it says.
const FINAL: [u16; 2] = [552, 554];

/// The way to a mail server.
#[derive(Debug)]
pub(super) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
    lang: Lang,
}

impl Post {
    pub(super) fn open(target: &NotificationTarget, mail: &Mail) -> Result<Self, ChannelError> {
        let invalid = |key, expected| ChannelError::Invalid { target: target.name.clone(), key, expected };
        let address = |text: &String| text.parse().map_err(|_| invalid("mail", "addresses"));
        let password = mail.password_file.as_deref().map(Secret::read).transpose()?;
        let (tls, port) = tls(target, mail)?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server)
            .port(mail.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT))
            .hello_name(own_name());
        if let (Some(user), Some(password)) = (&mail.user, &password) {
            transport = transport.credentials(Credentials::new(user.clone(), password.text().to_owned()));
        }
        Ok(Self {
            transport: transport.build(),
            from: address(&mail.from)?,
            to: mail.to.iter().map(address).collect::<Result<_, _>>()?,
            password,
            lang: target.lang,
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<String, Refusal> {
        let mail = self.mail(message);
        let mail = mail.map_err(|error| Refusal { detail: error.to_string(), is_final: true })?;
        let (envelope, text) = (mail.envelope().clone(), mail.formatted());
        match self.deliver(&envelope, &text).await {
            Err((refusal, true)) if self.to.len() > 1 => self.one_by_one(&envelope, &text, refusal).await,
            answer => answer.map_err(|(refusal, _)| refusal),
        }
    }

    /// A server's no to one address is a no to the whole mail, which then nobody has: each gets one of their own. Whom the mail
    /// does not reach is named beside the answer.
    async fn one_by_one(&self, all: &Envelope, text: &[u8], mut refusal: Refusal) -> Result<String, Refusal> {
        let (mut taken, mut refused) = (None, Vec::new());
        for to in all.to() {
            let Ok(envelope) = Envelope::new(all.from().cloned(), vec![to.clone()]) else { continue };
            match self.deliver(&envelope, text).await {
                Ok(answer) => taken = Some(answer),
                Err((one, _)) => {
                    refusal.is_final &= one.is_final;
                    refused.push(format!("{to}: {}", one.detail));
                }
            }
        }
        let refused = refused.join("; ");
        match taken {
            Some(answer) if refused.is_empty() => Ok(answer),
            Some(answer) => {
                tracing::warn!(refused, "a mail reached others, but not these");
                Ok(format!("{answer}; NOT taken for {refused}"))
            }
            None => Err(Refusal { detail: refused, ..refusal }),
        }
    }

    /// One transaction; beside the refusal, whether the server said it.
    async fn deliver(&self, envelope: &Envelope, text: &[u8]) -> Result<String, (Refusal, bool)> {
        let hidden =
            |text: String| self.password.as_ref().map_or(text.clone(), |secret| secret.hidden_in(&text));
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.transport.send_raw(envelope, text)).await;
        let Ok(answer) = answer else {
            let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
            return Err((Refusal { detail, is_final: false }, false));
        };
        answer.map(|response| hidden(format!("{} {}", response.code(), words(&response)))).map_err(|error| {
            let code = error.status().map(u16::from);
            let is_final = code.is_some_and(|code| FINAL.contains(&code));
            (Refusal { detail: hidden(reasons(&error)), is_final }, code.is_some())
        })
    }

    fn mail(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let head: MessageBuilder = lettre::Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            .subject(message.title(self.lang))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        let head = self.to.iter().fold(head, |head, to| head.to(to.clone()));
        head.body(message.text(self.lang, &Clock::new(false), TEXT_UNITS_MAX))
    }
}

/// How TLS is spoken, and the port where that is usual.
fn tls(target: &NotificationTarget, mail: &Mail) -> Result<(Tls, u16), ChannelError> {
    if mail.tls == MailTls::None {
        return Ok((Tls::None, 25));
    }
    let failed = |source| ChannelError::Mail { target: target.name.clone(), source };
    let mut parameters = TlsParameters::builder(mail.server.clone());
    if let Some(path) = &mail.ca {
        let pem = std::fs::read(path).map_err(|source| ChannelError::Read { path: path.clone(), source })?;
        let certificate = Certificate::from_pem(&pem).map_err(failed)?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let parameters = parameters.build().map_err(failed)?;
    Ok(match mail.tls {
        MailTls::Implicit => (Tls::Wrapper(parameters), 465),
        MailTls::Starttls | MailTls::None => (Tls::Required(parameters), 587),
    })
}

/// This machine, as it says hello.
fn own_name() -> ClientId {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => ClientId::default(),
        name => ClientId::Domain(name.to_owned()),
    }
}

fn words(response: &lettre::transport::smtp::response::Response) -> String {
    response.message().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifications::message::Alert;

    #[test]
    fn no_header_begins_in_a_text() {
        let from: Mailbox = "Vọng Gác <soc@example.vn>".parse().unwrap();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").build();
        let post = Post { transport, to: vec![from.clone()], from, password: None, lang: Lang::Vi };
        let title = "Đăng nhập lạ\r\nBcc: x@example.vn\r\n\r\n<html>".to_owned();
        let alert = Alert {
            priority: "P1".to_owned(),
            host: "web01\n.\n".to_owned(),
            rule_title: title,
            ..Alert::default()
        };
        let mail = post.mail(&Message::new("t", vec![alert], 0)).unwrap().formatted();
        let text = String::from_utf8(mail).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| Some(line.split_once(": ")?.0))
            .collect();
        let expected = ["From", "Message-ID", "Subject", "MIME-Version", "Content-Type", "To"];
        assert_eq!(names[..6], expected, "{head}");
        assert!(names[6..].iter().all(|name| ["Content-Transfer-Encoding", "Date"].contains(name)), "{head}");
        assert!(head.is_ascii() && !body.lines().any(|line| line == "."), "{text}");
    }
}
