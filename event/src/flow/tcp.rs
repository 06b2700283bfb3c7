//! What TCP's headers tell of a connection: Zeek's history and state of it, and which payload is new.
//!
//! Letters stand once for each side, upper case for the initiator's (Zeek repeats some of them for orders of magnitude): S a
//! SYN, H a SYN and ACK, A a bare ACK, D payload, F a FIN, R a RST, T payload seen before, G a gap, W a window of zero, I FIN
//! and RST together, Q SYN together with FIN or RST; `^` says that the meter took the first packet for an answer.

use super::frame::Tcp;
use super::talk::{Sides, Speaker};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// Letters of both sides, and the turn.
const LETTERS_MAX: usize = 23;

/// A connection as both sides' headers show it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    sides: Sides<Side>,
    letters: Letters,
    /// Who sent the first RST.
    reset_by: Option<Speaker>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The sequence number that comes next, once it is known.
    next: Option<u32>,
    flags: u8,
    syn: bool,
    syn_ack: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Letters {
    text: [u8; LETTERS_MAX],
    length: u8,
}

/// A segment's payload against what came before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// No payload.
    Empty,
    /// It follows, after so many bytes that are known already.
    Next { known: u32 },
    /// All of it is known.
    Again,
    /// Bytes are missing before it.
    Ahead,
}

impl Connection {
    /// Takes a segment of so many bytes of payload, and says where its payload stands. What lies ahead moves nothing: see
    /// [`Connection::skip_to`].
    pub(super) fn segment(&mut self, speaker: Speaker, tcp: Tcp, payload_bytes: u32) -> Place {
        let side = self.sides.of(speaker);
        side.flags |= tcp.flags;
        match (tcp.flags & SYN != 0, tcp.flags & ACK != 0) {
            (true, true) => side.syn_ack = true,
            (true, false) => side.syn = true,
            _ => {}
        }
        let place = side.place(tcp, payload_bytes);
        if tcp.flags & RST != 0 && self.reset_by.is_none() {
            self.reset_by = Some(speaker);
        }
        self.note(speaker, tcp, place, payload_bytes);
        place
    }

    /// What lay ahead is taken: so many bytes behind `seq` are known now, and what was missing before is given up.
    pub(super) fn skip_to(&mut self, speaker: Speaker, seq: u32, payload_bytes: u32) {
        self.advance(speaker, seq, payload_bytes);
        self.letters.add(b'G', speaker);
    }

    /// The sequence number that comes next from a side.
    pub(super) fn next(&self, speaker: Speaker) -> u32 {
        self.sides.get(speaker).next.unwrap_or_default()
    }

    /// Payload that was held is taken in its turn.
    pub(super) fn advance(&mut self, speaker: Speaker, seq: u32, payload_bytes: u32) {
        self.sides.of(speaker).next = Some(seq.wrapping_add(payload_bytes));
    }

    /// The first packet was taken for an answer.
    pub(super) fn turned(&mut self) {
        self.letters.push(b'^');
    }

    pub(super) fn history(&self) -> &str {
        let text = self.letters.text.get(..usize::from(self.letters.length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Both sides have ended it, or one broke it off.
    pub(super) fn is_over(&self) -> bool {
        self.reset_by.is_some() || (self.sides.src.flags & self.sides.dst.flags & FIN != 0)
    }

    /// Both sides have spoken as in a handshake, or it was picked up on its way: it may be silent for long.
    pub(super) fn is_established(&self) -> bool {
        let Sides { src, dst } = &self.sides;
        !self.is_over() && src.flags & ACK != 0 && dst.flags & ACK != 0
    }

    /// Zeek's `conn_state`.
    pub(super) fn state(&self) -> &'static str {
        let Sides { src, dst } = &self.sides;
        let (src_fin, dst_fin) = (src.flags & FIN != 0, dst.flags & FIN != 0);
        match (src.syn, dst.syn_ack, self.reset_by) {
            (true, true, _) if src_fin && dst_fin => "SF",
            (true, true, Some(Speaker::Src)) => "RSTO",
            (true, true, Some(Speaker::Dst)) => "RSTR",
            (true, true, None) if src_fin => "S2",
            (true, true, None) if dst_fin => "S3",
            (true, true, None) => "S1",
            (true, false, Some(Speaker::Dst)) => "REJ",
            (true, false, Some(Speaker::Src)) => "RSTOS0",
            (true, false, None) if src_fin => "SH",
            (true, false, None) if dst.flags == 0 => "S0",
            (false, true, Some(Speaker::Dst)) => "RSTRH",
            (false, true, None) if dst_fin => "SHR",
            _ => "OTH",
        }
    }

    fn note(&mut self, speaker: Speaker, tcp: Tcp, place: Place, payload_bytes: u32) {
        let has = |flag: u8| tcp.flags & flag != 0;
        let mut add = |holds: bool, letter: u8| {
            if holds {
                self.letters.add(letter, speaker);
            }
        };
        add(has(SYN) && (has(FIN) || has(RST)), b'Q');
        add(has(FIN) && has(RST), b'I');
        add(has(SYN) && !has(ACK), b'S');
        add(has(SYN) && has(ACK), b'H');
        add(place == Place::Again, b'T');
        add(payload_bytes > 0 && place != Place::Again, b'D');
        add(payload_bytes == 0 && has(ACK) && tcp.flags & (SYN | FIN | RST) == 0, b'A');
        add(tcp.window == 0 && !has(RST) && !has(SYN), b'W');
        add(has(FIN), b'F');
        add(has(RST), b'R');
    }
}

impl Side {
    fn place(&mut self, tcp: Tcp, payload_bytes: u32) -> Place {
        // SYN and FIN count as a byte each (RFC 9293, section 3.4).
        let seq = if tcp.flags & SYN != 0 { tcp.seq.wrapping_add(1) } else { tcp.seq };
        let end = seq.wrapping_add(payload_bytes);
        let Some(next) = self.next else {
            self.next = Some(end);
            return if payload_bytes == 0 { Place::Empty } else { Place::Next { known: 0 } };
        };
        if tcp.flags & SYN != 0 && tcp.flags & ACK == 0 {
            self.next = Some(end);
        }
        if payload_bytes == 0 {
            return Place::Empty;
        }
        let ahead = seq.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            return Place::Ahead;
        }
        let known = ahead.unsigned_abs();
        if known >= payload_bytes {
            return Place::Again;
        }
        self.next = Some(end);
        Place::Next { known }
    }
}

impl Letters {
    /// A letter once for each side.
    fn add(&mut self, letter: u8, speaker: Speaker) {
        let letter = match speaker {
            Speaker::Src => letter,
            Speaker::Dst => letter.to_ascii_lowercase(),
        };
        if !self.text.contains(&letter) {
            self.push(letter);
        }
    }

