//! Linux audit records, and the events that several of them make.
//!
//! The kernel describes one event in several records of one serial number (`msg=audit(TIME:SERIAL)`): SYSCALL, EXECVE, CWD, PATH ...,
//! PROCTITLE. Records of one serial and one node become one event; its fields are those of all records, in order, so that `type`,
//! `name` or `a0` may have several values. Records of other events may stand between them: of those that begin behind an event,
//! at most 15, else it is taken for over. Of an event that two batches hold each has a part.
//!
//! - What audit writes in hexadecimal because it holds spaces, quotes or control characters is decoded (`exe`, `comm`, `name`,
//!   `cwd`, `cmd`, `acct`, `proctitle`, `key`, ... and the arguments of EXECVE); `saddr` gives `saddr_fam`, `laddr`, `lport`, `path`.
//! - Enriched logs (`UID="root"` behind U+001D) give the upper-case names; in plain logs `SYSCALL` and `ARCH` are looked up.
//! - An execve or execveat that did not fail has category `process_creation` and Sigma's `Image`, `CommandLine`,
//!   `CurrentDirectory`, `User`, `ProcessId`, `ParentProcessId`. `CommandLine` stands twice where it matters: quoted, so that
//!   a shell would read the same arguments, and joined by plain spaces, as Sysmon for Linux writes it and many rules expect.
//! - `action`, `outcome`, `user`, `user_target`, `src_ip` are derived and stand first.
//!
//! Limits: at most [`EVENT_RECORDS_MAX`] records an event and [`PAIRS_MAX`] pairs a record. Of the arguments that were read
//! [`ARGUMENTS_MAX`] become fields of their own, while `CommandLine` has all of them, and of all pairs [`FIELDS_MAX`]: of an event
//! that has more, what the records of files say beside their names ([`FILE_DETAILS`], of whatever record) goes first. Pairs lie
//! [`NESTING_MAX`] deep within each other at most. What is beyond stays in the text. An event of too many fields is `envelope`, as a
//! line that is understood in part.

use std::borrow::Cow;

use memchr::memmem;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::char;
use nom::combinator::{map, opt};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::fields::{Fields, Line, address};
use super::time::{self, Stamp};
use super::{syscalls, text};
use crate::{FIELDS_MAX, LogSource, ParseStatus, Value};

/// Most records of one event. The kernel splits an EXECVE of ARG_MAX (2 MiB, hexadecimal) into some 600 of 7,500 bytes.
pub(super) const EVENT_RECORDS_MAX: usize = 1024;

/// Most pairs read from one record: a record of 64 KiB could hold 16,000, real ones hold fewer than 100.
const PAIRS_MAX: usize = 4096;

/// Most arguments that become fields: rules that count them stop long before, and what else the event says is to have room.
const ARGUMENTS_MAX: usize = FIELDS_MAX / 2;

/// How deep pairs lie within pairs: a message holds them, and in it a socket's address. What lies deeper is text.
const NESTING_MAX: usize = 4;

/// How far into a line the serial may begin: `node=` with a host name and the longest type lie before it.
const SERIAL_WITHIN: usize = 512;

/// Fields that audit encodes in hexadecimal when their bytes could break the record (audit_log_untrustedstring).
const ENCODED: &[&str] = &[
    "acct",
    "cgroup",
    "cmd",
    "comm",
    "cwd",
    "data",
    "dir",
    "exe",
    "file",
    "grp",
    "key",
    "name",
    "new-chardev",
    "new-disk",
    "new-rng",
    "new_group",
    "ocomm",
    "old-disk",
    "path",
    "proctitle",
    "vm",
    "watch",
];

/// What PATH records say of a file beside its name and what was done with it. Loading a module makes hundreds of these records.
const FILE_DETAILS: &[&str] = &[
    "OGID",
    "OUID",
    "cap_fe",
    "cap_fi",
    "cap_fp",
    "cap_frootid",
    "cap_fver",
    "dev",
    "inode",
    "item",
    "mode",
    "obj",
    "ogid",
    "ouid",
    "rdev",
];

