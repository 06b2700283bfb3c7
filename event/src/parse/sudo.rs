//! sudo's own lines: `USER : [REASON ; ]TTY=... ; PWD=... ; USER=... ; COMMAND=...`.
//!
//! The command is the last part and may hold anything, ` ; ` included: all that stands behind `COMMAND=` belongs to it.
//! A line with a reason tells a refusal. sudo splits commands above its own line limit into `(command continued)` lines;
//! each stays an event of its own. Limits: those of the record.

use super::fields::Fields;

/// Reads a message of sudo.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (user, rest) = message.split_once(" : ")?;
    let user = user.trim_ascii();
    if user.contains(' ') {
        return None;
    }
    if let Some(command) = rest.strip_prefix("(command continued) ") {
        fields.action("command_continued", "");
        fields.text("user", user);
        fields.text("command", command);
        return Some(());
    }
    let mut reason = "";
    let mut parts = Parts(Some(rest));
    let mut found = Vec::with_capacity(6);
    while let Some(part) = parts.next_part() {
        match part.split_once('=').and_then(|(name, value)| Some((native(name)?, value))) {
            Some(pair) => found.push(pair),
            None if reason.is_empty() => reason = part,
            None => {}
        }
    }
    let refused = !reason.is_empty();
    if !refused && !found.iter().any(|(name, _)| *name == "command") {
        return None;
    }
    fields.action("command", if refused { "failure" } else { "success" });
    fields.text("user", user);
    for (name, value) in found {
        fields.text(name, value);
    }
    fields.text_unless_empty("reason", reason);
    Some(())
}

fn native(name: &str) -> Option<&'static str> {
    Some(match name {
        "TTY" => "tty",
        "PWD" => "pwd",
        "USER" => "user_target",
        "GROUP" => "group_target",
        "COMMAND" => "command",
        "ENV" => "env",
        "HOST" => "run_host",
        "CHROOT" | "CWD" => "chroot",
        "TSID" => "tsid",
        _ => return None,
    })
}

/// Parts between ` ; `; the command is never split.
struct Parts<'t>(Option<&'t str>);

impl<'t> Parts<'t> {
    fn next_part(&mut self) -> Option<&'t str> {
        let rest = self.0.take()?.trim_ascii_start();
        if rest.starts_with("COMMAND=") {
            return Some(rest);
        }
        match rest.split_once(" ; ") {
            Some((part, rest)) => {
                self.0 = Some(rest);
                Some(part)
            }
            None => Some(rest),
        }
    }
}
