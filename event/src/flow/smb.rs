//! SMB version 1 (MS-CIFS): one line for each kind of failure that a server answers with, which tells probes and exploits from
//! clients; and whether version 1 is spoken at all. Of version 2 nothing is read.
//!
//! A client that knows both versions begins with a message of version 1, so that only what a server says decides.
//!
//! Limits: [`FAILURES_MAX`] kinds of a connection, and [`MESSAGE_BYTES_MAX`] as in the length of NetBIOS. What it never does: read a
//! name, a path or data.

use super::heads::{Heads, Shape};
use super::talk::{Context, Sides, Speaker};

/// Most kinds of failure that are written of a connection: a scanner provokes some, an exploit two or three.
const FAILURES_MAX: usize = 16;

/// Longest message (RFC 1002, section 4.3.1, with the bits that direct transport adds).
const MESSAGE_BYTES_MAX: usize = 0xff_ffff;

/// A length of four bytes, then the header of 32.
const SHAPE: Shape = Shape { start: 8, head: 36, length };

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Smb {
    sides: Sides<Side>,
    failures: Vec<Failure>,
}

#[derive(Debug, Default)]
struct Side {
    heads: Heads,
    over: bool,
}

/// What tells one failure from another. Tools that exploit answer, and are told apart, by the multiplex identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Failure {
    command: u8,
    status: u32,
    multiplex: u16,
}

/// What the head of a message says.
enum Said {
    Request,
    Response(Failure),
    /// NetBIOS begins a session, or keeps it alive.
    Session,
    /// A message of version 2.
    Other,
}

impl Smb {
    /// Takes a segment. True: the server speaks version 1.
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let side = self.sides.of(speaker);
        let (failures, over) = (&mut self.failures, &mut side.over);
        let mut version_1 = false;
        side.heads.feed(bytes, gap, &SHAPE, |head| match said(head) {
            // Requests are not read, nor is what belongs to version 2.
            Said::Request => *over = true,
            Said::Other => *over = !version_1,
            Said::Session => {}
            Said::Response(failure) => {
                version_1 = true;
                if failure.status != 0 && failures.len() < FAILURES_MAX && !failures.contains(&failure) {
                    failures.push(failure);
                    failure.write(context, out);
                }
            }
        });
        version_1
    }

    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        !self.sides.get(speaker).over && self.failures.len() < FAILURES_MAX
    }
}

/// Messages of a session, and those of NetBIOS that keep or begin one.
fn length(start: &[u8]) -> Option<usize> {
    let [kind, high, middle, low, magic @ ..] = start else { return None };
    let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
    let of_smb = matches!(magic, [0xfc..=0xff, b'S', b'M', b'B']);
    let of_netbios = matches!(kind, 0x81..=0x85);
    (length <= MESSAGE_BYTES_MAX && (*kind == 0 && of_smb || of_netbios)).then(|| length.saturating_add(4))
}

fn said(head: &[u8]) -> Said {
    const IS_RESPONSE: u8 = 0x80;
    if head.first() != Some(&0) {
        return Said::Session;
    }
    let Some((&[_, _, _, _, 0xff, _, _, _, command, s0, s1, s2, s3, flags], rest)) = head.split_first_chunk()
    else {
        return Said::Other;
    };
    if flags & IS_RESPONSE == 0 {
        return Said::Request;
    }
    let multiplex = rest.last_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
    Said::Response(Failure { command, status: u32::from_le_bytes([s0, s1, s2, s3]), multiplex })
}

impl Failure {
    fn write(self, context: &Context<'_>, out: &mut Vec<u8>) {
        let mut line = context.line(out, "smb", context.ts);
        line.plain("version", 1);
        line.word("command", format_args!("0x{:02x}", self.command));
        line.word("nt_status", format_args!("0x{:08x}", self.status));
        line.plain("multiplex_id", self.multiplex);
        line.end();
    }
}
