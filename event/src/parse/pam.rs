//! What PAM's modules say in the name of the program that asked them: `pam_unix(sshd:auth): ...`, and the older form in which
//! the module stands in the tag: `sshd(pam_unix)[19939]: ...`; and sessions as systemd-logind and login write them.
//!
//! `user` is the account that is authenticated or whose session it is; `by_user` asked for the session. Values of a failure's
//! list (`logname= uid=0 ... rhost=...  user=...`) are the client's in part: the first of a name counts, and the user is all
//! that stands behind the last name, so that a user called `x rhost=192.0.2.1` stays one. Limits: those of the record.

use nom::bytes::complete::{is_not, tag};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::fields::Fields;
use crate::ParseStatus;

/// Known messages of modules, by how they start: what happened and how it ended. What follows is read as a reason, but
/// for the kinds that have a reader.
const KINDS: &[(&str, &str, &str, Shape)] = &[
    ("authentication failure;", "pam_auth", "failure", Shape::Pairs),
    ("authentication success;", "pam_auth", "success", Shape::Pairs),
    ("session opened for user ", "session_open", "success", Shape::Opened),
    ("session closed for user ", "session_close", "", Shape::User),
    ("check pass; user unknown", "user_unknown", "failure", Shape::Reason),
    ("password changed for ", "password_change", "success", Shape::Target),
    ("account ", "account_expired", "failure", Shape::FirstWord),
    ("expired password for user ", "account_expired", "failure", Shape::FirstWord),
    ("password for user ", "account_expired", "", Shape::FirstWord),
    ("bad username [", "user_unknown", "failure", Shape::Bracket),
    ("could not identify user (from getpwnam(", "user_unknown", "failure", Shape::Reason),
    ("could not identify password for [", "pam_auth", "failure", Shape::Bracket),
    ("conversation failed", "pam_auth", "failure", Shape::Reason),
    ("auth could not identify password for [", "pam_auth", "failure", Shape::Bracket),
    ("Consecutive login failures for user ", "account_locked", "failure", Shape::FirstWord),
    ("received for user ", "pam_auth", "failure", Shape::Received),
    ("requirement ", "pam_requirement", "failure", Shape::Requirement),
    ("access denied for user ", "pam_access", "failure", Shape::Denied),
    ("Access denied for user ", "pam_access", "failure", Shape::Denied),
    ("Cannot create session: ", "session_open", "failure", Shape::Reason),
    ("Failed to create session: ", "session_open", "failure", Shape::Reason),
    ("Root access allowed", "pam_auth", "success", Shape::Reason),
    ("granted access to user ", "pam_access", "success", Shape::FirstWord),
];

#[derive(Clone, Copy)]
enum Shape {
    Pairs,
    Opened,
    User,
    Target,
    FirstWord,
    Bracket,
    Received,
    Requirement,
    Denied,
    Reason,
}

/// Reads a message that starts with a module's name. `None`: it is none of PAM's.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<ParseStatus> {
    let (rest, (module, service, kind)) = prefix(message).ok()?;
    fields.text("pam_module", module);
    fields.text("pam_service", service);
    fields.text_unless_empty("pam_type", kind.unwrap_or_default());
    Some(status(read(rest, fields)))
}

/// Reads a message of a module that stands in the tag. The tag names it without `pam_`.
pub(super) fn of_module<'t>(
    module: &'t str,
    message: &'t str,
    fields: &mut Fields<'t>,
) -> Option<ParseStatus> {
    fields.text("pam_module", format!("pam_{module}"));
    Some(status(read(message, fields)))
}

/// `PAM 2 more authentication failures; ...`, `PAM: Authentication failure for root from ...`,
/// `PAM service(sshd) ignoring max retries; 6 > 3`. What happened is known already.
pub(super) fn of_sshd<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let pairs = [" more authentication failures;", " more authentication failure;"]
        .into_iter()
        .find_map(|known| text.split_once(known));
    if let Some((times, rest)) = pairs {
        fields.number("repeat", times);
        pairs_of(rest, fields);
    } else if let Some((reason, rest)) = text.split_once(" for ") {
        let (account, host) = rest.rsplit_once(" from ").unwrap_or((rest, ""));
        let user =
            ["invalid user ", "illegal user "].into_iter().find_map(|start| account.strip_prefix(start));
        fields.text("reason", reason);
        fields.text("user", user.unwrap_or(account));
        fields.origin(host);
    } else {
        fields.text("reason", text);
    }
    Some(())
}

/// systemd-logind and login.
pub(super) fn session<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    if let Some(rest) = message.strip_prefix("New session ") {
        let (session, user) = rest.split_once(" of user ")?;
        let session = session.trim_start_matches('\'').trim_end_matches('\'');
        let user = user.split(" with class").next()?.trim_end_matches('.');
        fields.action("session_new", "success");
        fields.text("session", session);
        fields.text("user", user.trim_start_matches('\'').trim_end_matches('\''));
        return Some(());
    }
    if let Some(rest) = message.strip_prefix("Removed session ").or_else(|| logged_out(message)) {
        fields.action("session_removed", "");
        fields.text("session", rest.trim_end_matches('.'));
        return Some(());
    }
    login(message, fields)
}

fn logged_out(message: &str) -> Option<&str> {
    Some(message.strip_prefix("Session ")?.split_once(" logged out")?.0)
}

