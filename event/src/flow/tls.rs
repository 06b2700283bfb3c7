//! The hellos of TLS (RFC 8446, RFC 5246): one line for each connection, when both are known, else when the flow ends.
//!
//! The side is told by what it says, not by who began: a capture may begin in the middle. Up to TLS 1.2 the server's first
//! certificate is in the clear and is read too; it is shown as it says of itself, its signature is not verified.
//!
//! Limits: [`HELLO_BYTES_MAX`] of each side, over as many records and segments as it takes; a hello that is longer, or that
//! a gap cuts, is given up. A certificate that does not come in full is left out. What it never does: decrypt, or keep a byte once its side has said what matters.

use std::borrow::Cow;

use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use super::cursor::Cursor;
use super::ja4::{ja3, ja4};
use super::line::Line;
use super::talk::{Context, Names, Sides, Speaker};
use crate::Micros;

/// Most bytes of a side that are looked at. A ClientHello with post-quantum keys has 2 KiB, a chain of certificates 2 to 6.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Most protocols shown of those that a client offers.
const ALPN_MAX: usize = 16;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_GROUPS: u16 = 10;
const EXTENSION_POINT_FORMATS: u16 = 11;
const EXTENSION_SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

const TLS_1_3: u16 = 0x0304;

/// The last draft of TLS 1.3 whose ServerHello was shorter: without session and compression.
const DRAFT_OF_SHORT_HELLO_MAX: u8 = 21;

/// A connection whose hellos are not all known.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// When the first of them came.
    ts: Micros,
    sides: Sides<Side>,
    /// Fields of the line that are known.
    fields: Vec<u8>,
}

#[derive(Debug, Default)]
struct Side {
    kept: Vec<u8>,
    over: bool,
}

/// What the beginning of a side says.
enum Hello<'a> {
    /// Not all is there yet.
    More,
    /// No hello will come.
    Nothing,
    Client(ClientHello<'a>),
    Server(ServerHello<'a>, Option<&'a [u8]>),
}

impl Tls {
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        names: &mut Names,
    ) {
        let side = self.sides.of(speaker);
        if side.over {
            return;
        }
        if gap && !side.kept.is_empty() {
            return self.close(speaker, context, names);
        }
        let mut kept = std::mem::take(&mut side.kept);
        let room = HELLO_BYTES_MAX.saturating_sub(kept.len());
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let said = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        if self.said(said, said.len() >= HELLO_BYTES_MAX, context, names) {
            self.sides.of(speaker).over = true;
        } else if kept.is_empty() {
            self.sides.of(speaker).kept = bytes.to_vec();
        } else {
            self.sides.of(speaker).kept = kept;
        }
    }

    /// No more will come of a side, or none that can be read: a hello that is there without its certificate still counts.
    fn close(&mut self, speaker: Speaker, context: &Context<'_>, names: &mut Names) {
        let side = std::mem::replace(self.sides.of(speaker), Side { kept: Vec::new(), over: true });
        if !side.kept.is_empty() {
            self.said(&side.kept, true, context, names);
        }
    }

    /// Whether the side is over; `full` when no more bytes of it will be kept.
    fn said(&mut self, said: &[u8], full: bool, context: &Context<'_>, names: &mut Names) -> bool {
        let handshake = Handshake::gather(said);
        match handshake.hello(full) {
            Hello::More => return false,
            Hello::Nothing => {}
            Hello::Client(hello) => {
                self.begin(context);
                write_client(&hello, names, &mut Line::part(&mut self.fields));
            }
            Hello::Server(hello, certificate) => {
                self.begin(context);
                write_server(&hello, certificate, &mut Line::part(&mut self.fields));
            }
        }
        true
    }

    fn begin(&mut self, context: &Context<'_>) {
        if self.fields.is_empty() {
            self.ts = context.ts;
        }
    }

    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        !self.sides.get(speaker).over
    }

    /// Writes what is known.
    pub(super) fn end(&mut self, context: &Context<'_>, names: &mut Names, out: &mut Vec<u8>) {
        self.close(Speaker::Src, context, names);
        self.close(Speaker::Dst, context, names);
        write(&self.fields, self.ts, context, out);
        *self = Self::default();
    }
}

/// Writes the line of a connection of which these fields are known, if any are.
pub(super) fn write(fields: &[u8], ts: Micros, context: &Context<'_>, out: &mut Vec<u8>) {
    if !fields.is_empty() {
        let mut line = context.line(out, "tls", ts);
        line.fields(fields);
        line.end();
    }
}

