//! DNS (RFC 1035), also as mDNS (RFC 6762) and LLMNR (RFC 4795): one line for each exchange of a question and its answer.
//!
//! A response is paired with the query of the same identifier and the same question; a query that got none is written when
//! the flow ends, or when more than [`PENDING_MAX`] wait. What goes to a multicast group is written at once: who answers
//! does so in a flow of its own. Nothing is built: names and answers go from the message straight into the line.
//!
//! Limits: names end after 255 bytes and compression pointers must point backwards, so no loop lasts; [`ANSWERS_MAX`] and
//! [`ANSWER_BYTES_MAX`] bound a line. What a broken message holds up to the break is written. What it never does: read the
//! authority and additional sections, so that EDNS's upper bits of the response code are not known.

use std::fmt::{self, Display, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::cursor::Cursor;
use super::line::Line;
use super::talk::{Context, Names, Sides, Speaker};
use crate::Micros;

/// Most queries of a flow that wait for their answer. Resolvers ask from a new port each time; stubs ask A and AAAA at once.
const PENDING_MAX: usize = 8;

/// Most answers in a line: a reply within 512 bytes has no more.
const ANSWERS_MAX: usize = 32;

/// Most bytes read of a message over TCP: transfers of zones have many messages of 64 KiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Longest data of an answer that is shown: TXT may be 64 KiB, and tunnels make it so.
const ANSWER_BYTES_MAX: usize = 512;

/// Most questions of one query: mDNS asks for several services at once; elsewhere there is one.
const QUESTIONS_MAX: usize = 16;

/// Longest name in its encoding, the lengths included (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// ... and in presentation form, when every byte is written as \DDD.
const NAME_TEXT_BYTES_MAX: usize = 4 * NAME_BYTES_MAX;

/// Labels that countries put between their code and what one can register.
const SECOND_LEVEL: [&str; 20] = [
    "ac", "biz", "co", "com", "edu", "gob", "go", "gov", "health", "id", "info", "int", "mil", "name", "ne",
    "net", "nom", "or", "org", "pro",
];

/// Queries of a flow that wait for their answer, oldest first.
#[derive(Debug, Default)]
pub(super) struct Dns {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    ts: Micros,
    request_bytes: usize,
    /// The message up to the end of its first question.
    message: Box<[u8]>,
}

/// A message whose header and first question were read.
pub(super) struct Message<'m> {
    bytes: &'m [u8],
    id: u16,
    flags: u16,
    questions: u16,
    answers: u16,
    question: Option<Question<'m>>,
}

#[derive(Clone, Copy)]
struct Question<'m> {
    name: Name<'m>,
    record_type: u16,
    /// Where it ends.
    end: usize,
}

/// What one line says.
struct Exchange<'e> {
    ts: Micros,
    id: u16,
    question: Option<Question<'e>>,
    request_bytes: usize,
    response: Option<&'e Message<'e>>,
    response_bytes: usize,
}

impl Dns {
    /// Takes a message; `wire_bytes` is its length when `bytes` is only its beginning.
    pub(super) fn message(
        &mut self,
        message: &Message<'_>,
        wire_bytes: usize,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        if message.is_response() {
            self.response(message, wire_bytes, context, out);
        } else if context.dst_ip.is_multicast() || context.dst_port == MDNS_PORT {
            message.write_questions(wire_bytes, context, out);
        } else {
            self.query(message, wire_bytes, context, out);
        }
    }

    /// Writes the queries that got no answer.
    pub(super) fn end(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        for pending in std::mem::take(&mut self.pending) {
            pending.write(context, out);
        }
    }

    fn query(&mut self, message: &Message<'_>, wire_bytes: usize, context: &Context<'_>, out: &mut Vec<u8>) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.remove(0).write(context, out);
        }
        if self.pending.is_empty() {
            // Most flows have one query.
            self.pending.reserve_exact(1);
        }
        let end = message.question.map_or(HEADER_BYTES, |question| question.end);
        let kept = message.bytes.get(..end).unwrap_or(message.bytes);
        self.pending.push(Pending { ts: context.ts, request_bytes: wire_bytes, message: kept.into() });
    }

    fn response(
        &mut self,
        message: &Message<'_>,
        wire_bytes: usize,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        let asked = self.pending.iter().position(|pending| message.answers_to(&pending.message));
        let asked = asked.map(|at| self.pending.remove(at));
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        let query = asked.as_ref().and_then(|asked| Message::parse(&asked.message));
        Exchange {
            ts: asked.as_ref().map_or(context.ts, |asked| asked.ts),
            id: message.id,
            question: message.question.or_else(|| query?.question).or_else(|| message.first_owner()),
            request_bytes: asked.as_ref().map_or(0, |asked| asked.request_bytes),
            response: Some(message),
            response_bytes: wire_bytes,
        }
        .write(context, out);
    }
}

