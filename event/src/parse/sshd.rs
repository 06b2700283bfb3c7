//! What OpenSSH's server says, from version 3 to 10.
//!
//! User names are the client's: they may hold spaces and whole phrases. Where a line ends with `from ADDRESS port N`, it is
//! read from its end, so that a user named `root from 192.0.2.1` cannot lend an attack another address.
//! A message is read when its kind is in the table below; of any other only the address is taken, and its status
//! stays `envelope`. Limits: those of the record.

use nom::bytes::complete::{tag, take_till, take_while1};
use nom::combinator::opt;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::fields::Fields;

/// How a message goes on behind the words by which it is known.
enum Shape {
    /// `METHOD for [invalid user ]USER from PEER`
    Login,
    /// `[invalid user ]USER from PEER[ not allowed because REASON]`
    UserFrom,
    /// `[KIND user USER ]PEER[: REASON]`
    UserPeer,
    /// `PEER[: REASON]`
    Peer,
    /// `PEER on ADDRESS port N`
    Connection,
    /// `ADDRESS port N.`: the server's own
    Listen,
    /// `TEXT from PEER`
    TextFrom,
    /// `HOST [ADDRESS] failed`
    ReverseMapping,
    /// `HOST (ADDRESS)`
    HostAddress,
    /// `KIND for USER from PEER id N`
    SessionStart,
    /// `user USER from PEER id N`
    SessionEnd,
    /// `LOGNAME PAIRS` of PAM
    Pam,
    /// Nothing but a reason
    Reason,
}

use Shape::{
    Connection, HostAddress, Listen, Login, Pam, Peer, Reason, ReverseMapping, SessionEnd, SessionStart,
    TextFrom, UserFrom, UserPeer,
};

/// Known messages: how they start, what happened, how it ended, how they go on. The first that fits is taken.
const KINDS: &[(&str, &str, &str, Shape)] = &[
    ("Accepted ", "login", "success", Login),
    ("Failed ", "login", "failure", Login),
    ("Postponed ", "login_postponed", "", Login),
    ("Partial ", "login_partial", "", Login),
    ("Invalid user ", "invalid_user", "failure", UserFrom),
    ("Illegal user ", "invalid_user", "failure", UserFrom),
    ("input_userauth_request: invalid user", "userauth_request", "failure", UserFrom),
    ("input_userauth_request: illegal user", "userauth_request", "failure", UserFrom),
    ("maximum authentication attempts exceeded for ", "auth_limit", "failure", UserFrom),
    ("PAM service(", "auth_limit", "failure", Reason),
    ("PAM: ", "pam_auth", "failure", Pam),
    ("PAM ", "pam_auth", "failure", Pam),
    ("User child is on pid ", "child", "", Reason),
    ("User ", "login_denied", "failure", UserFrom),
    ("ROOT LOGIN REFUSED FROM ", "login_denied", "failure", Peer),
    ("Root login accepted for forced command", "login", "success", Reason),
    ("Received disconnect from ", "disconnect", "", Peer),
    ("Disconnected from ", "disconnect", "", UserPeer),
    ("Disconnecting ", "disconnect", "", UserPeer),
    ("Disconnecting: ", "disconnect", "", Reason),
    ("Connection closed by ", "connection_closed", "", UserPeer),
    ("Connection reset by ", "connection_reset", "", UserPeer),
    ("Connection closed", "connection_closed", "", Reason),
    ("Connection reset", "connection_reset", "", Reason),
    ("Write failed: ", "connection_closed", "", Reason),
    ("Read error from remote host ", "connection_reset", "", Peer),
    ("Closing connection to ", "connection_closed", "", Peer),
    ("Connection from ", "connect", "", Connection),
    ("ssh_dispatch_run_fatal: Connection from ", "protocol_error", "failure", UserPeer),
    ("ssh_dispatch_run_fatal: Connection to ", "protocol_error", "failure", UserPeer),
    ("Did not receive identification string from ", "no_identification", "failure", Peer),
    ("Bad protocol version identification ", "bad_protocol", "failure", TextFrom),
    ("Protocol major versions differ for ", "bad_protocol", "failure", Peer),
    ("banner exchange: Connection from ", "bad_protocol", "failure", Peer),
    ("banner exchange: ", "bad_protocol", "failure", Reason),
    ("kex_exchange_identification: ", "bad_protocol", "failure", Reason),
    ("kex_protocol_error: ", "protocol_error", "failure", Reason),
    ("dispatch_protocol_error: ", "protocol_error", "failure", Reason),
    ("buffer_get_", "protocol_error", "failure", Reason),
    ("Corrupted MAC on input", "protocol_error", "failure", Reason),
    ("Bad packet length ", "protocol_error", "failure", Reason),
    ("padding error: ", "protocol_error", "failure", Reason),
    ("packet_write_wait: Connection ", "protocol_error", "failure", TextFrom),
    ("Magic value check failed ", "protocol_error", "failure", TextFrom),
    ("Unable to negotiate with ", "negotiation_failed", "failure", Peer),
    ("no matching ", "negotiation_failed", "failure", Reason),
    ("no hostkey alg", "negotiation_failed", "failure", Reason),
    ("refused connect from ", "connect_refused", "failure", HostAddress),
    ("drop connection ", "connect_refused", "failure", TextFrom),
    ("beginning MaxStartups throttling", "connect_refused", "failure", Reason),
    ("exited MaxStartups throttling", "connect_refused", "", Reason),
    ("Timeout before authentication for ", "timeout", "failure", UserPeer),
    ("Timeout before authentication for connection from ", "timeout", "failure", Peer),
    ("Timeout, client not responding from ", "timeout", "", UserPeer),
    ("reverse mapping checking getaddrinfo for ", "reverse_mapping_failed", "failure", ReverseMapping),
    ("Address ", "reverse_mapping_failed", "failure", Peer),
    ("Nasty PTR record ", "reverse_mapping_failed", "failure", TextFrom),
    ("Could not get shadow information for ", "shadow_missing", "failure", UserFrom),
    ("Authentication refused: ", "login_denied", "failure", Reason),
    ("Authentication tried for ", "login_denied", "failure", UserFrom),
    ("penalty: ", "penalty", "failure", Reason),
    ("srclimit_penalise: ", "penalty", "failure", Reason),
    ("Starting session: ", "session_start", "", SessionStart),
    ("Close session: ", "session_end", "", SessionEnd),
    ("subsystem request for ", "subsystem", "", Reason),
    ("Server listening on ", "listen", "success", Listen),
    ("Received signal ", "terminate", "", Reason),
    ("Received SIGHUP", "restart", "", Reason),
    ("Exiting on signal ", "terminate", "", Reason),
    ("Accepted key ", "key_accepted", "", Reason),
    ("userauth_pubkey: ", "key_refused", "failure", Reason),
    ("Bind to port ", "listen", "failure", Reason),
    ("Cannot bind any address", "listen", "failure", Reason),
];

