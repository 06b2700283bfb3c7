//! Access logs of nginx and Apache (common and combined, with or without a virtual host before them), and their error logs.
//!
//! Fields are Sigma's for web servers. What the servers escape (`\"`, `\x16`) is decoded. A request that is no HTTP (a TLS
//! greeting, a bare word) is kept as `request` and flagged `request_malformed`; the line is understood all the same.
//!
//! `cs-uri`, `cs-uri-stem` and `cs-uri-query` stand as the client wrote them, and a second time percent-decoded (twice at
//! most) where that differs, so that an encoded attack meets the same rules. `cs-uri-query` also stands with the whole
//! URI: many public rules look for paths under that name. The first value is always the plain one.
//!
//! Limits: those of the record; a method has at most [`METHOD_BYTES_MAX`] bytes.

use std::borrow::Cow;

use nom::bytes::complete::{tag, take_till, take_while1};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::fields::{Fields, Line, address};
use super::text;
use super::time::{self, Stamp};
use crate::{LogSource, ParseStatus};

/// Longest method. The longest that is registered has 17 bytes (UPDATEREDIRECTREF).
const METHOD_BYTES_MAX: usize = 32;

/// What nginx' error log says of a connection (ngx_http_log_error).
const CONTEXT: [&str; 7] = ["client", "server", "request", "subrequest", "upstream", "host", "referrer"];

/// How often a URI is percent-decoded: double encoding is a known way around filters, more rounds would only cost.
const DECODE_ROUNDS: usize = 2;

/// Reads a line of an access log or of an error log.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    access(line).or_else(|| apache_error(line)).or_else(|| nginx_error(line))
}

fn access(line: &str) -> Option<Line<'_>> {
    let (who, stamp, rest) = before_request(line)?;
    let (rest, request) = terminated(quoted_rest, char(' ')).parse(rest).ok()?;
    let (rest, (status, size)) = (word, opt(preceded(char(' '), word))).parse(rest).ok()?;
    if !matches!(status, "-" | "000") && status.parse::<u16>().is_err() {
        return None;
    }
    let mut fields = Fields::default();
    client(who, &mut fields)?;
    fields.read(&unescape(request), read_request);
    if status != "-" {
        fields.number("sc-status", status);
    }
    if let Some(size) = size.filter(|size| *size != "-") {
        fields.number("sc-bytes", size);
    }
    let mut rest = rest;
    for name in ["cs-referer", "cs-user-agent", "x_forwarded_for"] {
        let Ok((after, value)) = preceded((opt(char(' ')), char('"')), quoted_rest).parse(rest) else {
            break;
        };
        rest = after;
        if value != "-" {
            fields.text(name, unescape(value));
        }
    }
    let source = LogSource { category: "webserver", product: "", service: "" };
    Some(Line { stamp: Some(stamp), source, status: ParseStatus::Parsed, fields_hold_text: false, fields })
}

/// What stands before the time, the time, and what follows the quotation mark of the request. The user's name is the client's
/// and may hold ` [`; no time that a quotation mark follows, because servers escape the mark.
fn before_request(line: &str) -> Option<(&str, Stamp, &str)> {
    line.match_indices(" [").find_map(|(at, _)| {
        let (who, rest) = line.split_at_checked(at)?;
        let (rest, stamp) = delimited(tag(" ["), time::common_log, tag("] \"")).parse(rest).ok()?;
        Some((who, stamp, rest))
    })
}

/// `[VHOST[:PORT] ]CLIENT IDENT USER`; the identity may be missing, the user may hold spaces.
fn client<'t>(who: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (first, rest) = who.split_once(' ').unwrap_or((who, ""));
    let (second, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_peer = |text| address(text).is_some();
    // Without an address anywhere (HostnameLookups), four words have a virtual host before them.
    let has_vhost = !is_peer(first) && (is_peer(second) || after.split(' ').count() == 2);
    let (vhost, peer, rest) = if has_vhost { (first, second, after) } else { ("", first, rest) };
    if peer.is_empty() {
        return None;
    }
    let (vhost, port) = vhost.rsplit_once(':').unwrap_or((vhost, ""));
    fields.text_unless_empty("cs-host", vhost);
    if !port.is_empty() {
        fields.number("s-port", port);
    }
    fields.text(if is_peer(peer) { "c-ip" } else { "src_host" }, address(peer).unwrap_or(peer));
    let (_, user) = rest.split_once(' ').unwrap_or(("", ""));
    if !matches!(user, "" | "-") {
        fields.text("cs-username", user);
    }
    Some(())
}

