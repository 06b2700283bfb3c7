//! The kinds of indicators, and the one form in which the values of each are compared.

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

use super::{address, domain, url};
use crate::limits::INDICATOR_BYTES_MAX;

/// Bytes of a fingerprint JA4: three parts of 10, 12 and 12 characters, joined by `_`.
const JA4_BYTES: usize = 36;

/// What kind of value an indicator is, and what that matches.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum IndicatorKind {
    /// An IPv4 or IPv6 address or network: the address, or any address in the network.
    Address,
    /// A host's name: itself and the names below it, without case. Names that are not ASCII are compared in the form in which
    /// DNS carries them (RFC 3492).
    Domain,
    /// A URL: the host without case and the path with its query byte for byte. Scheme, default port, user and fragment are left
    /// out, because few logs have them.
    Url,
    Md5,
    Sha1,
    Sha256,
    /// Fingerprints of TLS clients.
    Ja3,
    Ja4,
}

/// Why a text is not an indicator.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum IndicatorError {
    #[error("expected {expected}")]
    Malformed { expected: &'static str },
    #[error("{bytes} bytes, at most {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("an address that belongs to whoever uses it: private, loopback, multicast or reserved")]
    Local,
    #[error("a network of /{prefix}, expected at least /{prefix_min}: it would match too much of the world")]
    TooWide { prefix: u8, prefix_min: u8 },
    #[error("more than {max} indicators")]
    TooMany { max: usize },
    #[error("more than {max} bytes of values")]
    TooManyBytes { max: usize },
}

impl IndicatorKind {
    pub const ALL: [Self; 8] =
        [Self::Address, Self::Domain, Self::Url, Self::Md5, Self::Sha1, Self::Sha256, Self::Ja3, Self::Ja4];

    /// The name in the configuration, in metrics and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Ja3 => "ja3",
            Self::Ja4 => "ja4",
        }
    }

    /// The kind of one of our names, and of those that lists and platforms use for it; without case.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        Some(match name.as_str() {
            "address" | "ip" | "ipv4" | "ipv6" | "ip-src" | "ip-dst" | "ipv4-addr" | "ipv6-addr" | "cidr"
            | "network" | "netblock" | "ip-address" | "ip:port" | "ipv4:port" | "ipv6:port" => Self::Address,
            "domain" | "hostname" | "host" | "domain-name" | "fqdn" | "dns" => Self::Domain,
            "url" | "uri" | "link" => Self::Url,
            "md5" | "md5-hash" | "filehash-md5" | "hash-md5" => Self::Md5,
            "sha1" | "sha-1" | "sha1-hash" | "filehash-sha1" | "hash-sha1" => Self::Sha1,
            "sha256" | "sha-256" | "sha256-hash" | "filehash-sha256" | "hash-sha256" => Self::Sha256,
            "ja3" | "ja3-fingerprint-md5" | "ja3-md5" | "ja3-hash" => Self::Ja3,
            "ja4" | "ja4-plus" | "ja4-fingerprint" => Self::Ja4,
            _ => return None,
        })
    }

    /// The kind that a value looks like: a hash by its length, a fingerprint by its shape, a URL by its slash. The hash of a
    /// fingerprint JA3 looks like any MD5, and is taken for one.
    pub fn guess(value: &str) -> Option<Self> {
        let (value, mut key) = (refanged(value), Vec::new());
        let guesses =
            [Self::Address, Self::Md5, Self::Sha1, Self::Sha256, Self::Ja4, Self::Domain, Self::Url];
        guesses.into_iter().find(|kind| self::key(*kind, &value, &mut key).is_ok())
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Address => 0,
            Self::Domain => 1,
            Self::Url => 2,
            Self::Md5 => 3,
            Self::Sha1 => 4,
            Self::Sha256 => 5,
            Self::Ja3 => 6,
            Self::Ja4 => 7,
        }
    }
}

/// Puts the form in which the value is compared in place of what `out` holds.
pub(super) fn key(kind: IndicatorKind, value: &str, out: &mut Vec<u8>) -> Result<(), IndicatorError> {
    out.clear();
    let value = value.trim();
    if value.len() > INDICATOR_BYTES_MAX {
        return Err(IndicatorError::TooLong { bytes: value.len(), max: INDICATOR_BYTES_MAX });
    }
    match kind {
        IndicatorKind::Address => address::key(value, out),
        IndicatorKind::Domain => domain::key(value, out),
        IndicatorKind::Url => url::key(value, out),
        IndicatorKind::Md5 => hexadecimal(value, 16, "an MD5: 32 hexadecimal digits", out),
        IndicatorKind::Ja3 => hexadecimal(value, 16, "a JA3: 32 hexadecimal digits", out),
        IndicatorKind::Sha1 => hexadecimal(value, 20, "a SHA-1: 40 hexadecimal digits", out),
        IndicatorKind::Sha256 => hexadecimal(value, 32, "a SHA-256: 64 hexadecimal digits", out),
        IndicatorKind::Ja4 => ja4(value, out),
    }
}

/// A key as people read it.
pub(super) fn shown(kind: IndicatorKind, key: &[u8]) -> String {
    match kind {
        IndicatorKind::Address => address::shown(key),
        IndicatorKind::Domain | IndicatorKind::Url | IndicatorKind::Ja4 => {
            String::from_utf8_lossy(key).into_owned()
        }
        _ => key.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        }),
    }
}

/// Feeds write what must not be clicked on as `hxxp://example[.]org`. Events do not, so this is undone in feeds alone.
pub(super) fn refanged(value: &str) -> Cow<'_, str> {
    const MARKS: [(&str, &str); 6] =
        [("[.]", "."), ("(.)", "."), ("[dot]", "."), ("[:]", ":"), ("[://]", "://"), ("[/]", "/")];
    let mut value = Cow::Borrowed(value.trim());
    for (mark, meant) in MARKS {
        if value.contains(mark) {
            value = value.replace(mark, meant).into();
        }
    }
    match value.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("hxxp") => {
            format!("http{}", value.get(4..).unwrap_or_default()).into()
        }
        _ => value,
    }
}

fn hexadecimal(
    value: &str,
    bytes: usize,
    expected: &'static str,
    out: &mut Vec<u8>,
) -> Result<(), IndicatorError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for pair in value.as_bytes().chunks(2) {
        let &[high, low] = pair else { return Err(IndicatorError::Malformed { expected }) };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(IndicatorError::Malformed { expected });
        };
        out.push(high << 4 | low);
    }
    if out.len() == bytes { Ok(()) } else { Err(IndicatorError::Malformed { expected }) }
}

fn ja4(value: &str, out: &mut Vec<u8>) -> Result<(), IndicatorError> {
    let mut parts = value.split('_').map(str::len);
    let is_shaped = value.len() == JA4_BYTES
        && [Some(10), Some(12), Some(12), None].into_iter().all(|len| parts.next() == len)
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_shaped {
        return Err(IndicatorError::Malformed {
            expected: "a JA4 such as t13d1516h2_8daaf6152771_e5627efa2ab1",
        });
    }
    out.extend(value.bytes().map(|byte| byte.to_ascii_lowercase()));
    Ok(())
}
