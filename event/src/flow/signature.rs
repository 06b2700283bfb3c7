//! Recognises an application protocol by the first bytes of a side, on any port.
//!
//! Signatures are tried in the order of a table; the first that does not say no decides, be it yes or "not enough bytes
//! yet". Each of them, once it said yes or no to some bytes, says the same to more of them: so it does not matter how a
//! stream was cut into segments. A port is asked only where bytes alone would be too weak a sign.
//!
//! Limits: [`PROBE_BYTES_MAX`] of a side. What it never does: claim that what follows keeps to the protocol.

use super::cursor::Cursor;

/// Most bytes of a side that are looked at: a request line of HTTP, with a target as long as servers take.
pub(super) const PROBE_BYTES_MAX: usize = 8 * 1024;

/// Application protocols that are told apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum App {
    #[default]
    Unknown,
    // Those that have a reader.
    Dns,
    Mdns,
    Llmnr,
    Tls,
    Http,
    Ssh,
    Quic,
    // Those that are only recognised.
    Amqp,
    BitTorrent,
    DceRpc,
    Dhcp,
    Dnp3,
    Dtls,
    Ftp,
    Http2,
    Ike,
    Imap,
    IsoTsap,
    Kerberos,
    Ldap,
    Memcached,
    Modbus,
    MongoDb,
    Mqtt,
    MsSql,
    MySql,
    Nbns,
    Ntp,
    OpenVpn,
    Oracle,
    Pop3,
    PostgreSql,
    Radius,
    Rdp,
    Redis,
    Rsync,
    Rtsp,
    Sip,
    Smb,
    /// Version 1 is spoken; told by the reader of SMB.
    Smb1,
    Smtp,
    Snmp,
    Socks,
    Ssdp,
    Stun,
    Syslog,
    Telnet,
    Tftp,
    Vnc,
    WireGuard,
}

/// What a signature says to some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Is(App),
    /// More bytes will tell.
    Short,
    Not,
}

/// Ports of a flow. Either may be the server's: a capture may begin in the middle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) src: u16,
    pub(super) dst: u16,
}

impl Ports {
    pub(super) fn have(self, port: u16) -> bool {
        self.src == port || self.dst == port
    }
}

type Signature = fn(&[u8], Ports) -> Verdict;

/// Those of streams. What is told by a fixed beginning comes first, lines of text last.
const STREAMS: [Signature; 13] = [
    dns_stream,
    tls,
    prefixes,
    smb,
    tpkt,
    kerberos_stream,
    ldap,
    mysql,
    postgresql,
    little_endian,
    field_bus,
    socks,
    text,
];

const DATAGRAMS: [Signature; 6] = [quic, kerberos, snmp, ldap, marked_datagram, datagram_by_port];

/// Recognises a stream by the first bytes of a side.
pub(super) fn stream(bytes: &[u8], ports: Ports) -> Verdict {
    decide(&STREAMS, bytes, ports)
}

/// Recognises a flow of datagrams by one of them.
pub(super) fn datagram(bytes: &[u8], ports: Ports) -> App {
    match decide(&DATAGRAMS, bytes, ports) {
        Verdict::Is(app) => app,
        Verdict::Short | Verdict::Not => App::Unknown,
    }
}

fn decide(signatures: &[Signature], bytes: &[u8], ports: Ports) -> Verdict {
    let said = |signature: &Signature| signature(bytes, ports);
    signatures.iter().map(said).find(|verdict| *verdict != Verdict::Not).unwrap_or(Verdict::Not)
}

/// Whether bytes match a pattern of which [`None`] is any byte.
fn pattern(bytes: &[u8], wanted: &[Option<u8>], app: App) -> Verdict {
    if bytes.iter().zip(wanted).any(|(byte, wanted)| wanted.is_some_and(|wanted| wanted != *byte)) {
        return Verdict::Not;
    }
    if bytes.len() < wanted.len() { Verdict::Short } else { Verdict::Is(app) }
}