/// `GET /path?query HTTP/1.1`
fn read_request<'t>(request: &'t str, fields: &mut Fields<'t>) {
    let method = |c: char| c.is_ascii_alphabetic() || c == '-' || c == '_';
    let parsed: IResult<&str, &str> = terminated(take_while1(method), char(' ')).parse(request);
    let Ok((target, method)) = parsed.map_err(drop).and_then(|(target, method)| {
        if method.len() <= METHOD_BYTES_MAX && !target.is_empty() { Ok((target, method)) } else { Err(()) }
    }) else {
        if request != "-" {
            fields.text("request", request);
            fields.flag("request_malformed");
        }
        return;
    };
    let (uri, version) = match target.rsplit_once(' ') {
        Some((uri, version)) if version.starts_with("HTTP/") => (uri, version),
        _ => (target, ""),
    };
    fields.text("cs-method", method);
    read_uri(uri, fields);
    fields.text_unless_empty("cs-version", version);
}

fn read_uri<'t>(uri: &'t str, fields: &mut Fields<'t>) {
    let (before, query) = uri.split_once('?').unwrap_or((uri, ""));
    let stem = match before.split_once("://") {
        // A proxy's request: scheme and authority stand before the path.
        Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphabetic()) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (host, stem) = rest.split_at_checked(end).unwrap_or((rest, ""));
            fields.text("cs-host", host);
            stem
        }
        _ => before,
    };
    fields.text("cs-uri", uri);
    fields.text("cs-uri-stem", stem);
    fields.text("cs-uri-query", query);
    fields.text("cs-uri-query", uri);
    let (whole, decoded_query) = (percent_decode(before), form_decode(query));
    if whole.is_none() && decoded_query.is_none() {
        return;
    }
    let mut whole = whole.unwrap_or_else(|| before.to_owned());
    if before.len() < uri.len() {
        whole.push('?');
        whole.push_str(decoded_query.as_deref().unwrap_or(query));
    }
    fields.text("cs-uri-query", whole.clone());
    fields.text("cs-uri", whole);
    if let Some(query) = decoded_query {
        fields.text("cs-uri-query", query);
    }
    if let Some(stem) = percent_decode(stem) {
        fields.text("cs-uri-stem", stem);
    }
}

/// A query decoded: as a form writes it, with `+` for a space. `None`: nothing to undo.
fn form_decode(query: &str) -> Option<String> {
    if !query.contains('+') {
        return percent_decode(query);
    }
    let spaced = query.replace('+', " ");
    Some(percent_decode(&spaced).unwrap_or(spaced))
}

/// Percent-encoding undone. `None`: nothing to undo.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::new();
    for _ in 0..DECODE_ROUNDS {
        let encoded = if decoded.is_empty() { text.as_bytes() } else { &decoded };
        if !encoded.contains(&b'%') {
            break;
        }
        decoded = decode_once(encoded);
    }
    if decoded.is_empty() {
        return None;
    }
    Some(text::decode_owned(decoded)).filter(|decoded| decoded != text)
}

fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(*first),
        }
    }
    decoded
}

/// The escapes of both servers: `\xHH`, `\"`, `\\`, and Apache's `\n`, `\t` ...
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, used) = match (first, after) {
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'\\', 0),
            },
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [escaped @ (b'"' | b'\\'), ..]) => (*escaped, 1),
            _ => (*first, 0),
        };
        decoded.push(byte);
        rest = after.get(used..).unwrap_or_default();
    }
    Cow::Owned(text::decode_owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What stands before the closing quotation mark, which is taken too. A backslash escapes.
fn quoted_rest(input: &str) -> IResult<&str, &str> {
    let mut escaped = false;
    let end = input.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let end = end.unwrap_or(input.len());
    let (inside, rest) = input.split_at_checked(end).unwrap_or((input, ""));
    let (rest, _) = char('"').parse(rest)?;
    Ok((rest, inside))
}

fn word(input: &str) -> IResult<&str, &str> {
    take_while1(|c| c != ' ').parse(input)
}

/// `[TIME] [[MODULE:]LEVEL] [[pid N[:tid N]]] [[client ADDRESS[:PORT]]] TEXT`
fn apache_error(line: &str) -> Option<Line<'_>> {
    let bracket = |input| delimited(char('['), take_till(|c| c == ']'), char(']')).parse(input);
    let (rest, stamp) = delimited(char('['), time::apache_error, tag("] ")).parse(line).ok()?;
    let parsed: IResult<&str, &str> = bracket(rest);
    let (mut rest, level) = parsed.ok()?;
    let mut fields = Fields::default();
    fields.action("web_error", "");
    let (module, level) = level.rsplit_once(':').unwrap_or(("", level));
    fields.text_unless_empty("module", module);
    fields.text("level", level);
    loop {
        rest = rest.trim_ascii_start();
        let parsed: IResult<&str, &str> = bracket(rest);
        let Ok((after, part)) = parsed else { break };
        if let Some(pid) = part.strip_prefix("pid ") {
            fields.number("pid", pid.split(':').next().unwrap_or_default());
        } else if let Some(client) = part.strip_prefix("client ") {
            error_client(client, &mut fields);
        } else {
            break;
        }
        rest = after;
    }
    let (text, referer) = rest.rsplit_once(", referer: ").unwrap_or((rest, ""));
    fields.text("error", text);
    fields.text_unless_empty("cs-referer", referer);
    Some(Line {
        stamp: Some(stamp),
        source: error_source("apache"),
        status: ParseStatus::Parsed,
        fields_hold_text: false,
        fields,
    })
}

