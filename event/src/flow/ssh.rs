//! The banners of SSH (RFC 4253, section 4.2): one line for each connection, when both are known, else when the flow ends.
//!
//! Limits: a banner has at most 255 bytes; a side whose first [`BANNER_BYTES_MAX`] bytes hold none is given up. What it never
//! does: read the key exchange, which tells little that the banner does not.

use super::talk::{Context, Sides, Speaker};
use crate::Micros;

/// Most bytes of a side until its banner has ended. Servers may send other lines before it.
const BANNER_BYTES_MAX: usize = 1024;

/// A connection whose banners are not all known.
#[derive(Debug, Default)]
pub(super) struct Ssh {
    ts: Micros,
    sides: Sides<Side>,
}

#[derive(Debug, Default)]
struct Side {
    /// What was said until the banner is known, then the banner.
    kept: Vec<u8>,
    over: bool,
}

impl Ssh {
    pub(super) fn stream(&mut self, speaker: Speaker, bytes: &[u8], gap: bool, context: &Context<'_>) {
        if self.sides.src.kept.is_empty() && self.sides.dst.kept.is_empty() {
            self.ts = context.ts;
        }
        let side = self.sides.of(speaker);
        if side.over {
            return;
        }
        if gap && !side.kept.is_empty() {
            *side = Side { kept: Vec::new(), over: true };
            return;
        }
        let room = BANNER_BYTES_MAX.saturating_sub(side.kept.len());
        side.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if let Some(banner) = banner(&side.kept) {
            *side = Side { kept: banner.to_vec(), over: true };
        } else if side.kept.len() >= BANNER_BYTES_MAX {
            *side = Side { kept: Vec::new(), over: true };
        }
    }

    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        !self.sides.get(speaker).over
    }

    /// Writes the banners that are known.
    pub(super) fn end(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        let Sides { src, dst } = std::mem::take(&mut self.sides);
        let [client, server] = [src, dst].map(|side| if side.over { side.kept } else { Vec::new() });
        if client.is_empty() && server.is_empty() {
            return;
        }
        let mut line = context.line(out, "ssh", self.ts);
        line.text("client", &String::from_utf8_lossy(&client));
        line.text("server", &String::from_utf8_lossy(&server));
        line.end();
    }
}

/// The first whole line that is a banner.
fn banner(said: &[u8]) -> Option<&[u8]> {
    let mut lines = said.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.find(|line| line.starts_with(b"SSH-")).map(<[u8]>::trim_ascii_end)
}