/// Types that end an event: each is the only record of its event, or the last one.
const LAST_TYPES: &[&str] = &["EOE", "PROCTITLE"];

/// How the types of single records start: what programs tell through the kernel.
const SINGLE_TYPES: &[&str] = &[
    "USER_",
    "CRED_",
    "SERVICE_",
    "SYSTEM_",
    "DAEMON_",
    "ADD_",
    "DEL_",
    "GRP_",
    "ACCT_",
    "ROLE_",
    "CRYPTO_",
    "LABEL_",
    "VIRT_",
    "CHGRP_ID",
    "CHUSER_ID",
    "USYS_",
    "TRUSTED_APP",
    "RESP_",
    "ANOM_LOGIN_",
    "ANOM_ACCESS_FS",
    "SOFTWARE_UPDATE",
];

/// What the type of a record says of the event: the types of user space, what happened, which of them act on an account.
const ACTIONS: &[(&str, &str)] = &[
    ("USER_LOGIN", "login"),
    ("USER_LOGOUT", "logout"),
    ("USER_AUTH", "auth"),
    ("USER_ACCT", "account"),
    ("USER_ERR", "auth"),
    ("USER_START", "session_open"),
    ("USER_END", "session_close"),
    ("USER_CMD", "command"),
    ("USER_CHAUTHTOK", "password_change"),
    ("USER_MGMT", "user_modify"),
    ("USER_TTY", "tty"),
    ("TTY", "tty"),
    ("ADD_USER", "user_add"),
    ("DEL_USER", "user_delete"),
    ("ADD_GROUP", "group_add"),
    ("DEL_GROUP", "group_delete"),
    ("GRP_MGMT", "group_modify"),
    ("ACCT_LOCK", "user_lock"),
    ("ACCT_UNLOCK", "user_unlock"),
    ("CHUSER_ID", "user_modify"),
    ("CRED_ACQ", "credentials"),
    ("CRED_DISP", "credentials"),
    ("CRED_REFR", "credentials"),
    ("LOGIN", "login_id"),
    ("SERVICE_START", "service_start"),
    ("SERVICE_STOP", "service_stop"),
    ("SYSTEM_BOOT", "boot"),
    ("SYSTEM_SHUTDOWN", "shutdown"),
    ("CONFIG_CHANGE", "audit_config"),
    ("DAEMON_START", "audit_start"),
    ("DAEMON_END", "audit_stop"),
    ("DAEMON_ABORT", "audit_stop"),
    ("DAEMON_CONFIG", "audit_config"),
    ("AVC", "access_check"),
    ("USER_AVC", "access_check"),
    ("SECCOMP", "seccomp"),
    ("ANOM_ABEND", "crash"),
    ("ANOM_PROMISCUOUS", "promiscuous"),
    ("KERN_MODULE", "kernel_module"),
    ("BPF", "bpf"),
];

/// Actions whose `acct` (or `id`) is the account that is acted upon.
const ON_ACCOUNT: &[&str] = &[
    "user_add",
    "user_delete",
    "user_modify",
    "user_lock",
    "user_unlock",
    "group_modify",
    "password_change",
];

/// By what records belong together: node and `TIME:SERIAL`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Serial<'t> {
    node: &'t [u8],
    id: &'t [u8],
}

/// The serial of a line, if it is an audit record.
pub(super) fn serial(line: &[u8]) -> Option<Serial<'_>> {
    let node = match line.strip_prefix(b"node=") {
        Some(rest) => rest.split(|byte| *byte == b' ').next()?,
        None if line.starts_with(b"type=") => &[],
        None => return None,
    };
    let start = line.get(..line.len().min(SERIAL_WITHIN))?;
    let at = memmem::find(start, b" msg=audit(")?;
    let id = line.get(at..)?.get(b" msg=audit(".len()..)?;
    let end = memchr::memchr(b')', id.get(..id.len().min(64))?)?;
    Some(Serial { node, id: id.get(..end)? })
}