/// Reads a message of sshd.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (message, preauth) = match message.strip_suffix("[preauth]") {
        Some(message) => (message.trim_ascii_end(), true),
        None => (message, false),
    };
    if preauth {
        fields.flag("preauth");
    }
    let message = ["error", "fatal"].into_iter().fold(message, |message, level| {
        let rest = message.strip_prefix(level).and_then(|rest| rest.strip_prefix(": "));
        if rest.is_some() {
            fields.text("level", level);
        }
        rest.unwrap_or(message)
    });
    let known = KINDS.iter().find_map(|(start, action, outcome, shape)| {
        Some((message.strip_prefix(start)?, action, outcome, shape))
    });
    let Some((rest, action, outcome, shape)) = known else {
        from_peer(message, fields);
        return None;
    };
    fields.action(action, outcome);
    shape.read(rest, fields)
}

impl Shape {
    fn read<'t>(&self, text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
        match self {
            Login => login(text, fields),
            UserFrom => {
                let user = from_peer(text.strip_prefix(' ').unwrap_or(text), fields)?;
                account(user, fields);
            }
            UserPeer => user_peer(text, fields),
            Peer => peer_and_reason(text, fields),
            Connection => connection(text, fields)?,
            Listen => own_address(text, fields)?,
            TextFrom => {
                let reason = from_peer(text, fields)?;
                fields.text_unless_empty("reason", reason);
            }
            ReverseMapping => {
                let (host, rest) = text.split_once(" [")?;
                fields.text("src_host", host);
                fields.origin(rest.split_once(']')?.0);
            }
            HostAddress => {
                let (host, rest) = text.rsplit_once(" (")?;
                fields.text("src_host", host);
                fields.origin(rest.strip_suffix(')')?);
            }
            SessionStart => {
                let (kind, rest) = text.split_once(" for ")?;
                fields.text("session_kind", kind);
                session(rest, fields)?;
            }
            SessionEnd => session(text.strip_prefix("user ")?, fields)?,
            Pam => return super::pam::of_sshd(text, fields),
            Reason => fields.text_unless_empty("reason", text),
        }
        Some(())
    }
}

/// `password for invalid user x from 192.0.2.1 port 22 ssh2: RSA SHA256:...`
fn login<'t>(text: &'t str, fields: &mut Fields<'t>) {
    let Some((method, rest)) = text.split_once(" for ") else {
        fields.text_unless_empty("reason", text);
        return;
    };
    fields.text("method", method);
    match from_peer(rest, fields) {
        Some(user) => account(user, fields),
        None => account(rest, fields),
    }
}

