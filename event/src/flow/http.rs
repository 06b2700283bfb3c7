//! HTTP/1 (RFC 9112): one line for each request with its response, or without one when the flow ends.
//!
//! Names are those of Sigma's web server logs (`cs-method`, `cs-uri-stem`, `sc-status` ...), so that rules for them hold. Of
//! `Authorization` only the scheme is written. Bodies are passed over by their length or chunk by chunk; after a gap, or
//! after what is not HTTP, the next head is looked for at the beginning of later segments.
//!
//! Limits: [`HEAD_BYTES_MAX`] of a head: of a longer one what is in them is written; [`PENDING_MAX`] requests wait for their
//! response; after [`SEARCHES_MAX`] segments without a head a side is given up. A gap may hide a response, and the next one
//! is then taken for it. What it never does: keep a body, decode a target, or refuse what a lenient server would take.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::line::Line;
use super::talk::{Context, Names, Sides, Speaker};
use crate::Micros;

/// Longest head: servers refuse more than 8 to 16 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most requests that wait for their response: few clients pipeline at all.
const PENDING_MAX: usize = 8;

/// ... and most bytes of what is to be written of them.
const PENDING_BYTES_MAX: usize = 32 * 1024;

/// Segments in a row without a head, after which none is looked for.
const SEARCHES_MAX: u16 = 1000;

/// Longest line before a chunk or in a trailer.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Http {
    /// The side that sends requests.
    client: Speaker,
    sides: Sides<Side>,
    pending: VecDeque<Request>,
    /// Responses to come whose request was written without waiting longer.
    given_up: u32,
    /// Whether the connection turned into a tunnel (CONNECT).
    tunnel: bool,
}

#[derive(Debug, Default)]
struct Side {
    place: Place,
    searches: u16,
    /// The beginning of a head, or of a line between chunks.
    kept: Vec<u8>,
}

/// Where in its side's stream the next byte stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    /// At the line before a chunk.
    ChunkSize,
    /// So many bytes of a chunk are left, its line end included.
    Chunk(u64),
    Trailer,
    /// Anywhere.
    Search,
    /// Nothing of the side matters any more.
    Over,
}

/// A request that waits for its response.
#[derive(Debug)]
struct Request {
    ts: Micros,
    fields: Vec<u8>,
    method: Method,
}

/// Methods that decide what follows the response's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Method {
    Head,
    Connect,
    Other,
}

/// What came of some bytes at their place.
enum Step {
    /// So many are done with.
    Done(usize, Place),
    /// More are needed.
    More,
}

impl Http {
    /// `client` is the side that sends requests.
    pub(super) fn new(client: Speaker) -> Self {
        Self { client, sides: Sides::default(), pending: VecDeque::new(), given_up: 0, tunnel: false }
    }