/// Whether a line is surely the last record of its event.
pub(super) fn ends_event(line: &[u8]) -> bool {
    let rest = match memmem::find(line.get(..line.len().min(SERIAL_WITHIN)).unwrap_or_default(), b"type=") {
        Some(at) => line.get(at..).and_then(|line| line.get(5..)).unwrap_or_default(),
        None => return true,
    };
    let kind = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    LAST_TYPES.iter().any(|last| last.as_bytes() == kind)
        || SINGLE_TYPES.iter().any(|single| kind.starts_with(single.as_bytes()))
}

/// One record, as one event.
pub(super) fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut assembly = Assembly::default();
    assembly.add(&Cow::Borrowed(line)).then(|| assembly.finish())
}

/// Records of one serial, put together.
#[derive(Default)]
pub(super) struct Assembly<'t> {
    stamp: Option<Stamp>,
    /// The last record was one of arguments: what follows goes on with these.
    in_execve: bool,
    fields: Fields<'t>,
}

impl<'t> Assembly<'t> {
    /// Adds a record. False: it is none, and nothing was added.
    #[expect(clippy::ptr_arg, reason = "a borrowed text keeps the lifetime of its batch")]
    pub(super) fn add(&mut self, line: &Cow<'t, str>) -> bool {
        let (first, in_execve) = (self.stamp.is_none(), self.in_execve);
        let mut read = None;
        self.fields.read(line, |line, fields| read = record(line, first, in_execve, fields));
        let Some((stamp, in_execve)) = read else { return false };
        self.stamp.get_or_insert(stamp);
        self.in_execve = in_execve;
        true
    }

    /// The event.
    pub(super) fn finish(mut self) -> Line<'t> {
        let (derived, executed) = derive(&self.fields);
        let mut fields = Fields::default();
        fields.extend_owned(derived);
        let status = if self.cut() { ParseStatus::Envelope } else { ParseStatus::Parsed };
        fields.0.append(&mut self.fields.0);
        let category = if executed { "process_creation" } else { "" };
        let source = LogSource { category, product: "linux", service: "auditd" };
        Line { stamp: self.stamp, source, status, fields_hold_text: false, fields }
    }

    /// Keeps as many fields as an event may have; whether any are lost but arguments.
    fn cut(&mut self) -> bool {
        let (mut execve, mut arguments) = (Execve::default(), 0_usize);
        self.fields.0.retain(|(name, value)| {
            let is_argument = execve.has_argument(name, value);
            arguments = arguments.saturating_add(usize::from(is_argument));
            !is_argument || arguments <= ARGUMENTS_MAX
        });
        let is_cut = self.fields.0.len() > FIELDS_MAX;
        if is_cut {
            self.fields.0.retain(|(name, _)| !FILE_DETAILS.contains(&&**name));
        }
        self.fields.0.truncate(FIELDS_MAX);
        is_cut
    }
}

/// Follows the fields of an event: arguments of a process are those of EXECVE records.
#[derive(Default)]
struct Execve {
    is_here: bool,
}

impl Execve {
    fn has_argument(&mut self, name: &str, value: &Value<'_>) -> bool {
        if name == "type" {
            self.is_here = value.as_text() == Some("EXECVE");
        }
        self.is_here && name.strip_prefix('a').is_some_and(|rest| rest.parse::<u32>().is_ok())
    }
}

