//! The envelope of syslog, and which program's parser reads the message in it.
//!
//! - RFC 5424, with structured data (fields `id.parameter`) and a message with or without a byte order mark. Structured data that
//!   begins and is broken is text of the message: what stands before it is read all the same.
//! - RFC 3164 as it comes over the wire and as it stands in files under /var/log, where the priority is missing; also with
//!   the ISO 8601 times that newer rsyslog writes, and without a host name.
//! - rsyslog's `message repeated 5 times: [ ... ]`: the message is read, and `repeat` says how often.
//!
//! Limits: at most [`PARAMS_MAX`] parameters of structured data become fields (the rest stays in the text); a program's name
//! has at most [`TAG_BYTES_MAX`] bytes, a longer "tag" is taken for text. Nothing is cut. What never happens here: a guess at
//! a header without a time, unless a priority stands before it.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_till, take_while1};
use nom::character::complete::{char, u8 as number8};
use nom::combinator::{map, map_opt, opt, recognize, value};
use nom::multi::many0_count;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::fields::{Fields, Line, linux};
use super::time::{self, Stamp};
use super::{auditd, cron, pam, sshd, su, sudo, useradd, web};
use crate::{LogSource, ParseStatus};

/// Parameters of structured data that become fields. RFC 5424 states no bound; its own identifiers have 12 in all.
const PARAMS_MAX: usize = 64;

/// Longest name of a program: RFC 5424's APP-NAME has 48 bytes, paths and units may be longer.
const TAG_BYTES_MAX: usize = 255;

/// Names of the facilities by their number (RFC 5424, table 1), as syslog.conf writes them.
pub(super) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// What stands before a message.
#[derive(Default)]
struct Header<'t> {
    priority: Option<u8>,
    stamp: Option<Stamp>,
    hostname: &'t str,
    program: &'t str,
    pid: &'t str,
    message_id: &'t str,
    params: Vec<(&'t str, &'t str, &'t str)>,
}

pub(super) fn parse(text: &str) -> Option<Line<'_>> {
    let (rest, priority) = opt(priority).parse(text).ok()?;
    let parsed = match (priority, rest.strip_prefix("1 ")) {
        (Some(_), Some(rest)) => rfc5424(rest),
        _ => rfc3164(rest, priority.is_some()),
    };
    let (message, header) = parsed.ok()?;
    Some(read(Header { priority, ..header }, message))
}

fn read<'t>(header: Header<'t>, message: &'t str) -> Line<'t> {
    let mut fields = Fields::default();
    let (program, module) = split_module(header.program);
    fields.text_unless_empty("hostname", header.hostname);
    fields.text_unless_empty("program", program);
    if !header.pid.is_empty() {
        fields.number("pid", header.pid);
    }
    if let Some(priority) = header.priority {
        fields.text("facility", FACILITIES.get(usize::from(priority >> 3)).copied().unwrap_or_default());
        fields.int("severity", priority & 7);
    }
    fields.text_unless_empty("message_id", header.message_id);
    for (id, name, text) in header.params {
        fields.0.push((Cow::Owned(format!("{id}.{name}")), crate::Value::Text(unescape(text))));
    }
    let message = match repeated(message) {
        Ok((message, times)) => {
            fields.number("repeat", times);
            message
        }
        Err(_) => message,
    };
    let (source, status) = dispatch(program, module, message.trim_ascii(), &mut fields);
    Line { stamp: header.stamp, source, status, fields_hold_text: false, fields }
}

/// Reads the message of a program.
pub(super) fn dispatch<'t>(
    program: &str,
    module: &'t str,
    message: &'t str,
    fields: &mut Fields<'t>,
) -> (LogSource<'static>, ParseStatus) {
    let base = program.rsplit_once('/').map_or(program, |(_, base)| base);
    let (service, reader): (_, Reader) = match base {
        "sshd" | "sshd-session" | "sshd-auth" => ("sshd", sshd::parse),
        "sudo" => ("sudo", sudo::parse),
        "su" => ("su", su::parse),
        "useradd" | "userdel" | "usermod" | "groupadd" | "groupdel" | "groupmod" | "gpasswd" | "passwd"
        | "chpasswd" | "chage" | "chfn" | "chsh" | "newusers" => ("auth", useradd::parse),
        "CRON" | "cron" | "crond" | "crontab" | "anacron" => ("cron", cron::parse),
        "systemd-logind" | "login" => ("auth", pam::session),
        "nginx" | "apache2" | "httpd" => return web_message(message, fields),
        "audispd" | "audisp-syslog" | "audit" => return audit_message(message, fields),
        _ => ("syslog", |_, _| None),
    };
    let by_pam =
        if module.is_empty() { pam::parse(message, fields) } else { pam::of_module(module, message, fields) };
    // PAM writes in the name of the program that asked it. A program of no kind above that speaks PAM is of kind `auth`.
    let service = if by_pam.is_some() && service == "syslog" { "auth" } else { service };
    let status = by_pam
        .unwrap_or_else(|| reader(message, fields).map_or(ParseStatus::Envelope, |()| ParseStatus::Parsed));
    (linux(service), status)
}

type Reader = for<'t> fn(&'t str, &mut Fields<'t>) -> Option<()>;

fn web_message<'t>(message: &'t str, fields: &mut Fields<'t>) -> (LogSource<'static>, ParseStatus) {
    match web::parse(message) {
        Some(line) => {
            fields.0.extend(line.fields.0);
            (line.source, line.status)
        }
        None => (linux("syslog"), ParseStatus::Envelope),
    }
}