    /// Takes a segment. When the connection becomes a tunnel: how many of its last bytes are in the tunnel already.
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut side = std::mem::take(self.sides.of(speaker));
        let client = self.client == speaker;
        if gap {
            self.lose(&mut side, client, context, names, out);
        }
        side.search(bytes, client);
        let mut kept = std::mem::take(&mut side.kept);
        let mut rest = bytes;
        if !kept.is_empty() {
            kept.extend_from_slice(bytes);
            rest = &kept;
        }
        while !rest.is_empty() && !self.tunnel {
            let step = match side.place {
                Place::Head => self.head(rest, client, context, names, out),
                place => pass(rest, place),
            };
            let Step::Done(done, place) = step else { break };
            side.place = place;
            rest = rest.get(done..).unwrap_or_default();
        }
        let left = rest.len();
        side.kept = rest.to_vec();
        self.settle(speaker, side);
        self.tunnel.then_some(left)
    }

    /// Puts a side back. An upgrade of the protocol, found meanwhile, ends both.
    fn settle(&mut self, speaker: Speaker, side: Side) {
        let over = self.sides.get(speaker).place == Place::Over;
        *self.sides.of(speaker) = if over { Side { place: Place::Over, ..Side::default() } } else { side };
    }

    /// Bytes were lost: what is kept of a head is all that will be known of it.
    fn lose(
        &mut self,
        side: &mut Side,
        client: bool,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) {
        let kept = std::mem::take(&mut side.kept);
        if side.place == Place::Head {
            let _place = self.read(&kept, client, context, names, out);
        }
        if side.place != Place::Over {
            side.place = Place::Search;
        }
    }

    fn head(
        &mut self,
        rest: &[u8],
        client: bool,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) -> Step {
        if let [b'\r' | b'\n', ..] = rest {
            // Some clients put an empty line between requests.
            return Step::Done(1, Place::Head);
        }
        if !may_begin(rest, client) {
            return Step::Done(rest.len(), Place::Search);
        }
        let window = rest.get(..HEAD_BYTES_MAX).unwrap_or(rest);
        let Some(end) = head_end(window) else {
            if window.len() < HEAD_BYTES_MAX {
                return Step::More;
            }
            let _place = self.read(window, client, context, names, out);
            return Step::Done(rest.len(), Place::Search);
        };
        let head = window.get(..end).unwrap_or_default();
        Step::Done(end, self.read(head, client, context, names, out).unwrap_or(Place::Search))
    }

    /// Reads a head, or its beginning; nothing when it is none.
    fn read(
        &mut self,
        head: &[u8],
        client: bool,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) -> Option<Place> {
        let head = Head::read(head)?;
        if client { self.request(&head, context, names, out) } else { self.response(&head, context, out) }
    }

    fn request(
        &mut self,
        head: &Head<'_>,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) -> Option<Place> {
        let mut fields = Vec::new();
        let method = head.write_request(names, &mut Line::part(&mut fields))?;
        self.pending.push_back(Request { ts: context.ts, fields, method });
        while self.is_full() {
            self.given_up = self.given_up.saturating_add(1);
            self.pop(None, context, out);
        }
        Some(head.body().unwrap_or(Place::Head))
    }

    fn is_full(&self) -> bool {
        let bytes = self.pending.iter().map(|request| request.fields.len());
        self.pending.len() > PENDING_MAX || bytes.fold(0, usize::saturating_add) > PENDING_BYTES_MAX
    }

    fn response(&mut self, head: &Head<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Option<Place> {
        let status = head.status()?;
        if matches!(status, 100 | 102..=199) {
            return Some(Place::Head);
        }
        let method = if self.given_up > 0 {
            self.given_up = self.given_up.saturating_sub(1);
            write(None, Some(head), context, out);
            Method::Other
        } else {
            self.pop(Some(head), context, out)
        };
        Some(match (status, method) {
            (101, _) => {
                self.sides.src.place = Place::Over;
                self.sides.dst.place = Place::Over;
                Place::Over
            }
            (200..=299, Method::Connect) => {
                self.tunnel = true;
                Place::Over
            }
            (204 | 304, _) | (_, Method::Head) => Place::Head,
            // Without a length, a response lasts until the connection ends.
            _ => head.body().unwrap_or(Place::Over),
        })
    }

    /// Writes the oldest request.
    fn pop(&mut self, response: Option<&Head<'_>>, context: &Context<'_>, out: &mut Vec<u8>) -> Method {
        let request = self.pending.pop_front();
        write(request.as_ref(), response, context, out);
        request.map_or(Method::Other, |request| request.method)
    }

    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        self.sides.get(speaker).place != Place::Over
    }

    /// Writes what waits for a response, and heads that were cut short.
    pub(super) fn end(&mut self, context: &Context<'_>, names: &mut Names, out: &mut Vec<u8>) {
        for speaker in [Speaker::Src, Speaker::Dst] {
            let side = std::mem::take(self.sides.of(speaker));
            if side.place == Place::Head && side.kept.contains(&b'\n') {
                let _place = self.read(&side.kept, self.client == speaker, context, names, out);
            }
        }
        while !self.pending.is_empty() {
            self.pop(None, context, out);
        }
    }
}

impl Side {
    /// Looks whether a segment begins with a head, when the place in the stream is not known.
    fn search(&mut self, bytes: &[u8], client: bool) {
        if self.place != Place::Search || bytes.is_empty() {
            return;
        }
        self.searches = self.searches.saturating_add(1);
        if begins(bytes, client) {
            (self.place, self.searches) = (Place::Head, 0);
        } else if self.searches >= SEARCHES_MAX {
            self.place = Place::Over;
        }
    }
}

