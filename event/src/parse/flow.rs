//! Lines of flows: what our own meter and the intake of exporters' records write (`event/FLOWS.md`).
//!
//! JSON lines as any others, but of a source that is ours, so that `kind` may decide Sigma's log source: product `network`,
//! service `flow`, `dns`, `tls`, `http`, `ssh`, `smb`, `dce_rpc`, `capture`,
//! `interface`, `hunt`. What crosses the wire as HTTP is what a server
//! would have logged, so its category is `webserver` and the world's rules for servers' logs read it; that of DNS is `dns`.
//!
//! A line of another kind, or of none, stays JSON without a log source.

use super::fields::Line;
use super::json;
use super::room::Room;
use crate::{LogSource, Value};

const PRODUCT: &str = "network";

/// Reads a line.
pub(super) fn parse<'t>(line: &'t str, is_nfc: bool, room: &mut Room<'t>) -> Option<Line<'t>> {
    let mut line = json::parse(line, is_nfc, room)?;
    let kind = line.fields.0.iter().position(|(name, _)| name == "kind")?;
    if let Some((_, Value::Text(kind))) = line.fields.0.get(kind) {
        line.source = source(kind);
    }
    line.fields.0.remove(kind);
    Some(line)
}

fn source(kind: &str) -> LogSource<'static> {
    let of = |category, service| LogSource { category, product: PRODUCT, service };
    match kind {
        "flow" => of("flow", "flow"),
        "dns" => of("dns", "dns"),
        "tls" => of("tls", "tls"),
        "http" => of("webserver", "http"),
        "ssh" => of("", "ssh"),
        "smb" => of("", "smb"),
        "dce_rpc" => of("", "dce_rpc"),
        "capture" => of("", "capture"),
        "interface" => of("", "interface"),
        "hunt" => of("", "hunt"),
        _ => LogSource::default(),
    }
}