fn prefix(bytes: &[u8], wanted: &[u8], app: App) -> Verdict {
    if bytes.starts_with(wanted) {
        Verdict::Is(app)
    } else if wanted.starts_with(bytes) {
        Verdict::Short
    } else {
        Verdict::Not
    }
}

/// Decides by the first `N` bytes, given that what comes before them did not say no.
fn by_first<const N: usize>(bytes: &[u8], app: App, is: impl FnOnce(&[u8; N]) -> bool) -> Verdict {
    match bytes.first_chunk::<N>() {
        None => Verdict::Short,
        Some(first) if is(first) => Verdict::Is(app),
        Some(_) => Verdict::Not,
    }
}

/// Two bytes of length, then a message with one question (a query or its response) or a change of a zone.
fn dns_stream(bytes: &[u8], ports: Ports) -> Verdict {
    if !ports.have(53) {
        return Verdict::Not;
    }
    by_first(bytes, App::Dns, |first: &[u8; 14]| {
        let mut cursor = Cursor::new(first);
        let [length, _, flags, questions, ..] = [(); 4].map(|()| cursor.u16().unwrap_or_default());
        length >= 12 && flags >> 11 & 0xf <= 6 && flags & 0x40 == 0 && questions <= 1
    })
}

/// A record with a hello, an alert or data in it.
fn tls(bytes: &[u8], _ports: Ports) -> Verdict {
    match bytes {
        [] => Verdict::Short,
        [20..=23] | [20..=23, 3] => Verdict::Short,
        [22, 3, 0..=4, rest @ ..] => match rest {
            [_, _, 1 | 2, ..] => Verdict::Is(App::Tls),
            [_, _, _, ..] => Verdict::Not,
            _ => Verdict::Short,
        },
        // The middle of a connection: a whole record of data, an alert, or the change of ciphers.
        [20..=23, 3, 1..=4, rest @ ..] => match rest {
            [high, low, ..] if (1..=16_640).contains(&u16::from_be_bytes([*high, *low])) => {
                Verdict::Is(App::Tls)
            }
            [_, _, ..] => Verdict::Not,
            _ => Verdict::Short,
        },
        _ => Verdict::Not,
    }
}

/// What begins with bytes that nothing else begins with.
fn prefixes(bytes: &[u8], _ports: Ports) -> Verdict {
    const PREFIXES: [(&[u8], App); 13] = [
        (b"SSH-", App::Ssh),
        (b"HTTP/1.", App::Http),
        (b"HTTP/0.", App::Http),
        (b"RTSP/1.", App::Rtsp),
        (b"SIP/2.0 ", App::Sip),
        (b"PRI * HTTP/2.0\r\n", App::Http2),
        (b"RFB 00", App::Vnc),
        (b"AMQP", App::Amqp),
        (b"@RSYNCD:", App::Rsync),
        (b"\x13BitTorrent protocol", App::BitTorrent),
        (b"+OK ", App::Pop3),
        (b"* OK ", App::Imap),
        (b"* PREAUTH ", App::Imap),
    ];
    let said = |(wanted, app): &(&[u8], App)| prefix(bytes, wanted, *app);
    PREFIXES.iter().map(said).find(|verdict| *verdict != Verdict::Not).unwrap_or(Verdict::Not)
}

/// SMB in its frame (MS-SMB2, section 2.1), or a NetBIOS session before it (RFC 1002, section 4.3).
fn smb(bytes: &[u8], ports: Ports) -> Verdict {
    match bytes {
        [0x81 | 0x82, ..] if ports.have(139) => Verdict::Is(App::Smb),
        [0] | [0, 0 | 1] | [0, 0 | 1, _] | [0, 0 | 1, _, _] => Verdict::Short,
        [0, 0 | 1, _, _, 0xfc..=0xff, rest @ ..] => prefix(rest, b"SMB", App::Smb),
        _ => Verdict::Not,
    }
}