    fn push(&mut self, letter: u8) {
        if let Some(free) = self.text.get_mut(usize::from(self.length)) {
            *free = letter;
            self.length = self.length.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PSH: u8 = 0x08;

    /// Speaker, flags, sequence number, bytes of payload.
    type Segment = (Speaker, u8, u32, u32);

    fn connection(segments: &[Segment]) -> Connection {
        let mut connection = Connection::default();
        for (speaker, flags, seq, payload_bytes) in segments {
            let tcp = Tcp { seq: *seq, flags: *flags, window: 1 };
            connection.segment(*speaker, tcp, *payload_bytes);
        }
        connection
    }

    #[test]
    fn names_states_and_histories_as_zeek_does() {
        use Speaker::{Dst, Src};
        let (syn, syn_ack, ack) = ((Src, SYN, 9, 0), (Dst, SYN | ACK, 99, 0), (Src, ACK, 10, 0));
        let cases: [(&[Segment], &str, &str); 12] = [
            (&[syn], "S0", "S"),
            (&[syn, syn], "S0", "S"),
            (&[syn, (Dst, RST | ACK, 0, 0)], "REJ", "Sr"),
            (&[syn, syn_ack, ack], "S1", "ShA"),
            (
                &[syn, syn_ack, ack, (Src, ACK | PSH, 10, 5), (Dst, ACK, 100, 7), (Src, FIN | ACK, 15, 0)],
                "S2",
                "ShADdF",
            ),
            (&[syn, syn_ack, ack, (Dst, FIN | ACK, 100, 0), (Src, FIN | ACK, 10, 0)], "SF", "ShAfF"),
            (&[syn, syn_ack, ack, (Dst, FIN | ACK, 100, 0)], "S3", "ShAf"),
            (&[syn, syn_ack, (Src, RST, 10, 0)], "RSTO", "ShR"),
            (&[syn, syn_ack, ack, (Dst, RST, 100, 0)], "RSTR", "ShAr"),
            (&[syn, (Src, RST, 10, 0)], "RSTOS0", "SR"),
            (&[syn_ack, (Dst, RST, 100, 0)], "RSTRH", "hr"),
            (&[(Src, ACK, 10, 5), (Src, ACK, 10, 5)], "OTH", "DT"),
        ];
        for (segments, state, history) in cases {
            let connection = connection(segments);
            assert_eq!((connection.state(), connection.history()), (state, history));
        }
    }

    #[test]
    fn tells_new_payload_from_old_around_the_end_of_the_numbers() {
        let mut connection = Connection::default();
        let mut place =
            |seq: u32, bytes| connection.segment(Speaker::Src, Tcp { seq, flags: ACK, window: 1 }, bytes);
        let near = u32::MAX - 4;
        assert_eq!(place(near, 10), Place::Next { known: 0 });
        assert_eq!(place(near, 10), Place::Again);
        assert_eq!(place(near, 12), Place::Next { known: 10 });
        assert_eq!(place(near.wrapping_add(20), 1), Place::Ahead);
        assert_eq!(place(near.wrapping_add(12), 0), Place::Empty);
    }

    #[test]
    fn a_history_never_outgrows_its_room() {
        let mut connection = Connection::default();
        connection.turned();
        for speaker in [Speaker::Src, Speaker::Dst] {
            for flags in 0..=u8::MAX {
                for (seq, bytes) in [(10, 5), (10, 5), (1000, 1), (10, 0)] {
                    connection.segment(speaker, Tcp { seq, flags, window: 0 }, bytes);
                    connection.skip_to(speaker, seq, bytes);
                }
            }
        }
        let mut letters: Vec<char> = connection.history().chars().collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), connection.history().len());
        assert!(letters.len() <= LETTERS_MAX);
    }
}