/// Handshake messages at the beginning of a side, out of their records.
struct Handshake<'a> {
    bytes: Cow<'a, [u8]>,
    /// Whether something else follows them, so that no more will come.
    closed: bool,
}

impl<'a> Handshake<'a> {
    const RECORD: u8 = 22;

    fn gather(said: &'a [u8]) -> Self {
        let mut cursor = Cursor::new(said);
        let mut bytes = Cow::Borrowed(&[][..]);
        while let Some([kind, major, _, high, low]) = cursor.array() {
            if (kind, major) != (Self::RECORD, 3) {
                return Self { bytes, closed: true };
            }
            let length = usize::from(u16::from_be_bytes([high, low])).min(cursor.rest().len());
            let fragment = cursor.take(length).unwrap_or_default();
            if bytes.is_empty() {
                bytes = Cow::Borrowed(fragment);
            } else {
                bytes.to_mut().extend_from_slice(fragment);
            }
        }
        Self { bytes, closed: false }
    }

    /// Reads the hello; `full` when no more bytes will be kept.
    fn hello(&self, full: bool) -> Hello<'_> {
        let ended = full || self.closed;
        let mut cursor = Cursor::new(&self.bytes);
        let (Some(kind), Some(length)) = (cursor.u8(), cursor.u24()) else {
            return if ended { Hello::Nothing } else { Hello::More };
        };
        if !matches!(kind, 1 | 2) {
            return Hello::Nothing;
        }
        let Some(body) = cursor.take(length) else {
            return if ended || length > HELLO_BYTES_MAX { Hello::Nothing } else { Hello::More };
        };
        if kind == 1 {
            return ClientHello::read(body).map_or(Hello::Nothing, Hello::Client);
        }
        let Some(hello) = ServerHello::read(body) else { return Hello::Nothing };
        if hello.version == TLS_1_3 || draft(hello.version).is_some() {
            return Hello::Server(hello, None);
        }
        match first_certificate(&mut cursor) {
            Certificate::More if !ended => Hello::More,
            Certificate::More | Certificate::None => Hello::Server(hello, None),
            Certificate::First(certificate) => Hello::Server(hello, Some(certificate)),
        }
    }
}

enum Certificate<'a> {
    More,
    None,
    First(&'a [u8]),
}

/// The first certificate of the message that follows the ServerHello, as soon as it is there in full.
fn first_certificate<'a>(cursor: &mut Cursor<'a>) -> Certificate<'a> {
    const CERTIFICATE: u8 = 11;
    match cursor.u8() {
        None => return Certificate::More,
        Some(CERTIFICATE) => {}
        Some(_) => return Certificate::None,
    }
    let mut first = || {
        let _message = cursor.u24()?;
        let _list = cursor.u24()?;
        let length = cursor.u24()?;
        cursor.take(length)
    };
    first().map_or(Certificate::More, Certificate::First)
}

/// What a client offers. Lists are as on the wire.
pub(super) struct ClientHello<'a> {
    pub(super) version: u16,
    pub(super) ciphers: &'a [u8],
    pub(super) extensions: &'a [u8],
    pub(super) server_name: Option<&'a [u8]>,
    alpn: &'a [u8],
    pub(super) groups: &'a [u8],
    pub(super) point_formats: &'a [u8],
    pub(super) signature_algorithms: &'a [u8],
    pub(super) versions: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads the body of the message (RFC 8446, section 4.1.2).
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16()?;
        let _random = cursor.take(32)?;
        let _session = cursor.vector8()?;
        let ciphers = cursor.vector16()?;
        let _compressions = cursor.vector8()?;
        let mut hello = Self {
            version,
            ciphers,
            extensions: cursor.vector16().unwrap_or_default(),
            server_name: None,
            alpn: &[],
            groups: &[],
            point_formats: &[],
            signature_algorithms: &[],
            versions: &[],
        };
        for (kind, data) in extensions(hello.extensions) {
            hello.extension(kind, Cursor::new(data));
        }
        Some(hello)
    }

    fn extension(&mut self, kind: u16, mut data: Cursor<'a>) {
        match kind {
            EXTENSION_SERVER_NAME => self.server_name = Some(host_name(data).unwrap_or_default()),
            EXTENSION_GROUPS => self.groups = data.vector16().unwrap_or_default(),
            EXTENSION_POINT_FORMATS => self.point_formats = data.vector8().unwrap_or_default(),
            EXTENSION_SIGNATURE_ALGORITHMS => {
                self.signature_algorithms = data.vector16().unwrap_or_default();
            }
            EXTENSION_ALPN => self.alpn = data.vector16().unwrap_or_default(),
            EXTENSION_SUPPORTED_VERSIONS => self.versions = data.vector8().unwrap_or_default(),
            _ => {}
        }
    }

    /// Protocols that the client offers.
    pub(super) fn alpn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut cursor = Cursor::new(self.alpn);
        std::iter::from_fn(move || cursor.vector8())
    }
}