/// A connection request or confirmation of ISO 8073 in a TPKT (RFC 1006): RDP, or S7 and its like.
fn tpkt(bytes: &[u8], ports: Ports) -> Verdict {
    let app = if ports.have(102) { App::IsoTsap } else { App::Rdp };
    match bytes {
        [3, 0, _, _, _, 0xd0 | 0xe0, ..] => Verdict::Is(app),
        [3] | [3, 0] | [3, 0, _] | [3, 0, _, _] | [3, 0, _, _, _] => Verdict::Short,
        _ => Verdict::Not,
    }
}

/// Four bytes of length, then a message.
fn kerberos_stream(bytes: &[u8], ports: Ports) -> Verdict {
    match bytes {
        [0] | [0, 0 | 1] | [0, 0 | 1, _] | [0, 0 | 1, _, _] if ports.have(88) => Verdict::Short,
        [0, 0 | 1, _, _, message @ ..] if ports.have(88) => kerberos(message, ports),
        _ => Verdict::Not,
    }
}

/// A request, a reply or an error (RFC 4120, section 5): its tag, and the protocol's number 5 at its place.
fn kerberos(bytes: &[u8], _ports: Ports) -> Verdict {
    match bytes.first() {
        None => return Verdict::Short,
        Some(0x6a..=0x6d | 0x7e) => {}
        Some(_) => return Verdict::Not,
    }
    by_first(bytes, App::Kerberos, |first: &[u8; 16]| first.windows(3).any(|number| number == [2, 1, 5]))
}

/// A message of LDAP (RFC 4511, section 4.1.1): a sequence, a number, and the tag of an operation.
fn ldap(bytes: &[u8], _ports: Ports) -> Verdict {
    let mut cursor = Cursor::new(bytes);
    let mut operation = || {
        if cursor.u8()? != 0x30 {
            return Some(None);
        }
        ber_length(&mut cursor)?;
        if cursor.u8()? != 2 {
            return Some(None);
        }
        match cursor.u8()? {
            length @ 1..=4 => drop(cursor.take(length.into())?),
            _ => return Some(None),
        }
        cursor.u8().map(Some)
    };
    match operation() {
        None if bytes.first().is_none_or(|first| *first == 0x30) => Verdict::Short,
        Some(Some(0x60 | 0x61 | 0x63 | 0x64 | 0x65 | 0x77 | 0x78)) => Verdict::Is(App::Ldap),
        _ => Verdict::Not,
    }
}

/// A length of ASN.1's basic encoding, which is not needed.
fn ber_length(cursor: &mut Cursor<'_>) -> Option<()> {
    match cursor.u8()? {
        long @ 0x81..=0x84 => cursor.take(usize::from(long & 0xf)).map(drop),
        _ => Some(()),
    }
}

/// The greeting of a server: packet 0, protocol 10, a version in digits.
fn mysql(bytes: &[u8], _ports: Ports) -> Verdict {
    match bytes {
        [] | [_] | [_, 0 | 1] | [_, 0 | 1, 0] | [_, 0 | 1, 0, 0] | [_, 0 | 1, 0, 0, 10] => Verdict::Short,
        [_, 0 | 1, 0, 0, 10, b'0'..=b'9', ..] => Verdict::Is(App::MySql),
        _ => Verdict::Not,
    }
}

/// The first packet of a client: version 3, or a request for TLS, GSSAPI or a cancellation.
fn postgresql(bytes: &[u8], _ports: Ports) -> Verdict {
    const HEADS: [&[Option<u8>]; 3] = [
        &[Some(0), Some(0), None, None, Some(0), Some(3), Some(0), None],
        &[Some(0), Some(0), Some(0), Some(8), Some(4), Some(0xd2), Some(0x16), None],
        &[Some(0), Some(0), Some(0), Some(16), Some(4), Some(0xd2), Some(0x16), None],
    ];
    first_said(HEADS.iter().map(|head| pattern(bytes, head, App::PostgreSql)))
}