fn audit_message<'t>(message: &'t str, fields: &mut Fields<'t>) -> (LogSource<'static>, ParseStatus) {
    match auditd::parse_line(message) {
        Some(line) => {
            fields.0.extend(line.fields.0);
            (line.source, line.status)
        }
        None => (linux("syslog"), ParseStatus::Envelope),
    }
}

/// `<34>`: facility times eight plus severity, at most 191.
fn priority(input: &str) -> IResult<&str, u8> {
    delimited(char('<'), map_opt(number8, |priority| (priority <= 191).then_some(priority)), char('>'))
        .parse(input)
}

fn rfc5424(input: &str) -> IResult<&str, Header<'_>> {
    let stamp = alt((value(None, char('-')), map(time::rfc3339, Some)));
    let (input, (stamp, hostname, program, pid, message_id)) =
        (terminated(stamp, char(' ')), word, word, word, word).parse(input)?;
    let (input, params) = match structured_data(input) {
        Err(_) if input.starts_with('[') => (input, Vec::new()),
        read => read?,
    };
    let (input, _) = (opt(char(' ')), opt(char('\u{feff}'))).parse(input)?;
    Ok((input, Header { stamp, hostname, program, pid, message_id, params, ..Header::default() }))
}

/// A word and the space behind it; `-` is nothing.
fn word(input: &str) -> IResult<&str, &str> {
    map(terminated(is_not(" "), char(' ')), |word| if word == "-" { "" } else { word }).parse(input)
}

type Params<'t> = Vec<(&'t str, &'t str, &'t str)>;

fn structured_data(input: &str) -> IResult<&str, Params<'_>> {
    if let Some(rest) = input.strip_prefix('-') {
        return Ok((rest, Vec::new()));
    }
    let mut params = Vec::new();
    let (mut input, mut id) = preceded(char('['), is_not(" ]\"=")).parse(input)?;
    loop {
        if let Ok((rest, (_, name, _, text, _))) =
            (char(' '), is_not(" ]\"="), tag("=\""), param_value, char('"')).parse(input)
        {
            if params.len() < PARAMS_MAX {
                params.push((id, name, text));
            }
            input = rest;
            continue;
        }
        (input, _) = (many0_count(char(' ')), char(']')).parse(input)?;
        match preceded(char('['), is_not(" ]\"=")).parse(input) {
            Ok::<_, nom::Err<nom::error::Error<&str>>>((rest, next)) => (input, id) = (rest, next),
            Err(_) => return Ok((input, params)),
        }
    }
}

/// Up to the quotation mark that no backslash stands before.
fn param_value(input: &str) -> IResult<&str, &str> {
    let escaped = recognize((char('\\'), nom::character::complete::anychar));
    recognize(many0_count(alt((is_not("\\\""), escaped)))).parse(input)
}

/// RFC 5424: a backslash before `"`, `\` and `]`.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\\\"", "\"").replace("\\]", "]").replace("\\\\", "\\"))
}

fn rfc3164(input: &str, has_priority: bool) -> IResult<&str, Header<'_>> {
    let mut stamp = terminated(alt((time::rfc3164, time::rfc3339)), take_while1(|c| c == ' '));
    let (rest, stamp) = match stamp.parse(input) {
        Ok::<_, nom::Err<nom::error::Error<&str>>>((rest, stamp)) => (rest, Some(stamp)),
        Err(_) if has_priority => (input, None),
        Err(error) => return Err(error),
    };
    // Without a host name the first word is the tag, and a tag ends with a colon.
    let (after_host, first) = take_till(|c| c == ' ').parse(rest)?;
    let has_host = stamp.is_some() && !first.is_empty() && !first.ends_with(':');
    let (rest, hostname) = if has_host { (after_host.trim_ascii_start(), first) } else { (rest, "") };
    // Some devices write their name twice.
    let rest = rest.strip_prefix(hostname).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(rest);
    if rest.starts_with("last message repeated ") {
        return Ok((rest, Header { stamp, hostname, ..Header::default() }));
    }
    let (message, (program, pid)) = program(rest).unwrap_or((rest, ("", "")));
    Ok((message, Header { stamp, hostname, program, pid, ..Header::default() }))
}

/// `program[pid]: `, `program: ` or `program `. What a device begins its message with is none: `date=2026-11-23`, or a number.
fn program(input: &str) -> IResult<&str, (&str, &str)> {
    let is_name =
        |name: &str| name.len() <= TAG_BYTES_MAX && !name.contains('=') && name.contains(char::is_alphabetic);
    let name = map_opt(is_not(" :["), |name: &str| is_name(name).then_some(name));
    let pid = delimited(char('['), is_not("] "), char(']'));
    let (rest, (name, pid, colon)) = (name, opt(pid), opt(char(':'))).parse(input)?;
    if colon.is_none() && !rest.is_empty() && !rest.starts_with(' ') {
        return nom::combinator::fail().parse(input);
    }
    Ok((rest.strip_prefix(' ').unwrap_or(rest), (name, pid.unwrap_or_default())))
}

/// `sshd(pam_unix)`, as PAM named itself before 2006: the program and the module.
fn split_module(program: &str) -> (&str, &str) {
    program
        .split_once("(pam_")
        .and_then(|(name, module)| Some((name, module.strip_suffix(')')?)))
        .map_or((program, ""), |(name, module)| (name, module))
}

/// rsyslog's reduction: `message repeated 5 times: [ MESSAGE]`.
fn repeated(input: &str) -> IResult<&str, &str> {
    let digits = take_while1(|c: char| c.is_ascii_digit());
    let (rest, times) = delimited(tag("message repeated "), digits, tag(" times: [")).parse(input)?;
    Ok((rest.trim_ascii().strip_suffix(']').unwrap_or(rest), times))
}