/// `[node=N ]type=T msg=audit(TIME:SERIAL): PAIRS[U+001D PAIRS]`; says as well whether it is one of arguments. One that goes on with
/// those before says nothing by its type.
fn record<'t>(line: &'t str, first: bool, in_execve: bool, fields: &mut Fields<'t>) -> Option<(Stamp, bool)> {
    let (body, (node, kind, stamp, serial)) = head(line).ok()?;
    let is_execve = kind == "EXECVE";
    if !(is_execve && in_execve) {
        fields.text("type", kind);
    }
    if first {
        fields.text_unless_empty("node", node.unwrap_or_default());
        fields.text("serial", serial);
    }
    let body = body.trim_ascii_start();
    let body = match kind {
        "AVC" | "USER_AVC" => access_check(body, fields),
        _ => body,
    };
    for part in body.split('\u{1d}') {
        pairs(kind, part, NESTING_MAX, fields);
    }
    Some((stamp, is_execve))
}

type Head<'t> = (Option<&'t str>, &'t str, Stamp, &'t str);

fn head(line: &str) -> IResult<&str, Head<'_>> {
    let word = |input| take_while1(|c| c != ' ')(input);
    let node = opt(delimited(tag("node="), word, char(' ')));
    let kind = delimited(tag("type="), word, char(' '));
    let serial = take_while1(|c: char| c.is_ascii_digit());
    let id = delimited(tag("msg=audit("), (terminated(time::epoch, char(':')), serial), char(')'));
    let (rest, (node, kind, (stamp, serial), _)) = (node, kind, id, opt(char(':'))).parse(line)?;
    Ok((rest, (node, kind, stamp, serial)))
}

/// SELinux: `avc:  denied  { read write } for  pid=...`; gives back what follows.
fn access_check<'t>(body: &'t str, fields: &mut Fields<'t>) -> &'t str {
    let parsed: IResult<&str, _> = preceded(
        (tag("avc:"), take_while(|c| c == ' ')),
        (take_while1(|c| c != ' '), delimited((tag("  { "),), take_till(|c| c == '}'), char('}'))),
    )
    .parse(body);
    match parsed {
        Ok((rest, (result, permissions))) => {
            fields.text("seresult", result);
            fields.text("seperms", permissions.trim_ascii_end());
            rest
        }
        Err(_) => body,
    }
}

/// A pair's value as it is written.
#[derive(Clone, Copy)]
enum Written<'t> {
    Quoted(&'t str),
    Nested(&'t str),
    Bare(&'t str),
}

/// Reads pairs, and those that lie within them, so many levels deep.
fn pairs<'t>(kind: &str, body: &'t str, levels: usize, fields: &mut Fields<'t>) {
    let mut rest = body;
    let behind_braces = body.rfind('}').map_or(0, |last| body.len().saturating_sub(last));
    for _ in 0..PAIRS_MAX {
        rest = rest.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return;
        }
        match pair(rest, behind_braces > 0 && rest.len() >= behind_braces) {
            Ok((after, (name, Written::Nested(inner)))) => {
                // Only a message holds pairs; a nested value of another name is text.
                if levels > 1 && (name == "msg" || name == "SADDR") {
                    pairs(kind, inner, levels.saturating_sub(1), fields);
                } else {
                    push(kind, name, Written::Quoted(inner), fields);
                }
                rest = after;
            }
            Ok((after, (name, value))) => {
                push(kind, name, value, fields);
                rest = after;
            }
            // A word between pairs: `auditd normal halt, sending auid=...`.
            Err(_) => rest = rest.split_once(' ').map_or("", |(_, rest)| rest),
        }
    }
}

