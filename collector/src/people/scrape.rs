//! Reads another process' `/metrics`: one small HTTP request, and Prometheus' text format.
//!
//! Limits: the answer takes at most [`PATIENCE`] and [`ANSWER_BYTES_MAX`]; what is no sample is passed over.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A process on this machine answers at once, or is not well.
const PATIENCE: Duration = Duration::from_secs(5);
/// A page of metrics has some 100 kB; a label per agent and source makes it longer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One line of a page of metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// As they stand, between the braces.
    pub(crate) labels: String,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<String> {
        let mut rest = self.labels.as_str();
        loop {
            let (label, behind) = rest.split_once("=\"")?;
            let (value, behind) = quoted(behind)?;
            if label.trim_start_matches(',') == name {
                return Some(value);
            }
            rest = behind;
        }
    }
}

/// A label's value, up to the quote that closes it, and what stands behind. A backslash takes away the meaning of what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), text.chars());
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// The page's samples.
pub(crate) fn metrics(listen: SocketAddr) -> Result<Vec<Sample>> {
    let body = request(listen, "/metrics")?;
    Ok(body.lines().filter_map(sample).collect())
}

/// The body of the answer to a GET; any status but 200 is an error.
pub(crate) fn request(listen: SocketAddr, path: &str) -> Result<String> {
    let address = SocketAddr::new(loopback(listen.ip()), listen.port());
    let answer =
        exchange(address, path).with_context(|| format!("http://{address}{path} gives no answer"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "http://{address}{path} answers {status}: {}",
        body.trim()
    );
    Ok(body.to_owned())
}

/// HTTP/1.0: the end of the answer is the end of the connection, and nothing is chunked.
fn exchange(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where a daemon that listens on every address is reached from here.
pub(crate) fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// `name{labels} value`, or `name value`.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some(Sample { name: name.to_owned(), labels: labels.to_owned(), value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples_and_passes_over_the_rest() {
        let found = |line| sample(line).map(|sample| (sample.name, sample.labels, sample.value));
        assert_eq!(found("a_total 3"), Some(("a_total".into(), String::new(), 3.0)));
        assert_eq!(found("a{x=\"y z\"} 1.5e3"), Some(("a".into(), "x=\"y z\"".into(), 1500.0)));
        for line in ["# HELP a b", "", "a", "a{x=\"y\" 3", "a b"] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn reads_labels() {
        let sample = sample(r#"a{x="1,y=\"2\"",host="web01",z=""} 1"#).unwrap();
        let found = ["x", "host", "z", "y"].map(|name| sample.label(name));
        assert_eq!(found, [Some("1,y=\"2\"".into()), Some("web01".into()), Some(String::new()), None]);
    }

    #[test]
    fn says_where_nobody_answers() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = format!("{:#}", metrics(free).unwrap_err());
        assert!(error.contains(&format!("http://{free}/metrics")), "{error}");
    }

    #[test]
    fn a_daemon_on_every_address_is_asked_on_the_loopback() {
        assert_eq!(loopback("::".parse().unwrap()).to_string(), "::1");
        assert_eq!(loopback("0.0.0.0".parse().unwrap()).to_string(), "127.0.0.1");
        assert_eq!(loopback("10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
