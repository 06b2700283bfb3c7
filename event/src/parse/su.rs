//! su's own lines, in the words of shadow, of util-linux and of older distributions. Limits: those of the record.
//!
//! `user` is who asks, `user_target` who that becomes.

use super::fields::Fields;

/// Reads a message of su.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let failed =
        ["FAILED SU ", "FAILED su ", "failed su "].into_iter().find_map(|start| message.strip_prefix(start));
    if let Some(rest) = failed {
        return change(rest, "failure", fields);
    }
    if let Some(rest) = message.strip_prefix("Successful su ") {
        return change(rest, "success", fields);
    }
    if message.starts_with("(to ") {
        return change(message, "success", fields);
    }
    pam_failure(message, fields).or_else(|| terminal(message, fields)).or_else(|| bsd(message, fields))
}

/// `for root by ana`, `(to root) ana on pts/0`.
fn change<'t>(text: &'t str, outcome: &'static str, fields: &mut Fields<'t>) -> Option<()> {
    let (target, user, tty) = match text.strip_prefix("(to ") {
        Some(rest) => {
            let (target, rest) = rest.split_once(')')?;
            let (user, tty) = rest.trim_ascii().split_once(" on ").unwrap_or((rest.trim_ascii(), ""));
            (target, user, tty)
        }
        None => {
            let (target, user) = text.strip_prefix("for ")?.split_once(" by ")?;
            (target, user, "")
        }
    };
    fields.action("su", outcome);
    fields.text("user", user);
    fields.text("user_target", target);
    fields.text_unless_empty("tty", tty);
    Some(())
}

/// `pam_authenticate: Authentication failure`
fn pam_failure<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let reason = message.strip_prefix("pam_authenticate: ")?;
    fields.action("pam_auth", "failure");
    fields.text("reason", reason);
    Some(())
}

/// `+ /dev/pts/0 ana:root` and `- /dev/pts/0 ana:root`
fn terminal<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (sign, rest) = message.split_once(' ')?;
    let outcome = match sign {
        "+" => "success",
        "-" => "failure",
        _ => return None,
    };
    let (tty, users) = rest.split_once(' ')?;
    let (user, target) = users.split_once([':', '-'])?;
    fields.action("su", outcome);
    fields.text("user", user);
    fields.text("user_target", target);
    fields.text("tty", tty);
    Some(())
}

/// `ana to root on /dev/pts/0`, `BAD SU ana to root on /dev/pts/0`
fn bsd<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (text, outcome) = match message.strip_prefix("BAD SU ") {
        Some(text) => (text, "failure"),
        None => (message, "success"),
    };
    let (user, rest) = text.split_once(" to ")?;
    let (target, tty) = rest.split_once(" on ")?;
    if user.contains(' ') || target.contains(' ') {
        return None;
    }
    fields.action("su", outcome);
    fields.text("user", user);
    fields.text("user_target", target);
    fields.text("tty", tty);
    Some(())
}