/// A brace is only looked for where one ends: else many that open would each be looked for to the end of the line.
fn pair(input: &str, has_end_of_braces: bool) -> IResult<&str, (&str, Written<'_>)> {
    let name = take_while1(|c: char| c.is_ascii_alphanumeric() || "_-[].".contains(c));
    let (rest, name) = terminated(name, char('=')).parse(input)?;
    if let Some(inner) = rest.strip_prefix('\'') {
        // A message may hold apostrophes: it ends with the last one.
        let end = if name == "msg" { inner.rfind('\'') } else { inner.find('\'') };
        let (inner, rest) = end.map_or((inner, ""), |end| {
            let (inner, rest) = inner.split_at_checked(end).unwrap_or((inner, ""));
            (inner, rest.strip_prefix('\'').unwrap_or_default())
        });
        return Ok((rest, (name, Written::Nested(inner))));
    }
    let quoted = map(delimited(char('"'), take_till(|c| c == '"'), char('"')), Written::Quoted);
    let braced = map(delimited(char('{'), take_till(|c| c == '}'), char('}')), Written::Nested);
    let bare = map(take_till(|c| c == ' '), Written::Bare);
    let (rest, value) = match has_end_of_braces {
        true => alt((quoted, braced, bare)).parse(rest)?,
        false => alt((quoted, bare)).parse(rest)?,
    };
    Ok((rest, (name, value)))
}

fn push<'t>(kind: &str, name: &'t str, written: Written<'t>, fields: &mut Fields<'t>) {
    let argument = kind == "EXECVE" && name.starts_with('a') && name != "argc";
    let value = match written {
        Written::Quoted(value) | Written::Nested(value) => Cow::Borrowed(value),
        Written::Bare("(null)") => return fields.0.push((Cow::Borrowed(name), Value::Null)),
        Written::Bare(value) => {
            let value = value.strip_suffix([',', '"']).unwrap_or(value);
            let encoded = argument || ENCODED.contains(&name);
            encoded
                .then(|| unhex(value))
                .flatten()
                .map_or(Cow::Borrowed(value), |bytes| Cow::Owned(decoded(name, bytes)))
        }
    };
    match name {
        "saddr" => socket(&value, fields),
        // audit writes several keys of one event as one, joined by U+0001.
        "key" if value.contains('\u{1}') => {
            for key in value.split('\u{1}') {
                fields.text("key", key.to_owned());
            }
            return;
        }
        // An argument above the record's room comes in parts: a1_len=9000 a1[0]=... a1[1]=...
        _ if argument && name.ends_with("_len") => return,
        _ if argument && name.ends_with(']') => return part(name, value, fields),
        _ => {}
    }
    fields.0.push((Cow::Borrowed(name), Value::Text(value)));
}

/// One part of an argument: the first makes the field, the others go on with it.
fn part<'t>(name: &'t str, value: Cow<'t, str>, fields: &mut Fields<'t>) {
    let Some((argument, part)) = name.split_once('[') else { return };
    match fields.0.last_mut() {
        Some((known, Value::Text(text))) if known == argument && part != "0]" => {
            text.to_mut().push_str(&value);
        }
        _ => fields.0.push((Cow::Borrowed(argument), Value::Text(value))),
    }
}

/// The bytes of hexadecimal digits in capitals, as audit writes them.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.saturating_sub(b'0')),
        b'A'..=b'F' => Some(byte.saturating_sub(b'A').saturating_add(10)),
        _ => None,
    };
    if pairs.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Arguments in a process title are separated by NUL.
fn decoded(name: &str, mut bytes: Vec<u8>) -> String {
    if name == "proctitle" {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    }
    text::decode_owned(bytes)
}

/// The parts of a socket address (struct sockaddr of Linux, the family in the byte order of the host: little-endian).
fn socket<'t>(saddr: &str, fields: &mut Fields<'t>) {
    let Some(bytes) = unhex(saddr) else { return };
    match bytes.as_slice() {
        [2, 0, p1, p2, a, b, c, d, ..] => {
            fields.text("saddr_fam", "inet");
            fields.text("laddr", std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string());
            fields.text("lport", u16::from_be_bytes([*p1, *p2]).to_string());
        }
        [10, 0, p1, p2, _, _, _, _, rest @ ..] => {
            let Some(address) = rest.first_chunk::<16>() else { return };
            fields.text("saddr_fam", "inet6");
            fields.text("laddr", std::net::Ipv6Addr::from(*address).to_string());
            fields.text("lport", u16::from_be_bytes([*p1, *p2]).to_string());
        }
        [1, 0, path @ ..] => {
            fields.text("saddr_fam", "local");
            // An abstract socket's name starts with NUL; `@` is how it is written.
            let (mark, path) = path.strip_prefix(&[0]).map_or(("", path), |path| ("@", path));
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            fields.text("path", format!("{mark}{}", text::decode(path)));
        }
        [0, 0, ..] => fields.text("saddr_fam", "unspec"),
        [16, 0, ..] => fields.text("saddr_fam", "netlink"),
        _ => {}
    }
}

