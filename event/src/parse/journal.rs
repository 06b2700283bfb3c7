//! Entries of systemd's journal as JSON, which `journalctl -o json` writes (fields: systemd.journal-fields(7)). The message is
//! read as if it had come by syslog, and what syslog's envelope says gets the names that it has there; the journal's own fields
//! stay.
//!
//! Limits: those of a JSON line. A message that is no text (the journal has bytes as an array of numbers) is read no further.

use std::borrow::Cow;

use super::fields::Fields;
use super::syslog;
use crate::{LogSource, ParseStatus, Value};

/// Every entry that is exported has this one.
const RECEIVED: &str = "__REALTIME_TIMESTAMP";

/// Reads the message of an entry; none when the fields are of something else.
pub(super) fn recognise(fields: &mut Fields<'_>) -> Option<(LogSource<'static>, ParseStatus)> {
    fields.0.iter().find(|(name, _)| name == RECEIVED)?;
    let message = text(fields, "MESSAGE")?;
    let program = text(fields, "SYSLOG_IDENTIFIER").or_else(|| text(fields, "_COMM")).unwrap_or_default();
    let envelope = [
        ("hostname", text(fields, "_HOSTNAME")),
        ("program", Some(program.clone())),
        ("pid", text(fields, "SYSLOG_PID").or_else(|| text(fields, "_PID"))),
        ("facility", text(fields, "SYSLOG_FACILITY").and_then(|number| facility(&number))),
        ("severity", text(fields, "PRIORITY")),
    ];
    for (name, value) in envelope {
        match value.filter(|value| !value.is_empty()) {
            Some(value) if matches!(name, "pid" | "severity") => match value.parse::<i64>() {
                Ok(number) => fields.int(name, number),
                Err(_) => fields.text(name, value),
            },
            Some(value) => fields.text(name, value),
            None => {}
        }
    }
    let mut read = None;
    fields.read(&message, |message, fields| {
        read = Some(syslog::dispatch(&program, "", message.trim_ascii(), fields));
    });
    read
}

fn text<'t>(fields: &Fields<'t>, name: &str) -> Option<Cow<'t, str>> {
    fields.0.iter().find(|(field, _)| field == name).and_then(|(_, value)| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    })
}

fn facility(number: &str) -> Option<Cow<'static, str>> {
    let number = number.parse::<usize>().ok()?;
    syslog::FACILITIES.get(number).map(|name| Cow::Borrowed(*name))
}