/// `FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication failure`, `ROOT LOGIN on '/dev/tty1'`, `LOGIN ON tty1 BY ana`.
fn login<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    if let Some(rest) = message.strip_prefix("FAILED LOGIN ") {
        let (terminal, rest) = rest.split_once(" on ")?.1.split_once(" FOR ")?;
        let (user, reason) = rest.split_once(", ").unwrap_or((rest, ""));
        fields.action("login", "failure");
        fields.text("tty", terminal.trim_matches('\''));
        fields.text("user", user.trim_matches('\''));
        fields.text_unless_empty("reason", reason);
        return Some(());
    }
    let (terminal, user) = match message.strip_prefix("LOGIN ON ") {
        Some(rest) => rest.split_once(" BY ")?,
        None => {
            let rest = message.strip_prefix("ROOT LOGIN ")?;
            (rest.strip_prefix("on ").or_else(|| rest.strip_prefix("ON "))?, "root")
        }
    };
    fields.action("login", "success");
    fields.text("tty", terminal.trim_matches('\''));
    fields.text("user", user.split(" FROM ").next()?);
    Some(())
}

/// `pam_unix(sshd:auth): `, also without a type.
fn prefix(input: &str) -> IResult<&str, (&str, &str, Option<&str>)> {
    let (rest, module) = nom::combinator::recognize((tag("pam_"), is_not(" (:"))).parse(input)?;
    let names = (is_not(":) "), opt(preceded(char(':'), is_not(") "))));
    let (rest, (service, kind)) = delimited(char('('), names, char(')')).parse(rest)?;
    let (rest, _) = char(':').parse(rest)?;
    Ok((rest.trim_ascii_start(), (module, service, kind)))
}

fn status(read: Option<()>) -> ParseStatus {
    read.map_or(ParseStatus::Envelope, |()| ParseStatus::Parsed)
}

fn read<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let known = KINDS.iter().find_map(|(start, action, outcome, shape)| {
        Some((text.strip_prefix(start)?, action, outcome, shape))
    });
    match known {
        Some((rest, action, outcome, shape)) => {
            fields.action(action, outcome);
            shape.read(rest, fields)
        }
        None => tally(text, fields),
    }
}

impl Shape {
    fn read<'t>(self, text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
        match self {
            Self::Pairs => pairs_of(text, fields),
            Self::Opened => {
                let (user, by) = text.split_once(" by ").unwrap_or((text, ""));
                fields.text("user", without_uid(user).0);
                let (by, uid) = without_uid(by);
                fields.text_unless_empty("by_user", by);
                fields.text_unless_empty("by_uid", uid);
            }
            Self::User => fields.text("user", text.trim_ascii()),
            Self::Target => fields.text("user_target", text.trim_ascii()),
            Self::FirstWord => {
                let (user, reason) = text.split_once(' ').unwrap_or((text, ""));
                fields.text("user", user);
                fields.text_unless_empty("reason", reason);
            }
            Self::Bracket => fields.text("user", text.split_once(']')?.0),
            Self::Received => {
                let (user, reason) = text.split_once(": ")?;
                fields.text("user", user);
                fields.text("reason", reason);
            }
            Self::Requirement => {
                let (requirement, user) = text.split_once(" not met by user ")?;
                fields.text("reason", requirement);
                fields.text("user", user.trim_matches('"'));
            }
            Self::Denied => {
                let (user, reason) = text.split_once([' ', ':'])?;
                fields.text("user", user.trim_matches(['`', '\'', '"']));
                fields.text_unless_empty("reason", reason.trim_ascii());
                if let Some(host) = reason.trim_ascii().strip_prefix("from ") {
                    fields.origin(host.trim_matches(['`', '\'', '"']));
                }
            }
            Self::Reason => fields.text_unless_empty("reason", text.trim_ascii()),
        }
        Some(())
    }
}

/// `logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root`
fn pairs_of<'t>(text: &'t str, fields: &mut Fields<'t>) {
    let (pairs, user) = text.split_once(" user=").map_or((text, None), |(pairs, user)| (pairs, Some(user)));
    for (name, value) in pairs.split_ascii_whitespace().filter_map(|pair| pair.split_once('=')) {
        let name = match name {
            "logname" => "logname",
            "uid" => "uid",
            "euid" => "euid",
            "tty" => "tty",
            "ruser" => "ruser",
            "rhost" if fields.find("rhost").is_none() => {
                fields.origin(value);
                "rhost"
            }
            _ => continue,
        };
        if fields.find(name).is_none() {
            fields.text_unless_empty(name, value);
        }
    }
    if let Some(user) = user {
        fields.text("user", user.trim_ascii());
    }
}

/// `root(uid=0)`: the name and the number, each perhaps missing.
fn without_uid(text: &str) -> (&str, &str) {
    let text = text.trim_ascii();
    match text.split_once("(uid=") {
        Some((name, uid)) => (name, uid.trim_end_matches(')')),
        None => (text, ""),
    }
}

/// `user ana (4001) tally 6, deny 5` (pam_tally2), `user "ana" does not exist in /etc/passwd` (pam_unix).
fn tally<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let rest = text.strip_prefix("user ")?;
    let (user, reason) = rest.trim_ascii_start().split_once(' ')?;
    let (action, outcome) = match reason {
        _ if reason.contains("does not exist") => ("user_unknown", "failure"),
        _ if reason.contains("tally") => ("account_locked", "failure"),
        _ if reason.contains("account temporarily locked") => ("account_locked", "failure"),
        _ => return None,
    };
    fields.action(action, outcome);
    fields.text("user", user.trim_matches(['"', '\'']));
    fields.text("reason", reason);
    Some(())
}