/// Passes over what is not a head.
fn pass(rest: &[u8], place: Place) -> Step {
    match place {
        Place::Body(left) => {
            let (done, left) = skip(rest, left);
            Step::Done(done, if left == 0 { Place::Head } else { Place::Body(left) })
        }
        Place::Chunk(left) => {
            let (done, left) = skip(rest, left);
            Step::Done(done, if left == 0 { Place::ChunkSize } else { Place::Chunk(left) })
        }
        Place::ChunkSize => chunk_line(rest, |line| match chunk_size(line) {
            Some(0) => Place::Trailer,
            Some(size) => Place::Chunk(size.saturating_add(2)),
            None => Place::Search,
        }),
        Place::Trailer => {
            chunk_line(rest, |line| if line.trim_ascii().is_empty() { Place::Head } else { Place::Trailer })
        }
        Place::Head | Place::Search | Place::Over => Step::Done(rest.len(), place),
    }
}

/// How many bytes are passed over, and how many are left to be.
fn skip(rest: &[u8], left: u64) -> (usize, u64) {
    let done = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (done, left.saturating_sub(u64::try_from(done).unwrap_or(left)))
}

fn chunk_line(rest: &[u8], next: impl FnOnce(&[u8]) -> Place) -> Step {
    let window = rest.get(..CHUNK_LINE_BYTES_MAX).unwrap_or(rest);
    match memchr::memchr(b'\n', window) {
        Some(end) => Step::Done(end.saturating_add(1), next(window.get(..end).unwrap_or_default())),
        None if window.len() < CHUNK_LINE_BYTES_MAX => Step::More,
        None => Step::Done(rest.len(), Place::Search),
    }
}

/// The number before a chunk; extensions may follow it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| !byte.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether bytes can be the beginning of a head.
fn may_begin(bytes: &[u8], client: bool) -> bool {
    const METHOD_BYTES_MAX: usize = 24;
    if !client {
        let version = b"HTTP/";
        return bytes.iter().zip(version).all(|(byte, wanted)| byte == wanted);
    }
    let method = bytes.iter().take(METHOD_BYTES_MAX).take_while(|byte| **byte != b' ');
    let length = method.clone().count();
    method.clone().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
        && length > 0
        && length < METHOD_BYTES_MAX
}

/// Whether bytes are surely the beginning of a head.
fn begins(bytes: &[u8], client: bool) -> bool {
    if !client {
        return bytes.starts_with(b"HTTP/1.");
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    may_begin(bytes, client)
        && line.rsplit(|byte| *byte == b' ').next().is_some_and(|last| last.starts_with(b"HTTP/1."))
}

/// Where the empty line ends that ends a head.
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| {
        let after = at.saturating_add(1);
        match bytes.get(after..) {
            Some([b'\n', ..]) => Some(after.saturating_add(1)),
            Some([b'\r', b'\n', ..]) => Some(after.saturating_add(2)),
            _ => None,
        }
    })
}

/// A request's or a response's head. It is split by hand: a parser made for servers refuses heads that lenient servers take,
/// and whoever attacks sends such.
struct Head<'h> {
    /// The first line.
    line: Cow<'h, str>,
    headers: Headers<'h>,
}

/// The headers that are looked at; empty when absent.
#[derive(Default)]
struct Headers<'h> {
    authorization: &'h [u8],
    content_length: &'h [u8],
    content_type: &'h [u8],
    host: &'h [u8],
    referer: &'h [u8],
    server: &'h [u8],
    transfer_encoding: &'h [u8],
    user_agent: &'h [u8],
    x_forwarded_for: &'h [u8],
}

impl<'h> Headers<'h> {
    /// The first of each name counts.
    fn read(lines: &'h [u8]) -> Self {
        let mut headers = Self::default();
        for line in lines.split(|byte| *byte == b'\n') {
            let Some((name, value)) =
                memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
            else {
                continue;
            };
            if let Some(place) = headers.place(name.trim_ascii())
                && place.is_empty()
            {
                *place = value.get(1..).unwrap_or_default().trim_ascii();
            }
        }
        headers
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut &'h [u8]> {
        let (wanted, place) = match name.len() {
            4 => ("host", &mut self.host),
            6 => ("server", &mut self.server),
            7 => ("referer", &mut self.referer),
            10 => ("user-agent", &mut self.user_agent),
            12 => ("content-type", &mut self.content_type),
            13 => ("authorization", &mut self.authorization),
            14 => ("content-length", &mut self.content_length),
            15 => ("x-forwarded-for", &mut self.x_forwarded_for),
            17 => ("transfer-encoding", &mut self.transfer_encoding),
            _ => return None,
        };
        name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(place)
    }

