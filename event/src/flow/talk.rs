//! The application layer of one flow: which protocol its first bytes show, and what its messages say.
//!
//! The flow table gives the payload of each side in order; whoever reads the protocol writes its lines (dns.rs, tls.rs,
//! http.rs, ssh.rs, smb.rs, dce_rpc.rs). A stream is recognised by its first bytes on any port (signature.rs); DNS by its port and its form.
//!
//! Limits: a flow of which nothing is known, or nothing more is to be known, takes 16 bytes. What each reader keeps is
//! bounded where it is kept, and freed as soon as it said what matters. What it never does: allocate for a packet that says
//! nothing, or look at a side that has nothing more to say ([`Talk::wants`]).

use std::fmt::Display;
use std::net::IpAddr;

use super::dce_rpc::DceRpc;
use super::dns::{Dns, DnsStream, Message};
use super::http::Http;
use super::line::Line;
use super::record::Protocol;
use super::signature::{self, App, PROBE_BYTES_MAX, Ports, Verdict};
use super::smb::Smb;
use super::ssh::Ssh;
use super::tls::Tls;
use crate::Micros;

/// Datagrams of a flow that are looked at before it stays unknown.
const PROBE_DATAGRAMS_MAX: u8 = 4;

/// What a line of the application layer needs to know of its flow.
pub(super) struct Context<'a> {
    /// Of the packet.
    pub(super) ts: Micros,
    pub(super) src_ip: IpAddr,
    pub(super) dst_ip: IpAddr,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    /// IANA's protocol number.
    pub(super) protocol: u8,
    /// Shown only when a line is written: it takes a hash.
    pub(super) community_id: &'a dyn Display,
}

/// Which side speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Speaker {
    Src,
    Dst,
}

/// Something for each side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides<T> {
    pub(super) src: T,
    pub(super) dst: T,
}

/// What the flow's own record is to know.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) server_name: Box<str>,
    pub(super) ja4: Box<str>,
}

/// The application layer of one flow.
#[derive(Debug, Default)]
pub(super) struct Talk {
    app: App,
    /// Datagrams looked at in vain.
    probed: u8,
    /// Sides that have nothing more to say.
    over: Sides<bool>,
    known: Option<Box<Known>>,
}

/// What is kept of a flow that has something to say.
#[derive(Debug, Default)]
struct Known {
    names: Names,
    reader: Reader,
}

#[derive(Debug, Default)]
enum Reader {
    /// Nobody reads any more.
    #[default]
    None,
    /// First bytes of each side, too few to recognise a protocol.
    Probe(Box<Sides<Probe>>),
    Dns(Dns),
    DnsStream(Box<DnsStream>),
    Tls(Box<Tls>),
    Http(Box<Http>),
    Ssh(Box<Ssh>),
    Smb(Box<Smb>),
    DceRpc(Box<DceRpc>),
}

#[derive(Debug, Default)]
struct Probe {
    kept: Vec<u8>,
    /// Whether bytes before these were lost.
    gap: bool,
}

impl Talk {
    /// Takes payload of a TCP side, in order, without what was seen before. `gap`: bytes before it were lost.
    pub(super) fn stream(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        gap: bool,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        if bytes.is_empty() || !self.wants(speaker) {
            return;
        }
        if self.is_probing() {
            self.probe(speaker, bytes, gap, context, out);
        } else {
            self.read(speaker, bytes, gap, context, out);
        }
    }

    /// Takes the payload of a UDP datagram.
    pub(super) fn datagram(
        &mut self,
        speaker: Speaker,
        bytes: &[u8],
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        if bytes.is_empty() || !self.wants(speaker) {
            return;
        }
        let of_dns = dns_app(context.ports());
        if of_dns != App::Unknown
            && let Some(message) = Message::parse(bytes)
        {
            return self.dns(of_dns, &message, bytes.len(), context, out);
        }
        if self.app != App::Unknown {
            return;
        }
        self.app = signature::datagram(bytes, context.ports());
        self.probed = self.probed.saturating_add(1);
        if self.app != App::Unknown || self.probed >= PROBE_DATAGRAMS_MAX {
            self.over = Sides { src: true, dst: true };
        }
    }

    /// The flow is over: what is half known is written.
    pub(super) fn end(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        let Some(known) = &mut self.known else { return };
        let mut reader = std::mem::take(&mut known.reader);
        reader.end(context, &mut known.names, out);
        self.over = Sides { src: true, dst: true };
    }

