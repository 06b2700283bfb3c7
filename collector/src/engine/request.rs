//! What a request asks for: the parameters of the address and of a form, and a few headers, sorted into what is ours, what are
//! values for placeholders, and what are settings for the engine.

use std::time::Duration;

use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, Method};

use super::encode::Coding;
use super::exception::{Exception, code};
use super::limits::{PARAMETERS_MAX, SESSION_TIMEOUT, SESSION_TIMEOUT_MAX};

/// Parameters that a ClickHouse server reads and that mean nothing here.
const IGNORED: [&str; 5] = ["user", "password", "quota_key", "stacktrace", "buffer_size"];

/// A request, parsed.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) query: Option<String>,
    pub(super) query_id: Option<String>,
    pub(super) database: Option<String>,
    pub(super) default_format: Option<String>,
    /// Values for `{name:Type}`.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) session: Option<SessionOrder>,
    pub(super) body: BodyOrder,
    /// `compress=1`.
    native_answer: bool,
    pub(super) http_compression: bool,
    /// The revision of the Native format that the client would like.
    pub(super) protocol: u64,
    /// The status must tell how the statement ended: nothing is sent before its end.
    pub(super) wait_end: bool,
    /// A GET changes nothing.
    pub(super) only_reads: bool,
}

/// How the body is compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyOrder {
    pub(super) coding: Coding,
    pub(super) native: bool,
}

impl Default for BodyOrder {
    fn default() -> Self {
        Self { coding: Coding::Identity, native: false }
    }
}

/// A session that the request belongs to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct SessionOrder {
    pub(super) id: String,
    pub(super) timeout: Duration,
    /// The session must be there already.
    pub(super) must_exist: bool,
    pub(super) close: bool,
}

impl Order {
    pub(super) fn parse(
        method: &Method,
        headers: &HeaderMap,
        pairs: Vec<(String, String)>,
    ) -> Result<Self, Exception> {
        if pairs.len() > PARAMETERS_MAX {
            return Err(Exception::bad(format_args!("more than {PARAMETERS_MAX} parameters")));
        }
        let mut order = Self { http_compression: true, only_reads: method == Method::GET, ..Self::default() };
        order.take_headers(headers)?;
        let mut session = SessionOrder { timeout: SESSION_TIMEOUT, ..SessionOrder::default() };
        for (name, value) in pairs {
            order.take_pair(name, value, &mut session)?;
        }
        order.session = (!session.id.is_empty()).then_some(session);
        Ok(order)
    }

    fn take_headers(&mut self, headers: &HeaderMap) -> Result<(), Exception> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.database = value("X-ClickHouse-Database");
        self.default_format = value("X-ClickHouse-Format");
        self.query_id = value("X-ClickHouse-Query-Id");
        if let Some(name) = value(CONTENT_ENCODING.as_str()) {
            self.body.coding = Coding::named(&name).ok_or_else(|| {
                Exception::new(
                    48,
                    "NOT_IMPLEMENTED",
                    format_args!("a body with Content-Encoding {name}: expected lz4, zstd, gzip or deflate"),
                )
            })?;
        }
        Ok(())
    }

    fn take_pair(
        &mut self,
        name: String,
        value: String,
        session: &mut SessionOrder,
    ) -> Result<(), Exception> {
        match name.as_str() {
            "query" => self.query = Some(value),
            "query_id" => self.query_id = Some(value),
            "database" => self.database = Some(value),
            "default_format" => self.default_format = Some(value),
            "compress" => self.native_answer = flag(&name, &value)?,
            "decompress" => self.body.native = flag(&name, &value)?,
            "wait_end_of_query" => self.wait_end = flag(&name, &value)?,
            "client_protocol_version" => self.protocol = number(&name, &value)?,
            "session_id" => session.id = value,
            "session_timeout" => {
                session.timeout = Duration::from_secs(number(&name, &value)?).min(SESSION_TIMEOUT_MAX);
            }
            "session_check" => session.must_exist = flag(&name, &value)?,
            "close_session" => session.close = flag(&name, &value)?,
            "role" => {
                return Err(Exception::new(
                    512,
                    "SET_NON_GRANTED_ROLE",
                    format_args!("there are no roles in the embedded store, so not {value} either"),
                ));
            }
            ignored if IGNORED.contains(&ignored) => {}
            _ => self.take_setting(name, value)?,
        }
        Ok(())
    }

    fn take_setting(&mut self, name: String, value: String) -> Result<(), Exception> {
        if let Some(parameter) = name.strip_prefix("param_") {
            self.parameters.push((parameter.to_owned(), value));
            return Ok(());
        }
        // The name goes into a SET statement as it is: only what can be a name may.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Exception::new(
                code::UNKNOWN_SETTING,
                "UNKNOWN_SETTING",
                format_args!("Unknown setting '{}'", name.escape_debug()),
            ));
        }
        if name == "enable_http_compression" {
            self.http_compression = flag(&name, &value)?;
        }
        self.settings.push((name, value));
        Ok(())
    }

    /// How the answer is compressed.
    pub(super) fn answer_coding(&self, headers: &HeaderMap) -> Coding {
        match (self.native_answer, self.http_compression) {
            (true, _) => Coding::NativeBlocks,
            (false, true) => Coding::accepted(headers),
            (false, false) => Coding::Identity,
        }
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Exception> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" | "" => Ok(false),
        other => Err(Exception::bad(format_args!("{name}: expected 0 or 1, found {}", other.escape_debug()))),
    }
}

fn number(name: &str, value: &str) -> Result<u64, Exception> {
    value.parse().map_err(|_| {
        Exception::bad(format_args!("{name}: expected a whole number, found {}", value.escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Order, Exception> {
        let pairs = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Order::parse(&Method::POST, &HeaderMap::new(), pairs)
    }

    #[test]
    fn sorts_parameters() {
        let order = parse(&[
            ("query", "SELECT {a:UInt8}"),
            ("param_a", "1"),
            ("max_threads", "2"),
            ("decompress", "1"),
            ("session_id", "s"),
            ("session_timeout", "99999"),
            ("user", "x"),
        ])
        .unwrap();
        assert_eq!(order.query.as_deref(), Some("SELECT {a:UInt8}"));
        assert_eq!(order.parameters, [("a".to_owned(), "1".to_owned())]);
        assert_eq!(order.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert!(order.body.native && !order.only_reads);
        assert_eq!(order.session.map(|session| session.timeout), Some(SESSION_TIMEOUT_MAX));
    }

    #[test]
    fn rejects_what_cannot_be() {
        for (pair, code) in [
            (("a=1, readonly", "0"), code::UNKNOWN_SETTING),
            (("", "0"), code::UNKNOWN_SETTING),
            (("role", "admin"), 512),
            (("compress", "maybe"), code::BAD_ARGUMENTS),
            (("session_timeout", "-1"), code::BAD_ARGUMENTS),
        ] {
            assert_eq!(parse(&[pair]).unwrap_err().code, code, "{pair:?}");
        }
    }

    #[test]
    fn rejects_more_parameters_than_the_limit() {
        let pair = ("max_threads", "1");
        assert!(parse(&vec![pair; PARAMETERS_MAX]).is_ok());
        assert!(parse(&vec![pair; PARAMETERS_MAX + 1]).is_err());
    }
}
