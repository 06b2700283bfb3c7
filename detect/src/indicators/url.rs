//! URLs: `HOST[:PORT]/PATH[?QUERY]`, the host in lower case, the rest as it is.
//!
//! The scheme of the web is left out, because servers and meters do not write it, and with it its default ports. Any other
//! scheme stays. What stands percent-encoded stays so: who encodes otherwise asks for another resource, as far as a log can tell.

use super::{IndicatorError, address, domain};

const DEFAULT_PORTS: [&str; 2] = [":80", ":443"];
const WEB: [&str; 2] = ["http", "https"];

pub(super) fn key(value: &str, out: &mut Vec<u8>) -> Result<(), IndicatorError> {
    let malformed = IndicatorError::Malformed { expected: "a URL such as http://example.org/path" };
    let (scheme, rest) = value.split_once("://").unwrap_or(("", value));
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at_checked(authority_bytes(rest)).unwrap_or((rest, ""));
    if [scheme, path].iter().any(|part| part.bytes().any(|byte| byte.is_ascii_control() || byte == b' ')) {
        return Err(malformed);
    }
    if !scheme.is_empty() && !WEB.iter().any(|web| web.eq_ignore_ascii_case(scheme)) {
        append_lower(scheme, out);
        out.extend_from_slice(b"://");
    }
    append_host(host_of(authority), out).ok_or(malformed)?;
    if !path.starts_with('/') {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
    Ok(())
}

/// The host that a URL with a scheme asks, and its port.
pub(super) fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.get(..authority_bytes(rest)).map(host_of)
}

fn append_host(host: &str, out: &mut Vec<u8>) -> Option<()> {
    if address::address(host).is_some() {
        append_lower(host, out);
        return Some(());
    }
    let name = address::without_port(host);
    domain::append(name, out)?;
    out.extend_from_slice(host.get(name.len()..)?.as_bytes());
    Some(())
}

fn authority_bytes(rest: &str) -> usize {
    rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

/// Without the user and the port that goes without saying.
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    DEFAULT_PORTS.iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host)
}

fn append_lower(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
}
