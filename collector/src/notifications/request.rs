//! Messages over HTTP: a webhook with JSON of our own, or a request of the form that the receiver prescribes.
//!
//! A webhook's request can be checked by who gets it: `X-Vonggac-Signature: sha256=HEX` is HMAC-SHA256, with the shared secret,
//! of the header `X-Vonggac-Timestamp` (seconds since 1970), a full stop and the body; an old timestamp is a replay.
//! `X-Vonggac-Message` is the same for all attempts of a message.
//!
//! A template is filled in one pass: what a value says is never read as a placeholder. Values are escaped for the text's form
//! (HTML) and then for the body's (JSON).
//!
//! Limits: [`ANSWER_TIMEOUT`], [`ANSWER_BYTES_MAX`] of an answer, [`TEXT_UNITS_MAX`] of a text. No redirection is followed: the
//! message and its secret are for one address.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

use crate::clock::now;
use crate::config::{Content, HttpTemplate, NotificationTarget, TextForm, Webhook};
use crate::level::Lang;
use crate::notifications::channel::{ANSWER_CHARS_MAX, ChannelError, Refusal};
use crate::notifications::message::Message;
use crate::notifications::secret::Secret;
use crate::people::{Clock, MICROS_PER_S};
use crate::tls::client_config;

/// An attempt takes no longer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest text, in UTF-16: chat services take 4,096 such units.
const TEXT_UNITS_MAX: usize = 3_500;
/// What a receiver says of a message that it will never take: its form is wrong, or it is too large.
const FINAL: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::UNPROCESSABLE_ENTITY,
];

/// The way to an address.
#[derive(Debug)]
pub(super) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: String,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    secret: Option<Secret>,
    lang: Lang,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Webhook,
    Template { body: String, content: Content, text: TextForm },
}

impl Web {
    pub(super) fn webhook(target: &NotificationTarget, webhook: &Webhook) -> Result<Self, ChannelError> {
        let secret = webhook.secret_file.as_deref().map(Secret::read).transpose()?;
        let invalid = |key, expected| ChannelError::Invalid { target: target.name.clone(), key, expected };
        Ok(Self {
            client: client(webhook.ca.as_deref())?,
            target: target.name.clone(),
            uri: webhook.url.parse().map_err(|_| invalid("webhook.url", "a URL"))?,
            headers: Vec::new(),
            secret,
            lang: target.lang,
            form: Form::Webhook,
        })
    }

    pub(super) fn template(target: &NotificationTarget, http: &HttpTemplate) -> Result<Self, ChannelError> {
        let secret = http.secret_file.as_deref().map(Secret::read).transpose()?;
        let invalid = |key, expected| ChannelError::Invalid { target: target.name.clone(), key, expected };
        let with_secret = |text: &str| {
            let known = secret.as_ref().map(|secret| ("secret", secret.text().to_owned()));
            filled(text, known.as_slice())
        };
        let uri = with_secret(&http.url).parse::<Uri>();
        let uri = uri.map_err(|_| invalid("http.url", "a URL, with the secret in it, too"))?;
        let headers = http.headers.iter().map(|(name, value)| {
            let name = name.parse::<HeaderName>().map_err(|_| invalid("http.headers", "names of headers"))?;
            let mut value = HeaderValue::from_str(&with_secret(value))
                .map_err(|_| invalid("http.headers", "values without control characters"))?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        let form = Form::Template { body: http.body.clone(), content: http.content, text: http.text };
        let web = Self {
            client: client(http.ca.as_deref())?,
            target: target.name.clone(),
            uri,
            headers: headers.collect::<Result<_, ChannelError>>()?,
            secret: secret.clone(),
            lang: target.lang,
            form,
        };
        let body = web.body(&Message::test(&target.name, 0));
        match http.content == Content::Json && serde_json::from_str::<serde_json::Value>(&body).is_err() {
            true => Err(invalid("http.body", "JSON, with the placeholders within its strings")),
            false => Ok(web),
        }
    }

    pub(super) async fn send(&self, message: &Message) -> Result<String, Refusal> {
        let failed = |detail: String| Refusal { detail: self.hidden(&detail), is_final: false };
        let request = self.request(message).map_err(|error| failed(error.to_string()))?;
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| failed(reasons(&error)))?;
            Ok((response.status(), self.hidden(&text_of(response).await)))
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        let (status, text) = answer
            .unwrap_or_else(|_| Err(failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))))?;
        let said = format!("{status} {text}");
        match status.is_success() {
            true => Ok(said),
            false => Err(Refusal { detail: said, is_final: FINAL.contains(&status) }),
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let body = self.body(message);
        let mut request = Request::post(self.uri.clone())
            .header(USER_AGENT, concat!("vonggac/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, self.content_type());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if matches!(self.form, Form::Webhook) {
            let timestamp = (now() / MICROS_PER_S).to_string();
            if let Some(secret) = &self.secret {
                let signature = signature(secret, &timestamp, &body);
                request = request.header("x-vonggac-signature", format!("sha256={signature}"));
            }
            request = request.header("x-vonggac-timestamp", timestamp);
            request = request.header("x-vonggac-message", &message.id);
        }
        request.body(Full::new(Bytes::from(body)))
    }

    fn content_type(&self) -> &'static str {
        match self.form {
            Form::Template { content: Content::Text, .. } => "text/plain; charset=utf-8",
            Form::Webhook | Form::Template { content: Content::Json, .. } => "application/json",
        }
    }

    fn body(&self, message: &Message) -> String {
        let Form::Template { body, content, text } = &self.form else {
            return message.json(&self.target);
        };
        let clock = Clock::new(false);
        let mut values = vec![
            ("title", in_form(&message.title(self.lang), *text)),
            ("text", in_form(&message.text(self.lang, &clock, TEXT_UNITS_MAX), *text)),
            ("priority", message.priority().to_owned()),
            ("count", message.count.to_string()),
            ("message", message.id.clone()),
        ];
        values.extend(self.secret.iter().map(|secret| ("secret", secret.text().to_owned())));
        if *content == Content::Json {
            values.iter_mut().for_each(|(_, value)| *value = in_json(value));
        }
        filled(body, &values)
    }

    fn hidden(&self, text: &str) -> String {
        self.secret.as_ref().map_or_else(|| text.to_owned(), |secret| secret.hidden_in(text))
    }
}

/// A connection a message: there are few, and a receiver that was moved is found again.
fn client(
    ca: Option<&std::path::Path>,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, ChannelError> {
    let connector = HttpsConnectorBuilder::new().with_tls_config(client_config(ca)?);
    let connector = connector.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

fn signature(secret: &Secret, timestamp: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.text().as_bytes()) else { return String::new() };
    [timestamp, ".", body].iter().for_each(|part| mac.update(part.as_bytes()));
    base16ct::lower::encode_string(&mac.finalize().into_bytes())
}

/// The answer's text, as far as it is UTF-8 and comes.
async fn text_of(response: Response<hyper::body::Incoming>) -> String {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).chars().take(4 * ANSWER_CHARS_MAX).collect()
}

/// An error with what is behind it; hyper's own words are "client error (Connect)".
pub(super) fn reasons(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The template with `{name}` replaced by the values, each only where the template says so.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let rest = from.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?;
            Some((value, rest))
        });
        match known {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out + rest
}

fn in_form(text: &str, form: TextForm) -> String {
    match form {
        TextForm::Plain => text.to_owned(),
        TextForm::Html => {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            escaped.replace('"', "&quot;").replace('\'', "&#39;")
        }
    }
}

/// For the inside of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