/// What the records say together. True: a process was made.
fn derive<'e>(fields: &'e Fields<'_>) -> (Fields<'e>, bool) {
    let mut derived = Fields::default();
    let syscall = fields
        .find("arch")
        .zip(fields.find("syscall"))
        .and_then(|(arch, number)| syscalls::name(arch, number));
    let name = fields.find("SYSCALL").or(syscall);
    let kind = fields.find("type").unwrap_or_default();
    let failed = fields.find("success") == Some("no");
    let has_arguments =
        fields.0.iter().any(|(name, value)| name == "type" && value.as_text() == Some("EXECVE"));
    let executed = !failed && (has_arguments || matches!(name, Some("execve" | "execveat")));
    let action = match ACTIONS.iter().find(|(known, _)| *known == kind) {
        _ if executed => Cow::Borrowed("exec"),
        Some((_, action)) => Cow::Borrowed(*action),
        None => name.map_or_else(|| Cow::Owned(kind.to_lowercase()), Cow::Borrowed),
    };
    derived.text("action", action.clone());
    derived.text_unless_empty("outcome", outcome(fields));
    accounts(&action, fields, &mut derived);
    peers(name, fields, &mut derived);
    if let (None, Some(name)) = (fields.find("SYSCALL"), syscall) {
        derived.text("SYSCALL", name);
    }
    if let (None, Some(arch)) = (fields.find("ARCH"), fields.find("arch").and_then(syscalls::arch)) {
        derived.text("ARCH", arch);
    }
    if executed {
        process(fields, &mut derived);
    }
    (derived, executed)
}

fn outcome(fields: &Fields<'_>) -> &'static str {
    match fields.find("res").or_else(|| fields.find("success")).or_else(|| fields.find("result")) {
        Some("success" | "yes" | "1") => "success",
        Some("failed" | "no" | "0" | "fail") => "failure",
        _ => match fields.find("seresult").or_else(|| fields.find("apparmor")) {
            Some("denied" | "DENIED") => "failure",
            Some("granted" | "ALLOWED") => "success",
            _ => "",
        },
    }
}

/// The user who acts, and the account that is acted upon.
fn accounts<'e>(action: &str, fields: &'e Fields<'_>, derived: &mut Fields<'e>) {
    let account = known(fields, "acct").or_else(|| known(fields, "ID")).or_else(|| known(fields, "id"));
    if ON_ACCOUNT.contains(&action) {
        derived.text_unless_empty("user_target", account.unwrap_or_default());
        derived.text_unless_empty("user", user(fields).unwrap_or_default());
    } else {
        let account = known(fields, "acct").or(if action == "login" { account } else { None });
        derived.text_unless_empty("user", account.or_else(|| user(fields)).unwrap_or_default());
    }
}

/// The name of `uid`: what an enriched log says, root, or the number.
fn user<'e>(fields: &'e Fields<'_>) -> Option<&'e str> {
    known(fields, "UID").or_else(|| known(fields, "uid").map(|uid| if uid == "0" { "root" } else { uid }))
}

fn known<'e>(fields: &'e Fields<'_>, name: &str) -> Option<&'e str> {
    fields.find(name).filter(|text| !matches!(*text, "?" | "" | "unset" | "4294967295"))
}

