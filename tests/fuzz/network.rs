//! What the targets of networks share: bytes as packets of a conversation, and what must hold of a meter whatever they are.
//!
//! Inputs are cut by heads of two bytes: the two highest bits are flags, the rest is the length of what follows. So a seed is
//! made of real packets by putting their lengths before them (seeds.py), and the fuzzer can cut and mend them.

use event::{
    Batch, Captured, Format, Header, LinkType, Meter, MeterConfig, Micros, ParseStatus, Record, parse_batch,
};

/// Few, so that the table is full now and then.
const FLOWS_MAX: usize = 8;
/// Pieces of an input that are looked at.
const PIECES_MAX: usize = 500;
const START: Micros = 1_795_400_107_000_000;

/// A piece of the input, and the flags before it.
pub struct Piece<'d> {
    pub high: bool,
    pub low: bool,
    pub bytes: &'d [u8],
}

/// Cuts an input into its pieces.
pub fn pieces(mut data: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = data.split_first_chunk()?;
        let head = u16::from_be_bytes(*head);
        let (bytes, rest) = rest.split_at(usize::from(head & 0x3fff).min(rest.len()));
        data = rest;
        Some(Piece { high: head & 0x8000 != 0, low: head & 0x4000 != 0, bytes })
    })
    .take(PIECES_MAX)
}

/// A meter under test.
pub struct Watched {
    meter: Meter,
    lines: Vec<u8>,
    at: Micros,
    link: LinkType,
}

impl Watched {
    pub fn new(link: LinkType) -> Self {
        let meter = Meter::new(MeterConfig { flows_max: FLOWS_MAX, ..MeterConfig::default() });
        Self { meter, lines: Vec::new(), at: START, link }
    }

    /// A frame, `later` than the one before.
    pub fn frame(&mut self, bytes: &[u8], later: Micros) {
        self.at += later;
        let wire_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.meter
            .packet(&Captured { at: self.at, link: self.link, bytes, wire_bytes, vlan: 0 }, &mut self.lines);
        assert!(self.meter.counters().live <= FLOWS_MAX as u64);
    }

    /// Every packet stands in one record or counter, and every line is an event that is understood.
    pub fn end(mut self) {
        while self.meter.flush(&mut self.lines) {}
        let counters = self.meter.counters();
        let lines: Vec<_> = self.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut metered = 0;
        for lines in lines.chunks(1000) {
            let records = lines.iter().map(|bytes| Record { time: START, offset: 0, bytes });
            let header = Header { format: Format::Flow, ..Header::default() };
            let batch = Batch::new(header, records).expect("lines are records");
            for event in parse_batch(&batch) {
                assert_ne!(event.status, ParseStatus::Raw, "{}", event.message);
                for name in ["src_packets", "dst_packets"] {
                    metered += event.values(name).next().map_or(0, |value| value.to_text().parse().unwrap());
                }
            }
        }
        assert_eq!(metered + counters.not_ip + counters.malformed, counters.packets);
        assert_eq!(counters.live, 0);
    }
}

/// What both ends of a conversation say: `high` is the server, `low` is lost on the way.
pub fn converse(protocol: u8, port: u16, data: &[u8]) {
    let mut watched = Watched::new(LinkType::RawIp);
    let mut sequence = [1_u32; 2];
    if protocol == TCP {
        watched.frame(&packet(protocol, port, false, [0, 0], SYN, &[]), 1);
        watched.frame(&packet(protocol, port, true, [0, 1], SYN | ACK, &[]), 1);
    }
    for piece in pieces(data) {
        let side = usize::from(piece.high);
        if !piece.low {
            let numbers = [sequence[side], sequence[1 - side]];
            watched.frame(&packet(protocol, port, piece.high, numbers, ACK, piece.bytes), 1000);
        }
        sequence[side] = sequence[side].wrapping_add(piece.bytes.len() as u32);
    }
    watched.end();
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// A packet of IPv4. Checksums are those of an offloading interface: none.
fn packet(
    protocol: u8,
    port: u16,
    server: bool,
    [sequence, acknowledged]: [u32; 2],
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (mut hosts, mut ports) = ([[192, 0, 2, 1], [192, 0, 2, 2]], [40_000, port]);
    if server {
        hosts.reverse();
        ports.reverse();
    }
    let mut transport = ports.map(u16::to_be_bytes).concat();
    if protocol == TCP {
        transport.extend([sequence, acknowledged].map(u32::to_be_bytes).concat());
        transport.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        transport.extend([((payload.len() + 8) as u16).to_be_bytes(), [0, 0]].concat());
    }
    let length = (20 + transport.len() + payload.len()) as u16;
    let head = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 1, 0x40, 0, 64, protocol, 0, 0]].concat();
    [&head[..], hosts.as_flattened(), &transport, payload].concat()
}