    fn length(&self) -> Option<u64> {
        std::str::from_utf8(self.content_length).ok()?.parse().ok()
    }
}

impl<'h> Head<'h> {
    fn read(bytes: &'h [u8]) -> Option<Self> {
        let (line, rest) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)?.saturating_add(1))?;
        Some(Self { line: String::from_utf8_lossy(line.trim_ascii()), headers: Headers::read(rest) })
    }

    /// Method, target and version; the version is empty when none is there (HTTP/0.9).
    fn request_line(&self) -> Option<(&str, &str, &str)> {
        let (method, after) = self.line.split_once(' ')?;
        let with_version = after.rsplit_once(' ').filter(|(_, version)| version.starts_with("HTTP/"));
        let (target, version) = with_version.unwrap_or((after, ""));
        Some((method, target.trim(), version))
    }

    fn status(&self) -> Option<u16> {
        let (_version, after) = self.line.split_once(' ')?;
        after.trim_start().get(..3)?.parse().ok()
    }

    /// What is to be passed over before the next head; nothing when no length is given.
    fn body(&self) -> Option<Place> {
        if self.headers.transfer_encoding.eq_ignore_ascii_case(b"chunked") {
            return Some(Place::ChunkSize);
        }
        Some(match self.headers.length()? {
            0 => Place::Head,
            length => Place::Body(length),
        })
    }

    fn write_request(&self, names: &mut Names, line: &mut Line<'_>) -> Option<Method> {
        let (method, target, version) = self.request_line()?;
        let (authority, path) = split_target(method, target);
        let (stem, query) = path.split_once('?').unwrap_or((path, ""));
        let host = if self.headers.host.is_empty() { authority.as_bytes() } else { self.headers.host };
        let host = String::from_utf8_lossy(host);
        line.text("cs-method", method);
        line.text("cs-uri-stem", stem);
        line.text("cs-uri-query", query);
        line.text("cs-host", &host);
        line.text("cs-version", version);
        write_value("cs-user-agent", self.headers.user_agent, line);
        write_value("cs-referer", self.headers.referer, line);
        write_value("xff", self.headers.x_forwarded_for, line);
        line.text("authorization", scheme(self.headers.authorization));
        if names.server_name.is_empty() {
            names.server_name = without_port(&host).to_ascii_lowercase().into();
        }
        Some(match method {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        })
    }

    fn write_response(&self, line: &mut Line<'_>) {
        line.number("sc-status", self.status().unwrap_or_default().into());
        if let Some(length) = self.headers.length() {
            line.plain("sc-bytes", length);
        }
        write_value("content_type", self.headers.content_type, line);
        write_value("server", self.headers.server, line);
    }
}

fn write_value(field: &'static str, value: &[u8], line: &mut Line<'_>) {
    line.text(field, &String::from_utf8_lossy(value));
}

/// Host and path of a target: of an absolute one (to a proxy) without scheme and user, of CONNECT both the same.
fn split_target<'t>(method: &str, target: &'t str) -> (&'t str, &'t str) {
    if method == "CONNECT" {
        return (target, target);
    }
    let Some((_, after)) = target.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) else {
        return ("", target);
    };
    let (authority, path) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (host, if path.is_empty() { "/" } else { path })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The scheme of an authorization. A value without one may be the secret itself.
fn scheme(value: &[u8]) -> &str {
    if value.is_empty() {
        return "";
    }
    let word = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_scheme =
        word.len() < value.len() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if is_scheme { std::str::from_utf8(word).unwrap_or("other") } else { "other" }
}

fn write(request: Option<&Request>, response: Option<&Head<'_>>, context: &Context<'_>, out: &mut Vec<u8>) {
    let mut line = context.line(out, "http", request.map_or(context.ts, |request| request.ts));
    if let Some(request) = request {
        line.fields(&request.fields);
    }
    if let Some(response) = response {
        response.write_response(&mut line);
    }
    line.end();
}