/// Where an action comes from, and where a connection goes to.
fn peers<'e>(syscall: Option<&str>, fields: &'e Fields<'_>, derived: &mut Fields<'e>) {
    if let Some(peer) = known(fields, "addr").and_then(address) {
        derived.text("src_ip", peer);
        if let Some(port) = known(fields, "rport") {
            derived.number("src_port", port);
        }
    }
    let (Some(host), Some(port)) = (known(fields, "laddr"), known(fields, "lport")) else { return };
    let (name, port_name) = match syscall {
        Some("connect" | "sendto" | "sendmsg") => ("dst_ip", "dst_port"),
        Some("accept" | "accept4" | "recvfrom" | "recvmsg") => ("src_ip", "src_port"),
        _ => return,
    };
    derived.text(name, host);
    derived.number(port_name, port);
}

/// Sigma's fields of a new process.
fn process<'e>(fields: &'e Fields<'_>, derived: &mut Fields<'e>) {
    let arguments = arguments(fields);
    if let Some(image) = known(fields, "exe").or(arguments.first().copied()) {
        derived.text("Image", image);
    }
    if !arguments.is_empty() {
        let quoted = arguments.iter().map(|argument| quote(argument)).collect::<Vec<_>>().join(" ");
        let plain = arguments.join(" ");
        let differs = quoted != plain;
        derived.text("CommandLine", quoted);
        if differs {
            derived.text("CommandLine", plain);
        }
    } else if let Some(title) = known(fields, "proctitle") {
        derived.text("CommandLine", title);
    }
    for (name, native) in
        [("CurrentDirectory", "cwd"), ("User", ""), ("ProcessId", "pid"), ("ParentProcessId", "ppid")]
    {
        let value = if native.is_empty() { user(fields) } else { known(fields, native) };
        match value {
            Some(value) if name.ends_with("Id") => derived.number(name, value),
            Some(value) => derived.text(name, value),
            None => {}
        }
    }
}

/// The arguments of the EXECVE records, in order.
fn arguments<'e>(fields: &'e Fields<'_>) -> Vec<&'e str> {
    let mut execve = Execve::default();
    let arguments = fields.0.iter().filter(|(name, value)| execve.has_argument(name, value));
    arguments.map(|(_, value)| value.as_text().unwrap_or_default()).collect()
}

/// An argument as a shell would have to read it. The text itself stays in one piece where that can be, because rules look
/// for it: single quotes, else double quotes, else single quotes around what is no single quote.
fn quote(argument: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "_-./,:=+@%^".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        Cow::Borrowed(argument)
    } else if !argument.contains('\'') {
        Cow::Owned(format!("'{argument}'"))
    } else if !argument.contains(['"', '$', '`', '\\', '!']) {
        Cow::Owned(format!("\"{argument}\""))
    } else {
        Cow::Owned(format!("'{}'", argument.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_in_capitals_and_rejects_the_rest() {
        assert_eq!(unhex("2F746D70"), Some(b"/tmp".to_vec()));
        for text in ["", "2", "2F7", "2f74", "/tmp"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn quotes_only_what_a_shell_would_read_otherwise() {
        for (argument, quoted) in [
            ("/bin/ls", "/bin/ls"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "\"it's\""),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("*", "'*'"),
        ] {
            assert_eq!(quote(argument), quoted);
        }
    }

    #[test]
    fn reads_serials_of_records_and_of_nothing_else() {
        let id = |line: &'static str| serial(line.as_bytes());
        let first = id("type=SYSCALL msg=audit(1700000000.123:7): arch=c000003e");
        assert!(first.is_some());
        assert_eq!(first, id("type=PATH msg=audit(1700000000.123:7): item=0"));
        assert_ne!(first, id("node=a type=PATH msg=audit(1700000000.123:7): item=0"));
        assert_ne!(first, id("type=PATH msg=audit(1700000000.123:8): item=0"));
        assert_eq!(id("type=SYSCALL no serial"), None);
        assert_eq!(id("Nov 23 09:15:07 web01 audispd: type=PATH msg=audit(1.0:1): "), None);
    }
}