    /// The protocol; empty when it is not known.
    pub(super) fn app(&self) -> &'static str {
        self.app.as_str()
    }

    /// The name that the client asked for: SNI, Host, or the first question.
    pub(super) fn server_name(&self) -> &str {
        self.known.as_ref().map_or("", |known| &known.names.server_name)
    }

    pub(super) fn ja4(&self) -> &str {
        self.known.as_ref().map_or("", |known| &known.names.ja4)
    }

    /// Whether bytes of a side can still matter.
    pub(super) fn wants(&self, speaker: Speaker) -> bool {
        !*self.over.get(speaker)
    }

    fn is_probing(&self) -> bool {
        self.known.as_ref().is_none_or(|known| matches!(known.reader, Reader::None | Reader::Probe(_)))
    }

    fn dns(
        &mut self,
        app: App,
        message: &Message<'_>,
        bytes: usize,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        self.app = app;
        let known = self.known.get_or_insert_default();
        if let Reader::None = known.reader {
            known.reader = Reader::Dns(Dns::default());
        }
        known.names.question(message);
        if let Reader::Dns(dns) = &mut known.reader {
            dns.message(message, bytes, context, out);
        }
    }

    /// Recognises the protocol of a stream.
    fn probe(&mut self, speaker: Speaker, bytes: &[u8], gap: bool, context: &Context<'_>, out: &mut Vec<u8>) {
        let mut probe = self.take_probe(speaker);
        if gap {
            probe = Probe { kept: Vec::new(), gap: true };
        }
        let mut said = bytes;
        if !probe.kept.is_empty() {
            probe.kept.extend_from_slice(bytes);
            said = &probe.kept;
        }
        match signature::stream(said, context.ports()) {
            Verdict::Is(app) => self.recognised(app, speaker, said, probe.gap, context, out),
            Verdict::Short if said.len() < PROBE_BYTES_MAX => {
                let kept = if probe.kept.is_empty() { bytes.to_vec() } else { probe.kept };
                self.keep_probe(speaker, Probe { kept, gap: probe.gap });
            }
            Verdict::Short | Verdict::Not => {
                *self.over.of(speaker) = true;
                self.free_when_over();
            }
        }
    }

    fn take_probe(&mut self, speaker: Speaker) -> Probe {
        match self.known.as_mut().map(|known| &mut known.reader) {
            Some(Reader::Probe(probes)) => std::mem::take(probes.of(speaker)),
            _ => Probe::default(),
        }
    }

    fn keep_probe(&mut self, speaker: Speaker, probe: Probe) {
        let known = self.known.get_or_insert_default();
        if let Reader::None = known.reader {
            known.reader = Reader::Probe(Box::default());
        }
        if let Reader::Probe(probes) = &mut known.reader {
            *probes.of(speaker) = probe;
        }
    }

    /// Gives the protocol's reader what both sides said so far; the other side spoke first if it spoke at all.
    fn recognised(
        &mut self,
        app: App,
        speaker: Speaker,
        said: &[u8],
        gap: bool,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) {
        let other = self.take_probe(speaker.other());
        if self.app == App::Unknown {
            self.app = app;
        }
        let known = self.known.get_or_insert_default();
        known.reader = match app {
            App::Dns => Reader::DnsStream(Box::default()),
            App::Tls => Reader::Tls(Box::default()),
            App::Http => Reader::Http(Box::new(Http::new(client(speaker, said)))),
            App::Ssh => Reader::Ssh(Box::default()),
            App::Smb => Reader::Smb(Box::default()),
            App::DceRpc => Reader::DceRpc(Box::default()),
            _ => Reader::None,
        };
        self.over = Sides::default();
        if !other.kept.is_empty() {
            self.read(speaker.other(), &other.kept, other.gap, context, out);
        }
        self.read(speaker, said, gap, context, out);
    }

    /// Gives bytes to the protocol's reader.
    fn read(&mut self, speaker: Speaker, bytes: &[u8], gap: bool, context: &Context<'_>, out: &mut Vec<u8>) {
        let Some(known) = &mut self.known else { return };
        let names = &mut known.names;
        match &mut known.reader {
            Reader::DnsStream(dns) => dns.stream(speaker, bytes, gap, context, names, out),
            Reader::Tls(tls) => tls.stream(speaker, bytes, gap, context, names),
            Reader::Ssh(ssh) => ssh.stream(speaker, bytes, gap, context),
            Reader::DceRpc(rpc) => rpc.stream(speaker, bytes, gap, context, out),
            Reader::Smb(smb) => {
                if smb.stream(speaker, bytes, gap, context, out) {
                    self.app = App::Smb1;
                }
            }
            Reader::Http(http) => {
                if let Some(left) = http.stream(speaker, bytes, gap, context, names, out) {
                    let inside = bytes.get(bytes.len().saturating_sub(left)..).unwrap_or_default();
                    return self.enter_tunnel(speaker, inside, context, out);
                }
            }
            Reader::None | Reader::Probe(_) | Reader::Dns(_) => {}
        }
        self.settle(context, out);
    }

    /// What a proxy passes through is recognised anew.
    fn enter_tunnel(&mut self, speaker: Speaker, inside: &[u8], context: &Context<'_>, out: &mut Vec<u8>) {
        self.finish(context, out);
        self.over = Sides::default();
        if !inside.is_empty() {
            self.probe(speaker, inside, false, context, out);
        }
    }

    /// Sees whether there is more to read, and ends the reader when there is not.
    fn settle(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        let Some(known) = &self.known else { return };
        self.over.src = !known.reader.wants(Speaker::Src);
        self.over.dst = !known.reader.wants(Speaker::Dst);
        if self.over.src && self.over.dst {
            self.finish(context, out);
        }
    }

    fn finish(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        if let Some(known) = &mut self.known {
            std::mem::take(&mut known.reader).end(context, &mut known.names, out);
        }
        self.free_when_over();
    }

    /// Keeps nothing of a flow that has no names, or names only.
    fn free_when_over(&mut self) {
        if !(self.over.src && self.over.dst) {
            return;
        }
        if let Some(known) = &mut self.known {
            known.reader = Reader::None;
            if known.names.server_name.is_empty() && known.names.ja4.is_empty() {
                self.known = None;
            }
        }
    }
}