/// DNS over TCP: each message has two bytes of length before it.
#[derive(Debug, Default)]
pub(super) struct DnsStream {
    dns: Dns,
    sides: Sides<Side>,
}

#[derive(Debug, Default)]
struct Side {
    kept: Vec<u8>,
    /// Bytes of a message that are passed over: of a long one only the beginning is read.
    skip: usize,
    /// Whether bytes were lost, so that no length can be found again.
    over: bool,
}

impl DnsStream {
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
    ) {
        let side = self.sides.of(speaker);
        if gap && (side.skip > 0 || !side.kept.is_empty()) {
            *side = Side { over: true, ..Side::default() };
        }
        if side.over {
            return;
        }
        let mut kept = std::mem::take(&mut side.kept);
        let mut rest = bytes;
        if !kept.is_empty() {
            kept.extend_from_slice(bytes);
            rest = &kept;
        }
        loop {
            let passed = side.skip.min(rest.len());
            side.skip = side.skip.saturating_sub(passed);
            rest = rest.get(passed..).unwrap_or_default();
            let Some((message, length)) = framed(rest) else { break };
            side.skip = length.saturating_add(2);
            if let Some(message) = Message::parse(message) {
                names.question(&message);
                self.dns.message(&message, length, context, out);
            }
        }
        side.kept = rest.to_vec();
    }

    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        !self.sides.get(speaker).over
    }

    pub(super) fn end(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        self.dns.end(context, out);
    }
}

/// A message, or what is read of it, and its whole length.
fn framed(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut cursor = Cursor::new(bytes);
    let length = usize::from(cursor.u16()?);
    Some((cursor.take(length.min(MESSAGE_BYTES_MAX))?, length))
}

impl Pending {
    fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        let Some(message) = Message::parse(&self.message) else { return };
        let mut exchange = Exchange::query(&message, self.request_bytes, self.ts);
        exchange.question = message.question;
        exchange.write(context, out);
    }
}

/// Identifier, flags and four counts.
const HEADER_BYTES: usize = 12;

/// Where mDNS is asked and answers.
const MDNS_PORT: u16 = 5353;

impl<'m> Message<'m> {
    /// Reads the header and the first question; nothing when that is not DNS.
    pub(super) fn parse(bytes: &'m [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let [id, flags, questions, answers, _, _] =
            [cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?];
        let mut message = Self { bytes, id, flags, questions, answers, question: None };
        if questions > 0 {
            message.question = Some(message.question_at(&mut cursor)?);
        } else if !message.is_response() {
            return None;
        }
        // Operations above 6 (DSO) are not assigned.
        (flags >> 11 & 0xf <= 6).then_some(message)
    }

    /// The first question, in presentation form.
    pub(super) fn name(&self) -> Option<impl Display + use<'m>> {
        Some(self.question?.name)
    }

    fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    fn question_at(&self, cursor: &mut Cursor<'m>) -> Option<Question<'m>> {
        let name = Name { message: self.bytes, at: self.offset(cursor) };
        skip_name(cursor)?;
        let record_type = cursor.u16()?;
        let _class = cursor.u16()?;
        Some(Question { name, record_type, end: self.offset(cursor) })
    }

    fn offset(&self, cursor: &Cursor<'_>) -> usize {
        self.bytes.len().saturating_sub(cursor.rest().len())
    }

    /// Whether this is the response to a query whose beginning is at hand. Resolvers vary the case of what they ask.
    fn answers_to(&self, query: &[u8]) -> bool {
        if query.get(..2) != Some(&self.id.to_be_bytes()) {
            return false;
        }
        let Some(question) = &self.question else { return true };
        let own = self.bytes.get(HEADER_BYTES..question.end).unwrap_or_default();
        query.get(HEADER_BYTES..).unwrap_or_default().eq_ignore_ascii_case(own)
    }

    /// What a response without a question is about: the owner of its first record. So mDNS answers.
    fn first_owner(&self) -> Option<Question<'m>> {
        self.answers().next().map(|answer| Question { name: answer.owner, record_type: answer.kind, end: 0 })
    }

    fn answers(&self) -> Answers<'m> {
        let mut rest = Cursor::new(self.bytes);
        let mut skip = || {
            rest.take(HEADER_BYTES)?;
            for _ in 0..self.questions {
                skip_name(&mut rest)?;
                rest.u32()?;
            }
            Some(())
        };
        let left = if skip().is_some() { usize::from(self.answers).min(ANSWERS_MAX) } else { 0 };
        Answers { message: self.bytes, rest, left }
    }

    /// A line for each question of a query that waits for nothing.
    fn write_questions(&self, wire_bytes: usize, context: &Context<'_>, out: &mut Vec<u8>) {
        let mut cursor = Cursor::new(self.bytes);
        let _header = cursor.take(HEADER_BYTES);
        for _ in 0..usize::from(self.questions).min(QUESTIONS_MAX) {
            let Some(question) = self.question_at(&mut cursor) else { return };
            let mut exchange = Exchange::query(self, wire_bytes, context.ts);
            exchange.question = Some(question);
            exchange.write(context, out);
        }
    }
}