fn first_said(mut verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.find(|verdict| *verdict != Verdict::Not).unwrap_or(Verdict::Not)
}

/// Databases and queues with a binary head: MongoDB, SQL Server, Oracle, MQTT, DCE/RPC.
fn little_endian(bytes: &[u8], ports: Ports) -> Verdict {
    let any = None;
    let [zero, one] = [0, 1].map(Some);
    let dce_rpc = |kind| [Some(5), zero, Some(kind), any, any, zero, zero, zero];
    first_said(
        [
            pattern(bytes, &[Some(0x12), any, zero, any, zero, zero, any, zero], App::MsSql),
            pattern(bytes, &[Some(0x10), any, zero, Some(4), Some(b'M'), Some(b'Q')], App::Mqtt),
            pattern(bytes, &[Some(0x10), any, zero, Some(6), Some(b'M'), Some(b'Q')], App::Mqtt),
            pattern(bytes, &dce_rpc(0x0b), App::DceRpc),
            pattern(bytes, &dce_rpc(0x0c), App::DceRpc),
            pattern(bytes, &dce_rpc(0x00), App::DceRpc),
            at_port(ports, 1521, || {
                pattern(bytes, &[any, any, zero, zero, one, zero, zero, zero], App::Oracle)
            }),
            at_port(ports, 27017, || {
                by_first(bytes, App::MongoDb, |first: &[u8; 16]| {
                    matches!(first, [.., 0xd4 | 0xdc | 0xdd, 7, 0, 0] | [.., 1, 0, 0, 0])
                })
            }),
        ]
        .into_iter(),
    )
}

fn at_port(ports: Ports, port: u16, said: impl FnOnce() -> Verdict) -> Verdict {
    if ports.have(port) { said() } else { Verdict::Not }
}

/// Controllers of machines: Modbus over TCP, DNP3; and what begins with options of Telnet (RFC 854).
fn field_bus(bytes: &[u8], ports: Ports) -> Verdict {
    let [any, zero] = [None, Some(0)];
    let telnet = || match bytes {
        [0xff] => Verdict::Short,
        [0xff, 0xfa..=0xfe, ..] => Verdict::Is(App::Telnet),
        _ => Verdict::Not,
    };
    first_said(
        [
            at_port(ports, 502, || pattern(bytes, &[any, any, zero, zero, zero, any, any, any], App::Modbus)),
            at_port(ports, 20000, || pattern(bytes, &[Some(5), Some(0x64)], App::Dnp3)),
            telnet(),
        ]
        .into_iter(),
    )
}

/// A client's greeting of version 5 with the usual methods (RFC 1928), or a request of version 4.
fn socks(bytes: &[u8], ports: Ports) -> Verdict {
    first_said(
        [
            prefix(bytes, &[5, 1, 0], App::Socks),
            prefix(bytes, &[5, 1, 2], App::Socks),
            prefix(bytes, &[5, 2, 0, 1], App::Socks),
            prefix(bytes, &[5, 2, 0, 2], App::Socks),
            prefix(bytes, &[5, 3, 0, 1, 2], App::Socks),
            at_port(ports, 1080, || pattern(bytes, &[Some(4), Some(1), None, None], App::Socks)),
        ]
        .into_iter(),
    )
}

/// A first line of text: a request or a command by its form, a greeting by what it says of itself.
fn text(bytes: &[u8], ports: Ports) -> Verdict {
    // Text begins with printable characters: all else is not waited for.
    let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\t');
    let probe = bytes.get(..PROBE_BYTES_MAX).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', probe);
    let line = probe.get(..end.unwrap_or(probe.len())).unwrap_or_default();
    if !line.iter().take(16).all(printable) || (end.is_none() && probe.len() == PROBE_BYTES_MAX) {
        return Verdict::Not;
    }
    if end.is_none() {
        return Verdict::Short;
    }
    let line = line.trim_ascii_end();
    match line {
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => greeting(line, ports),
        [b'A'..=b'Z' | b'a'..=b'z', ..] => command(line),
        [b'*', b'1'..=b'9', ..] => Verdict::Is(App::Redis),
        _ => Verdict::Not,
    }
}