/// `[invalid user ]USER`
fn account<'t>(text: &'t str, fields: &mut Fields<'t>) {
    // A user without a name leaves `invalid user` alone, its space gone or not.
    let invalid = ["invalid user", "illegal user"].into_iter().find_map(|start| text.strip_prefix(start));
    match invalid {
        Some(user) if user.is_empty() || user.starts_with(' ') => {
            fields.text("user", user.strip_prefix(' ').unwrap_or(user));
            fields.flag("invalid_user");
        }
        _ => fields.text("user", text),
    }
}

/// `TEXT from PEER ...`, read from the end: gives back the text.
fn from_peer<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<&'t str> {
    let (before, after) = match text.strip_prefix("from ") {
        Some(after) if !text.contains(" from ") => ("", after),
        _ => match text.rsplit_once(" from ") {
            Some(parts) => parts,
            // `input_userauth_request: invalid user x` names no peer.
            None => return Some(text),
        },
    };
    let (rest, (host, port)) = peer(after).ok()?;
    fields.origin(host);
    if let Some(port) = port {
        fields.number("src_port", port);
    }
    tail(rest, fields);
    Some(before)
}

/// What stands behind a peer: the protocol with a key, or a reason.
fn tail<'t>(rest: &'t str, fields: &mut Fields<'t>) {
    let rest = rest.trim_ascii();
    let Some(key) = rest.strip_prefix("ssh2").or_else(|| rest.strip_prefix("ssh1")) else {
        let reason = rest.trim_start_matches([':', ' ']);
        fields.text_unless_empty("reason", reason.strip_prefix("not allowed because ").unwrap_or(reason));
        return;
    };
    if let Some((kind, fingerprint)) = key.strip_prefix(": ").and_then(|key| key.split_once(' ')) {
        fields.text("key_type", kind);
        fields.text("key_fingerprint", fingerprint);
    }
}

/// `ADDRESS[ port N]`; the address may have a colon behind it.
fn peer(input: &str) -> IResult<&str, (&str, Option<&str>)> {
    let (rest, host) = take_till(|c| c == ' ').parse(input)?;
    let host = host.trim_end_matches([',', '.']);
    let host = if super::fields::address(host).is_some() { host } else { host.trim_end_matches(':') };
    let (rest, port) = opt(preceded(tag(" port "), take_while1(|c: char| c.is_ascii_digit()))).parse(rest)?;
    Ok((rest, (host, port)))
}

fn peer_and_reason<'t>(text: &'t str, fields: &mut Fields<'t>) {
    if let Ok((rest, (host, port))) = peer(text) {
        fields.origin(host);
        if let Some(port) = port {
            fields.number("src_port", port);
        }
        tail(rest, fields);
    }
}

/// `[KIND user USER ]ADDRESS[ port N][: REASON]`. The user is whatever stands before the last address.
fn user_peer<'t>(text: &'t str, fields: &mut Fields<'t>) {
    let (before_port, port) = match text.rsplit_once(" port ") {
        Some((before, port)) => (before, Some(port)),
        None => (text, None),
    };
    let (user, host) = before_port.rsplit_once(' ').unwrap_or(("", before_port));
    let named = user.split_once("user ").filter(|(kind, _)| !kind.contains(' ') || kind.ends_with(' '));
    match (named, port) {
        (Some((kind, user)), Some(port)) => {
            fields.text("user", user.trim_ascii_end());
            if kind.trim_ascii() == "invalid" {
                fields.flag("invalid_user");
            }
            fields.origin(host);
            let digits = port.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            fields.number("src_port", digits);
            tail(port.strip_prefix(digits).unwrap_or_default(), fields);
        }
        _ => peer_and_reason(text, fields),
    }
}

/// `PEER on ADDRESS port N[ rdomain ...]`, or `PEER: REASON`.
fn connection<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let Some((from, on)) = text.split_once(" on ") else {
        peer_and_reason(text, fields);
        return Some(());
    };
    peer_and_reason(from, fields);
    own_address(on, fields)
}

fn own_address<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (_, (host, port)) = peer(text).ok()?;
    fields.text("dst_ip", host);
    if let Some(port) = port {
        fields.number("dst_port", port);
    }
    Some(())
}

/// `USER from PEER id N`
fn session<'t>(text: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (user, rest) = text.rsplit_once(" from ")?;
    fields.text("user", user);
    let (rest, (host, port)) = peer(rest).ok()?;
    fields.origin(host);
    fields.number("src_port", port?);
    fields.text_unless_empty("session", rest.trim_ascii().strip_prefix("id ").unwrap_or_default());
    Some(())
}