impl<'e> Exchange<'e> {
    fn query(message: &Message<'e>, request_bytes: usize, ts: Micros) -> Self {
        Self {
            ts,
            id: message.id,
            question: message.question,
            request_bytes,
            response: None,
            response_bytes: 0,
        }
    }

    fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        let mut line = context.line(out, "dns", self.ts);
        if let Some(question) = self.question {
            question.write(&mut line);
        }
        line.plain("id", self.id);
        if let Some(response) = self.response {
            line.word("rcode", Rcode(response.flags & 0xf));
            line.texts("answer", response.answers());
            line.number("response_bytes", number(self.response_bytes));
        }
        line.number("request_bytes", number(self.request_bytes));
        if self.request_bytes != 0 && self.response.is_some() {
            line.plain("duration_us", context.ts.saturating_sub(self.ts));
        }
        line.end();
    }
}

impl Question<'_> {
    fn write(&self, line: &mut Line<'_>) {
        let mut text = NameText { bytes: [0; NAME_TEXT_BYTES_MAX], length: 0 };
        let _full = write!(text, "{}", self.name);
        let name = text.as_str();
        let domain = registered_domain(name);
        line.text("query", name);
        line.text("domain", domain);
        line.word("record_type", RecordType(self.record_type));
        line.plain("query_length", name.len());
        line.plain("labels", self.name.labels().count());
        line.plain("longest_label", self.name.labels().map(<[u8]>::len).max().unwrap_or(0));
        let before = name.get(..name.len().saturating_sub(domain.len())).unwrap_or_default();
        line.plain("query_entropy", entropy(before));
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The part of a name that somebody registered, by a simple rule: two labels, or three below a country's second level. A dot
/// within a label is taken for one between labels: the names that have it are not registered.
fn registered_domain(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    let (Some(last), second, third) = (dots.next(), dots.next(), dots.next()) else { return name };
    let after = |dot: usize| name.get(dot.saturating_add(1)..).unwrap_or_default();
    let from_second = second.map_or(name, after);
    let second_level = from_second.split('.').next().unwrap_or_default();
    if after(last).len() == 2 && SECOND_LEVEL.contains(&second_level) {
        return third.map_or(name, after);
    }
    from_second
}

/// Shannon's entropy of a text's bytes, dots left out, in hundredths of a bit per byte.
fn entropy(text: &str) -> u32 {
    let mut counts = [0_u16; 256];
    let mut total = 0_usize;
    let mut sum = 0_u32;
    for byte in text.bytes().filter(|byte| *byte != b'.') {
        let Some(count) = counts.get_mut(usize::from(byte)) else { continue };
        let before = count_log(usize::from(*count));
        *count = count.saturating_add(1);
        // Terms of a sum: each step replaces the byte's own.
        sum = sum.saturating_add(count_log(usize::from(*count)).saturating_sub(before));
        total = total.saturating_add(1);
    }
    let bits = u64::from(count_log(total).saturating_sub(sum)).saturating_mul(100);
    let per_byte = bits.checked_div(number(total)).unwrap_or(0);
    u32::try_from(per_byte.saturating_add(1 << 11) >> 12).unwrap_or(0)
}

/// n · log2 n, in units of 2^-12.
fn count_log(count: usize) -> u32 {
    COUNT_LOGS.get(count).copied().unwrap_or_default()
}

static COUNT_LOGS: [u32; NAME_TEXT_BYTES_MAX + 1] = count_logs();

const fn count_logs() -> [u32; NAME_TEXT_BYTES_MAX + 1] {
    let mut table = [0; NAME_TEXT_BYTES_MAX + 1];
    let mut rest: &mut [u32] = &mut table;
    let mut count = 0_u32;
    while let Some((entry, tail)) = rest.split_first_mut() {
        *entry = count.wrapping_mul(log2(count));
        count = count.wrapping_add(1);
        rest = tail;
    }
    table
}

/// log2 of a number, in units of 2^-12: the whole part, then bit by bit, by squaring what is left.
const fn log2(number: u32) -> u32 {
    if number < 2 {
        return 0;
    }
    let whole = number.ilog2();
    let mut log = whole;
    // Between 1 and 2, in units of 2^-31.
    let mut left = number.wrapping_shl(31_u32.wrapping_sub(whole));
    let mut bit = 0_u32;
    while bit < 12 {
        let square = widen(left).wrapping_mul(widen(left));
        let above = square >> 63 == 1;
        log = log << 1 | if above { 1 } else { 0 };
        let [a, b, c, d, ..] = (if above { square } else { square << 1 }).to_be_bytes();
        left = u32::from_be_bytes([a, b, c, d]);
        bit = bit.wrapping_add(1);
    }
    log
}

/// `u64::from` in a constant.
const fn widen(number: u32) -> u64 {
    let [a, b, c, d] = number.to_be_bytes();
    u64::from_be_bytes([0, 0, 0, 0, a, b, c, d])
}

fn skip_name(cursor: &mut Cursor<'_>) -> Option<()> {
    loop {
        match cursor.u8()? {
            0 => return Some(()),
            length @ 1..64 => drop(cursor.take(length.into())?),
            0xc0.. => return cursor.u8().map(drop),
            _ => return None,
        }
    }
}

/// A name within a message; shown in lower case and presentation form (RFC 1035, section 5.1). A broken one ends where it
/// breaks.
#[derive(Clone, Copy)]
struct Name<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Name<'m> {
    fn labels(self) -> Labels<'m> {
        Labels { message: self.message, at: self.at, start: self.at, left: NAME_BYTES_MAX }
    }
}

