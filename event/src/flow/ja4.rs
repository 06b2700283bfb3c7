//! Fingerprints of TLS clients: JA4 (FoxIO's technical details of JA4, the part under the BSD licence; none of JA4+) and
//! JA3 (an MD5 over the order of what is offered, which browsers shuffle now; threat lists still have it).
//!
//! GREASE (RFC 8701) is left out of both. What it never does: read the network; it is given a hello that was read.

use std::fmt::{self, Display, Write as _};

use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::tls::{ClientHello, EXTENSION_ALPN, extensions};

/// Extensions that JA4 counts but does not hash: which name and which protocol varies with the site, not with the client.
const EXTENSION_SERVER_NAME: u16 = 0;

/// Two digits show a count.
const COUNT_MAX: usize = 99;

/// What carried the hello.
#[derive(Clone, Copy)]
pub(super) enum Transport {
    Tcp,
    Quic,
}

/// JA4: `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub(super) fn ja4(hello: &ClientHello<'_>, transport: Transport) -> String {
    let mut ciphers: Vec<u16> = numbers(hello.ciphers).collect();
    ciphers.sort_unstable();
    let mut kinds: Vec<u16> = extension_kinds(hello).collect();
    let mut text = head(hello, transport, ciphers.len(), kinds.len());
    kinds.retain(|kind| !matches!(*kind, EXTENSION_SERVER_NAME | EXTENSION_ALPN));
    kinds.sort_unstable();
    let mut offered = hex_list(kinds.iter().copied());
    if !offered.is_empty() && !hello.signature_algorithms.is_empty() {
        offered.push('_');
        offered.push_str(&hex_list(numbers(hello.signature_algorithms)));
    }
    for hashed in [hex_list(ciphers.iter().copied()), offered] {
        text.push('_');
        push_hash(&hashed, &mut text);
    }
    text
}

fn head(hello: &ClientHello<'_>, transport: Transport, ciphers: usize, kinds: usize) -> String {
    let transport = match transport {
        Transport::Tcp => 't',
        Transport::Quic => 'q',
    };
    let version = match numbers(hello.versions).max().unwrap_or(hello.version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let named = if hello.server_name.is_some() { 'd' } else { 'i' };
    let [first, last] = alpn_ends(hello.alpn().next().unwrap_or_default());
    let (ciphers, kinds) = (ciphers.min(COUNT_MAX), kinds.min(COUNT_MAX));
    format!("{transport}{version}{named}{ciphers:02}{kinds:02}{first}{last}")
}

/// First and last character of the first protocol; of its hexadecimal form when one of the two is not a letter or digit.
fn alpn_ends(protocol: &[u8]) -> [char; 2] {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else { return ['0', '0'] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)];
    }
    [first >> 4, last & 0xf].map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0'))
}

/// The first twelve digits of the hash; zeros for nothing.
fn push_hash(hashed: &str, text: &mut String) {
    if hashed.is_empty() {
        text.push_str("000000000000");
        return;
    }
    for byte in Sha256::digest(hashed).iter().take(6) {
        let _taken = write!(text, "{byte:02x}");
    }
}

fn hex_list(values: impl Iterator<Item = u16>) -> String {
    let mut text = String::new();
    for value in values {
        if !text.is_empty() {
            text.push(',');
        }
        let _taken = write!(text, "{value:04x}");
    }
    text
}

/// A JA3: 32 hexadecimal digits.
pub(super) struct Ja3([u8; 16]);

/// JA3: version, ciphers, extensions, groups and point formats in decimal, in the order of the hello.
pub(super) fn ja3(hello: &ClientHello<'_>) -> Ja3 {
    let mut text = hello.version.to_string();
    push_list(numbers(hello.ciphers), &mut text);
    push_list(extension_kinds(hello), &mut text);
    push_list(numbers(hello.groups), &mut text);
    push_list(hello.point_formats.iter().map(|format| u16::from(*format)), &mut text);
    Ja3(Md5::digest(text).into())
}

fn push_list(values: impl Iterator<Item = u16>, text: &mut String) {
    let mut separator = ',';
    for value in values {
        let _taken = write!(text, "{separator}{value}");
        separator = '-';
    }
    if separator == ',' {
        text.push(',');
    }
}

impl Display for Ja3 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

fn extension_kinds(hello: &ClientHello<'_>) -> impl Iterator<Item = u16> {
    extensions(hello.extensions).map(|(kind, _)| kind).filter(not_grease)
}

/// Numbers of two bytes.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).filter(not_grease)
}

/// 0x0a0a, 0x1a1a, ... 0xfafa are there to be ignored.
fn not_grease(number: &u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high != low || high & 0xf != 0xa
}
