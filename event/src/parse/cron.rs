//! cron's lines: `(USER) WORD (TEXT)`. Limits: those of the record.

use super::fields::Fields;

/// Reads a message of cron, crond, anacron or crontab.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (user, rest) = message.strip_prefix('(')?.split_once(") ")?;
    let (word, text) = rest.split_once(" (")?;
    let text = text.strip_suffix(')').unwrap_or(text);
    let (action, outcome) = match word {
        "CMD" => ("cron_command", ""),
        "REPLACE" | "BEGIN EDIT" | "END EDIT" => ("crontab_change", "success"),
        "DELETE" => ("crontab_delete", "success"),
        "LIST" => ("crontab_list", "success"),
        "RELOAD" => ("crontab_reload", ""),
        "AUTH" => ("crontab_change", "failure"),
        _ => ("cron_notice", ""),
    };
    fields.action(action, outcome);
    fields.text("user", user);
    fields.text(if word == "CMD" { "command" } else { "reason" }, text);
    if action.starts_with("cron_n") || action == "crontab_change" {
        fields.text("notice", word);
    }
    Some(())
}