struct Labels<'m> {
    message: &'m [u8],
    at: usize,
    /// Where this piece of the name began: a pointer must point before it.
    start: usize,
    /// What the name may still have.
    left: usize,
}

impl<'m> Iterator for Labels<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        loop {
            let mut cursor = Cursor::new(self.message.get(self.at..)?);
            match cursor.u8()? {
                0 => return None,
                length @ 1..64 => {
                    let label = cursor.take(length.into())?;
                    let whole = label.len().saturating_add(1);
                    self.left = self.left.checked_sub(whole)?;
                    self.at = self.at.saturating_add(whole);
                    return Some(label);
                }
                high @ 0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([high & 0x3f, cursor.u8()?]));
                    if target >= self.start {
                        return None;
                    }
                    (self.at, self.start) = (target, target);
                }
                _ => return None,
            }
        }
    }
}

impl Display for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for label in self.labels() {
            if !first {
                out.write_char('.')?;
            }
            first = false;
            write_escaped(label, b'.', u8::to_ascii_lowercase, out)?;
        }
        if first { out.write_char('.') } else { Ok(()) }
    }
}

/// Bytes in presentation form; `special` gets a backslash.
fn write_escaped(
    bytes: &[u8],
    special: u8,
    fold: fn(&u8) -> u8,
    out: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for byte in bytes {
        match fold(byte) {
            byte if byte == special || byte == b'\\' => {
                out.write_char('\\')?;
                out.write_char(char::from(byte))?;
            }
            byte @ b'!'..=b'~' => out.write_char(char::from(byte))?,
            b' ' if special == b'"' => out.write_char(' ')?,
            other => write!(out, "\\{other:03}")?,
        }
    }
    Ok(())
}

/// A name in presentation form, kept on the stack.
struct NameText {
    bytes: [u8; NAME_TEXT_BYTES_MAX],
    length: usize,
}

impl NameText {
    fn as_str(&self) -> &str {
        let written = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(written).unwrap_or_default()
    }
}