/// FTP and SMTP greet with the same code: the text tells, else the port.
fn greeting(line: &[u8], ports: Ports) -> Verdict {
    let says = |word: &[u8]| line.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if !line.starts_with(b"220") {
        return Verdict::Not;
    }
    match () {
        () if says(b"smtp") => Verdict::Is(App::Smtp),
        () if says(b"ftp") || ports.have(21) => Verdict::Is(App::Ftp),
        () if [25, 465, 587, 2525].into_iter().any(|port| ports.have(port)) => Verdict::Is(App::Smtp),
        // The client's first command will tell.
        () => Verdict::Not,
    }
}

fn command(line: &[u8]) -> Verdict {
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    let method = first.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'));
    let is = |app| Verdict::Is(app);
    match (first, last) {
        (_, [b'H', b'T', b'T', b'P', b'/', b'0' | b'1', b'.', ..]) if method => is(App::Http),
        (_, b"SIP/2.0") if method => is(App::Sip),
        (_, b"RTSP/1.0" | b"RTSP/2.0") if method => is(App::Rtsp),
        // HTTP 0.9 has no version, and neither have the requests of some scanners.
        (b"GET" | b"HEAD" | b"POST", _) if words.next().is_some_and(|target| target.starts_with(b"/")) => {
            is(App::Http)
        }
        (b"EHLO" | b"ehlo" | b"HELO" | b"helo", _) => is(App::Smtp),
        (b"USER" | b"AUTH" | b"FEAT", _) => is(App::Ftp),
        _ => Verdict::Not,
    }
}

/// A long header of version 1 (RFC 9000, section 17.2) or 2 (RFC 9369), or of a draft.
fn quic(bytes: &[u8], _ports: Ports) -> Verdict {
    match bytes {
        [0xc0..=0xff, 0, 0, 0, 1, ..]
        | [0xc0..=0xff, 0x6b, 0x33, 0x43, 0xcf, ..]
        | [0xc0..=0xff, 0xff, 0, 0, 1..=34, ..] => Verdict::Is(App::Quic),
        _ => Verdict::Not,
    }
}

/// A sequence, a version (0, 1 or 3), then a community or a header (RFC 3416, RFC 3412).
fn snmp(bytes: &[u8], _ports: Ports) -> Verdict {
    let mut cursor = Cursor::new(bytes);
    let mut fits = || {
        let sequence = cursor.u8()? == 0x30;
        ber_length(&mut cursor)?;
        let version = matches!(cursor.array()?, [2, 1, 0 | 1 | 3]);
        Some(sequence && version && matches!(cursor.u8()?, 0x04 | 0x30))
    };
    if fits() == Some(true) { Verdict::Is(App::Snmp) } else { Verdict::Not }
}

