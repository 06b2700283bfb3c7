//! DCE/RPC over TCP (C706, MS-RPCE): one line for each operation of an interface that a connection calls, when it is first called.
//!
//! The side is told by what it says: clients bind and call. Limits: [`INTERFACES_MAX`] and [`OPERATIONS_MAX`] of a connection; of
//! a bind the first interface, which its other contexts repeat with other encodings. What it never does: read arguments, or calls
//! through SMB's pipes.

use std::fmt::{self, Display};

use super::cursor::Cursor;
use super::heads::{Heads, Shape};
use super::talk::{Context, Sides, Speaker};

/// Most interfaces of a connection: an association has one or two.
const INTERFACES_MAX: usize = 8;

/// Most operations that are written of a connection: a tool that dumps a directory calls some ten.
const OPERATIONS_MAX: usize = 32;

/// The common header up to the length; then what a call, or a bind's first context, has.
const SHAPE: Shape = Shape { start: 10, head: 48, length };

const REQUEST: u8 = 0;
const BIND: u8 = 11;
const ALTER_CONTEXT: u8 = 14;

/// A connection.
#[derive(Debug, Default)]
pub(super) struct DceRpc {
    sides: Sides<Heads>,
    /// By the number of their context.
    interfaces: Vec<(u16, Interface)>,
    written: Vec<(Interface, u16)>,
}

/// A UUID as on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Interface {
    bytes: [u8; 16],
    little_endian: bool,
}

/// What the head of a message of a client says.
enum Said {
    Bind(u16, Interface),
    Call(u16, u16),
}

impl DceRpc {
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        let (interfaces, written) = (&mut self.interfaces, &mut self.written);
        self.sides.of(speaker).feed(bytes, gap, &SHAPE, |head| match said(head) {
            Some(Said::Bind(number, interface)) if interfaces.len() < INTERFACES_MAX => {
                interfaces.push((number, interface));
            }
            Some(Said::Call(number, operation)) => {
                let bound = interfaces.iter().rev().find(|(known, _)| *known == number);
                let Some((_, interface)) = bound.or(interfaces.last()) else { return };
                let call = (*interface, operation);
                if written.len() < OPERATIONS_MAX && !written.contains(&call) {
                    written.push(call);
                    write(call, context, out);
                }
            }
            _ => {}
        });
    }

    pub(super) fn wants(&self, _speaker: Speaker) -> bool {
        self.written.len() < OPERATIONS_MAX
    }
}

/// Whether the first byte of the data representation says so.
fn is_little_endian(representation: u8) -> bool {
    representation >> 4 == 1
}

fn length(start: &[u8]) -> Option<usize> {
    let [5, 0 | 1, _, _, representation, _, _, _, one, other] = start else { return None };
    let length = [*one, *other];
    let length = if is_little_endian(*representation) {
        u16::from_le_bytes(length)
    } else {
        u16::from_be_bytes(length)
    };
    Some(length.into()).filter(|length| *length >= 16)
}

fn said(head: &[u8]) -> Option<Said> {
    let mut cursor = Cursor::new(head);
    let [_, _, kind, _, representation, ..] = cursor.array::<16>()?;
    let little_endian = is_little_endian(representation);
    let number =
        |bytes: [u8; 2]| if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    match kind {
        REQUEST => {
            let _allocation = cursor.u32()?;
            Some(Said::Call(number(cursor.array()?), number(cursor.array()?)))
        }
        BIND | ALTER_CONTEXT => {
            // Sizes of fragments, the group, and how many contexts there are.
            let _before = cursor.take(12)?;
            let context = number(cursor.array()?);
            let _syntaxes = cursor.u16()?;
            Some(Said::Bind(context, Interface { bytes: cursor.array()?, little_endian }))
        }
        _ => None,
    }
}

fn write((interface, operation): (Interface, u16), context: &Context<'_>, out: &mut Vec<u8>) {
    let mut line = context.line(out, "dce_rpc", context.ts);
    line.word("interface", interface);
    line.plain("operation", operation);
    line.end();
}

impl Display for Interface {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.bytes;
        let swapped = [a3, a2, a1, a0, b1, b0, c1, c0];
        let first = if self.little_endian { swapped } else { [a0, a1, a2, a3, b0, b1, c0, c1] };
        for (at, byte) in (0_usize..).zip(first.into_iter().chain(rest)) {
            if matches!(at, 4 | 6 | 8 | 10) {
                out.write_str("-")?;
            }
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}