impl fmt::Write for NameText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.saturating_add(text.len());
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Records of the answer section, up to the first that is broken.
struct Answers<'m> {
    message: &'m [u8],
    rest: Cursor<'m>,
    left: usize,
}

/// A record: shown by its data, as in a zone file.
struct Answer<'m> {
    message: &'m [u8],
    owner: Name<'m>,
    kind: u16,
    data: &'m [u8],
    /// Where the data begin.
    at: usize,
}

impl<'m> Iterator for Answers<'m> {
    type Item = Answer<'m>;

    fn next(&mut self) -> Option<Answer<'m>> {
        self.left = self.left.checked_sub(1)?;
        let offset = |rest: &Cursor<'_>| self.message.len().saturating_sub(rest.rest().len());
        let owner = Name { message: self.message, at: offset(&self.rest) };
        skip_name(&mut self.rest)?;
        let kind = self.rest.u16()?;
        let _class = self.rest.u16()?;
        let _ttl = self.rest.u32()?;
        let data = self.rest.vector16()?;
        let at = offset(&self.rest).saturating_sub(data.len());
        Some(Answer { message: self.message, owner, kind, data, at })
    }
}

impl Answer<'_> {
    /// The name that begins so many bytes into the data.
    fn name(&self, skip: usize) -> Name<'_> {
        Name { message: self.message, at: self.at.saturating_add(skip) }
    }

    /// Nothing when the data do not fit the type.
    fn known(&self, out: &mut fmt::Formatter<'_>) -> Option<fmt::Result> {
        let mut data = Cursor::new(self.data);
        Some(match self.kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(self.data).ok()?).fmt(out),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(self.data).ok()?).fmt(out),
            2 | 5 | 12 | 39 => self.name(0).fmt(out),
            6 => {
                let serial = self.data.last_chunk::<20>()?.first_chunk::<4>()?;
                skip_name(&mut data)?;
                let skip = self.data.len().saturating_sub(data.rest().len());
                write!(out, "{} {} {}", self.name(0), self.name(skip), u32::from_be_bytes(*serial))
            }
            15 => write!(out, "{} {}", data.u16()?, self.name(2)),
            16 | 99 => self.strings(out),
            33 => write!(out, "{} {} {} {}", data.u16()?, data.u16()?, data.u16()?, self.name(6)),
            64 | 65 => write!(out, "{} {}", data.u16()?, self.name(2)),
            257 => {
                let flags = data.u8()?;
                let tag = data.vector8()?.escape_ascii();
                let value = data.rest().get(..data.rest().len().min(ANSWER_BYTES_MAX))?.escape_ascii();
                write!(out, "{flags} {tag} {value}")
            }
            _ => return None,
        })
    }

    /// TXT: character strings one after the other, as whoever reads them joins them.
    fn strings(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = Cursor::new(self.data.get(..ANSWER_BYTES_MAX).unwrap_or(self.data));
        while let Some(length) = data.u8() {
            let bytes = data.take(usize::from(length).min(data.rest().len())).unwrap_or_default();
            write_escaped(bytes, b'"', |byte| *byte, out)?;
        }
        Ok(())
    }
}

impl Display for Answer<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(written) = self.known(out) {
            return written;
        }
        // Unknown data (RFC 3597).
        write!(out, "\\# {} ", self.data.len())?;
        self.data.iter().take(ANSWER_BYTES_MAX).try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// IANA's name of a record type; TYPE and the number where it is not one of the usual (RFC 3597).
struct RecordType(u16);

impl Display for RecordType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            10 => "NULL",
            12 => "PTR",
            13 => "HINFO",
            15 => "MX",
            16 => "TXT",
            25 => "KEY",
            28 => "AAAA",
            29 => "LOC",
            33 => "SRV",
            35 => "NAPTR",
            39 => "DNAME",
            43 => "DS",
            46 => "RRSIG",
            47 => "NSEC",
            48 => "DNSKEY",
            50 => "NSEC3",
            52 => "TLSA",
            64 => "SVCB",
            65 => "HTTPS",
            99 => "SPF",
            249 => "TKEY",
            250 => "TSIG",
            251 => "IXFR",
            252 => "AXFR",
            255 => "ANY",
            257 => "CAA",
            number => return write!(out, "TYPE{number}"),
        })
    }
}

/// IANA's name of a response code.
struct Rcode(u16);

impl Display for Rcode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            number => return write!(out, "RCODE{number}"),
        })
    }
}