/// Datagrams that carry a mark of their own.
fn marked_datagram(bytes: &[u8], _ports: Ports) -> Verdict {
    const DHCP_COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
    const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    match bytes {
        [20..=23, 0xfe, 0xfd | 0xff, ..] => Verdict::Is(App::Dtls),
        [0..=0x3f, _, _, _, a, b, c, d, ..] if [*a, *b, *c, *d] == STUN_COOKIE => Verdict::Is(App::Stun),
        [1 | 2, ..] if bytes.get(236..240) == Some(&DHCP_COOKIE) => Verdict::Is(App::Dhcp),
        [1, 0, 0, 0, ..] if bytes.len() == 148 => Verdict::Is(App::WireGuard),
        [2, 0, 0, 0, ..] if bytes.len() == 92 => Verdict::Is(App::WireGuard),
        _ if bytes.starts_with(b"M-SEARCH * HTTP/1.1\r\n") => Verdict::Is(App::Ssdp),
        _ if bytes.starts_with(b"NOTIFY * HTTP/1.1\r\n") => Verdict::Is(App::Ssdp),
        _ if bytes.starts_with(b"d1:") => Verdict::Is(App::BitTorrent),
        _ if bytes.starts_with(b"SIP/2.0 ") => Verdict::Is(App::Sip),
        [b'A'..=b'Z', b'A'..=b'Z', ..] if first_line(bytes).ends_with(b" SIP/2.0") => Verdict::Is(App::Sip),
        _ => Verdict::Not,
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end()
}

/// Datagrams that have little to be told by: the port, and what the head must hold.
fn datagram_by_port(bytes: &[u8], ports: Ports) -> Verdict {
    let at = |port| ports.have(port);
    match bytes {
        // Versions 1 to 4, modes 1 to 7.
        [head, ..] if at(123) && (1..=4).contains(&(head >> 3 & 7)) && head & 7 != 0 && bytes.len() >= 8 => {
            Verdict::Is(App::Ntp)
        }
        [_, _, _, _, 0, 0..=8, ..] if at(137) => Verdict::Is(App::Nbns),
        [b'<', b'0'..=b'9', ..] if at(514) => Verdict::Is(App::Syslog),
        [0, 1..=6, ..] if at(69) => Verdict::Is(App::Tftp),
        [1..=5 | 11 | 40..=45, _, high, low, ..]
            if [1812, 1813, 1645, 1646].into_iter().any(at)
                && usize::from(u16::from_be_bytes([*high, *low])) <= bytes.len() =>
        {
            Verdict::Is(App::Radius)
        }
        [_, ..] if (at(500) || at(4500)) && bytes.len() >= 28 => Verdict::Is(App::Ike),
        [0x38 | 0x40 | 0x28 | 0x20 | 0x50, ..] if at(1194) && bytes.len() >= 14 => Verdict::Is(App::OpenVpn),
        [_, _, _, _, 0, _, 0, _, ..] if at(11211) => Verdict::Is(App::Memcached),
        _ => Verdict::Not,
    }
}

impl App {
    /// The name in records.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Dns => "dns",
            Self::Mdns => "mdns",
            Self::Llmnr => "llmnr",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::Quic => "quic",
            Self::Amqp => "amqp",
            Self::BitTorrent => "bittorrent",
            Self::DceRpc => "dce_rpc",
            Self::Dhcp => "dhcp",
            Self::Dnp3 => "dnp3",
            Self::Dtls => "dtls",
            Self::Ftp => "ftp",
            Self::Http2 => "http2",
            Self::Ike => "ike",
            Self::Imap => "imap",
            Self::IsoTsap => "iso_tsap",
            Self::Kerberos => "kerberos",
            Self::Ldap => "ldap",
            Self::Memcached => "memcached",
            Self::Modbus => "modbus",
            Self::MongoDb => "mongodb",
            Self::Mqtt => "mqtt",
            Self::MsSql => "mssql",
            Self::MySql => "mysql",
            Self::Nbns => "nbns",
            Self::Ntp => "ntp",
            Self::OpenVpn => "openvpn",
            Self::Oracle => "oracle",
            Self::Pop3 => "pop3",
            Self::PostgreSql => "postgresql",
            Self::Radius => "radius",
            Self::Rdp => "rdp",
            Self::Redis => "redis",
            Self::Rsync => "rsync",
            Self::Rtsp => "rtsp",
            Self::Sip => "sip",
            Self::Smb => "smb",
            Self::Smb1 => "smb1",
            Self::Smtp => "smtp",
            Self::Snmp => "snmp",
            Self::Socks => "socks",
            Self::Ssdp => "ssdp",
            Self::Stun => "stun",
            Self::Syslog => "syslog",
            Self::Telnet => "telnet",
            Self::Tftp => "tftp",
            Self::Vnc => "vnc",
            Self::WireGuard => "wireguard",
        }
    }
}