/// Extensions with their data, up to the first that is broken.
pub(super) fn extensions(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut cursor = Cursor::new(bytes);
    std::iter::from_fn(move || Some((cursor.u16()?, cursor.vector16()?)))
}

/// The first name of the extension (RFC 6066, section 3); no other kind than a host's was ever assigned.
fn host_name(mut data: Cursor<'_>) -> Option<&[u8]> {
    let mut list = Cursor::new(data.vector16()?);
    let _kind = list.u8()?;
    list.vector16()
}

/// What a server chose.
struct ServerHello<'a> {
    version: u16,
    cipher: u16,
    alpn: &'a [u8],
}

impl<'a> ServerHello<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16()?;
        let _random = cursor.take(32)?;
        let short = draft(version).is_some_and(|draft| draft <= DRAFT_OF_SHORT_HELLO_MAX);
        if !short {
            let _session = cursor.vector8()?;
        }
        let cipher = cursor.u16()?;
        if !short {
            let _compression = cursor.u8()?;
        }
        let mut hello = Self { version, cipher, alpn: &[] };
        for (kind, data) in extensions(cursor.vector16().unwrap_or_default()) {
            let mut data = Cursor::new(data);
            match kind {
                EXTENSION_SUPPORTED_VERSIONS => hello.version = data.u16().unwrap_or(version),
                EXTENSION_ALPN => {
                    let mut list = Cursor::new(data.vector16().unwrap_or_default());
                    hello.alpn = list.vector8().unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(hello)
    }
}

/// The number of a draft of TLS 1.3, as servers spoke before RFC 8446.
fn draft(version: u16) -> Option<u8> {
    let [high, number] = version.to_be_bytes();
    (high == 0x7f).then_some(number)
}

/// Writes what the client offers, and keeps what the flow is to know of it.
pub(super) fn write_client(hello: &ClientHello<'_>, names: &mut Names, line: &mut Line<'_>) {
    let server_name = String::from_utf8_lossy(hello.server_name.unwrap_or_default()).to_ascii_lowercase();
    line.text("server_name", &server_name);
    let alpn: Vec<_> = hello.alpn().take(ALPN_MAX).map(String::from_utf8_lossy).collect();
    line.texts("alpn", alpn.iter().map(AsRef::as_ref));
    line.word("ja3", ja3(hello));
    let ja4 = ja4(hello);
    line.text("ja4", &ja4);
    names.server_name = server_name.into();
    names.ja4 = ja4.into();
}

fn write_server(hello: &ServerHello<'_>, certificate: Option<&[u8]>, line: &mut Line<'_>) {
    match hello.version {
        TLS_1_3 => line.word("version", "1.3"),
        0x0303 => line.word("version", "1.2"),
        0x0302 => line.word("version", "1.1"),
        0x0301 => line.word("version", "1.0"),
        0x0300 => line.word("version", "ssl3"),
        other => match draft(other) {
            Some(draft) => line.word("version", format_args!("1.3-draft-{draft}")),
            None => line.word("version", format_args!("0x{other:04x}")),
        },
    }
    line.word("cipher", format_args!("0x{:04x}", hello.cipher));
    line.text("alpn_chosen", &String::from_utf8_lossy(hello.alpn));
    if let Some((_, certificate)) = certificate.and_then(|der| X509Certificate::from_der(der).ok()) {
        line.text("subject_cn", &common_name(certificate.subject()));
        line.text("issuer_cn", &common_name(certificate.issuer()));
        line.plain("not_before", certificate.validity().not_before.timestamp());
        line.plain("not_after", certificate.validity().not_after.timestamp());
        let self_signed = certificate.subject().as_raw() == certificate.issuer().as_raw();
        line.plain("self_signed", self_signed);
    }
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Cow<'a, str> {
    let value = name.iter_common_name().next();
    value.map(|value| String::from_utf8_lossy(value.as_slice())).unwrap_or_default()
}