impl Reader {
    fn wants(&self, speaker: Speaker) -> bool {
        match self {
            Self::None => false,
            Self::Probe(_) | Self::Dns(_) => true,
            Self::DnsStream(dns) => dns.wants(speaker),
            Self::Tls(tls) => tls.wants(speaker),
            Self::Http(http) => http.wants(speaker),
            Self::Ssh(ssh) => ssh.wants(speaker),
            Self::Smb(smb) => smb.wants(speaker),
            Self::DceRpc(rpc) => rpc.wants(speaker),
        }
    }

    fn end(&mut self, context: &Context<'_>, names: &mut Names, out: &mut Vec<u8>) {
        match self {
            Self::None | Self::Probe(_) | Self::Smb(_) | Self::DceRpc(_) => {}
            Self::Dns(dns) => dns.end(context, out),
            Self::DnsStream(dns) => dns.end(context, out),
            Self::Tls(tls) => tls.end(context, names, out),
            Self::Http(http) => http.end(context, names, out),
            Self::Ssh(ssh) => ssh.end(context, out),
        }
    }
}

impl Names {
    /// Keeps the flow's first question.
    pub(super) fn question(&mut self, message: &Message<'_>) {
        if self.server_name.is_empty()
            && let Some(name) = message.name()
        {
            self.server_name = name.to_string().into();
        }
    }
}

impl Context<'_> {
    /// Begins a line of the flow.
    pub(super) fn line<'o>(&self, out: &'o mut Vec<u8>, kind: &'static str, ts: Micros) -> Line<'o> {
        let mut line = Line::begin(out, kind);
        line.plain("ts", ts);
        line.word("src_ip", self.src_ip);
        line.word("dst_ip", self.dst_ip);
        line.plain("src_port", self.src_port);
        line.plain("dst_port", self.dst_port);
        line.word("proto", Protocol(self.protocol));
        line.word("community_id", self.community_id);
        line
    }

    fn ports(&self) -> Ports {
        Ports { src: self.src_port, dst: self.dst_port }
    }
}

impl Speaker {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Src => Self::Dst,
            Self::Dst => Self::Src,
        }
    }
}

impl<T> Sides<T> {
    pub(super) fn of(&mut self, speaker: Speaker) -> &mut T {
        match speaker {
            Speaker::Src => &mut self.src,
            Speaker::Dst => &mut self.dst,
        }
    }

    pub(super) fn get(&self, speaker: Speaker) -> &T {
        match speaker {
            Speaker::Src => &self.src,
            Speaker::Dst => &self.dst,
        }
    }
}

/// The side that sends requests: the other one when what was said is a response.
fn client(speaker: Speaker, said: &[u8]) -> Speaker {
    if said.starts_with(b"HTTP/") { speaker.other() } else { speaker }
}

/// Which kind of DNS a port is for.
fn dns_app(ports: Ports) -> App {
    if ports.have(53) {
        App::Dns
    } else if ports.have(5353) {
        App::Mdns
    } else if ports.have(5355) {
        App::Llmnr
    } else {
        App::Unknown
    }
}