fn error_source(service: &'static str) -> LogSource<'static> {
    LogSource { category: "", product: service, service }
}

/// `ADDRESS` or `ADDRESS:PORT`, where the address may itself hold colons.
fn error_client<'t>(client: &'t str, fields: &mut Fields<'t>) {
    match client.rsplit_once(':') {
        Some((peer, port))
            if address(peer).is_some() && (peer.contains('.') || address(client).is_none()) =>
        {
            fields.text("c-ip", address(peer).unwrap_or(peer));
            fields.number("src_port", port);
        }
        _ => fields.text(
            if address(client).is_some() { "c-ip" } else { "src_host" },
            address(client).unwrap_or(client),
        ),
    }
}

/// `TIME [LEVEL] PID#TID: [*CONNECTION ]TEXT, client: ..., server: ..., request: "...", upstream: "...", host: "..."`
fn nginx_error(line: &str) -> Option<Line<'_>> {
    let level = delimited(tag(" ["), take_till(|c| c == ']'), tag("] "));
    let digits = || take_while1(|c: char| c.is_ascii_digit());
    let parsed: IResult<&str, _> =
        (time::nginx_error, level, digits(), char('#'), digits(), tag(": ")).parse(line);
    let (rest, (stamp, level, pid, ..)) = parsed.ok()?;
    let mut fields = Fields::default();
    fields.action("web_error", "");
    fields.text("level", level);
    fields.number("pid", pid);
    let (text, context) = split_context(rest);
    // `*46 `: the number of the connection.
    let text = match text.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
        Some((number, text)) => {
            fields.number("connection", number);
            text
        }
        None => text,
    };
    fields.text("error", text);
    error_context(context, &mut fields);
    Some(Line {
        stamp: Some(stamp),
        source: error_source("nginx"),
        status: ParseStatus::Parsed,
        fields_hold_text: false,
        fields,
    })
}

/// What happened, and the connection that nginx says it of. A path in the text is the client's and may look like a connection:
/// the true one is the first that goes on to the line's end in nginx's names, each once.
fn split_context(rest: &str) -> (&str, &str) {
    let mut parts = rest.match_indices(", client: ").filter_map(|(at, _)| rest.split_at_checked(at));
    let Some(first) = parts.next() else { return (rest, "") };
    std::iter::once(first).chain(parts).find(|(_, context)| is_context(context)).unwrap_or(first)
}

fn is_context(text: &str) -> bool {
    let (mut rest, mut names) = (text, CONTEXT.to_vec());
    while let Some((name, _, after)) = context_part(rest) {
        let Some(at) = names.iter().position(|known| *known == name) else { return false };
        names.swap_remove(at);
        rest = after;
    }
    rest.is_empty()
}

/// `, NAME: VALUE`, perhaps in quotation marks; and what follows.
fn context_part(text: &str) -> Option<(&str, &str, &str)> {
    let (name, after) = text.strip_prefix(", ")?.split_once(": ")?;
    let (value, after) = match after.strip_prefix('"').map(quoted_rest) {
        Some(Ok((after, value))) => (value, after),
        _ => after.split_at_checked(after.find(", ").unwrap_or(after.len())).unwrap_or((after, "")),
    };
    Some((name, value, after))
}

fn error_context<'t>(context: &'t str, fields: &mut Fields<'t>) {
    let mut rest = context;
    while let Some((name, value, after)) = context_part(rest) {
        match name {
            "client" => error_client(value, fields),
            "server" => fields.text_unless_empty("server", value),
            "request" => fields.read(&unescape(value), read_request),
            "upstream" => fields.text("upstream", value),
            "host" => fields.text("cs-host", value),
            "referrer" => fields.text("cs-referer", unescape(value)),
            _ => {}
        }
        rest = after;
    }
}
