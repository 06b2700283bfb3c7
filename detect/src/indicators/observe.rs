//! Which indicators an event names: its fields are looked at by name, one small table says how ([`FIELDS`]).
//!
//! The narrowest network and the longest name that are valid at the event's time are told, not those around them. An indicator
//! is told once an event, at the first field that names it. What names none costs no allocation.

use std::collections::HashMap;

use event::{Event, Micros, Value};

use super::{Indicator, IndicatorKind, Indicators, address, domain, url, value};
use crate::engine::NameHash;
use crate::limits::{INDICATOR_BYTES_MAX, SIGHTINGS_MAX};

/// How a field is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reads {
    /// An address, or several with commas or semicolons between them.
    Address,
    /// A host's name or address, with a port or without; or several, as above.
    Host,
    /// A URL; its host is looked at, too.
    Url,
    /// A hash of a file by its length, or several by name: Sysmon's `SHA1=...,MD5=...,IMPHASH=...`.
    Hash,
    Ja3,
    Ja4,
}

/// Native names of fields: flows, DNS, TLS and HTTP of our own meter, Sysmon and Windows, web servers, and ECS.
const FIELDS: [(&str, Reads); 66] = [
    ("src_ip", Reads::Address),
    ("dst_ip", Reads::Address),
    ("c-ip", Reads::Address),
    ("x_forwarded_for", Reads::Address),
    ("SourceIp", Reads::Address),
    ("DestinationIp", Reads::Address),
    ("SourceAddress", Reads::Address),
    ("DestAddress", Reads::Address),
    ("ClientAddress", Reads::Address),
    ("IpAddress", Reads::Address),
    ("ClientIP", Reads::Address),
    ("RemoteAddress", Reads::Address),
    ("source.ip", Reads::Address),
    ("destination.ip", Reads::Address),
    ("client.ip", Reads::Address),
    ("server.ip", Reads::Address),
    ("dns.resolved_ip", Reads::Address),
    ("id.orig_h", Reads::Address),
    ("id.resp_h", Reads::Address),
    ("source.address", Reads::Host),
    ("destination.address", Reads::Host),
    ("client.address", Reads::Host),
    ("server.address", Reads::Host),
    ("src_host", Reads::Host),
    ("query", Reads::Host),
    ("answer", Reads::Host),
    ("answers", Reads::Host),
    ("QNAME", Reads::Host),
    ("QueryName", Reads::Host),
    ("QueryResults", Reads::Host),
    ("server_name", Reads::Host),
    ("subject_cn", Reads::Host),
    ("cs-host", Reads::Host),
    ("r-dns", Reads::Host),
    ("SourceHostname", Reads::Host),
    ("DestinationHostname", Reads::Host),
    ("TargetServerName", Reads::Host),
    ("dns.question.name", Reads::Host),
    ("dns.answers.data", Reads::Host),
    ("source.domain", Reads::Host),
    ("destination.domain", Reads::Host),
    ("url.domain", Reads::Host),
    ("tls.client.server_name", Reads::Host),
    ("c-uri", Reads::Url),
    ("cs-uri", Reads::Url),
    ("cs-referer", Reads::Url),
    ("url.full", Reads::Url),
    ("url.original", Reads::Url),
    ("http.request.referrer", Reads::Url),
    ("Hashes", Reads::Hash),
    ("Hash", Reads::Hash),
    ("FileHash", Reads::Hash),
    ("md5", Reads::Hash),
    ("sha1", Reads::Hash),
    ("sha256", Reads::Hash),
    ("file.hash.md5", Reads::Hash),
    ("file.hash.sha1", Reads::Hash),
    ("file.hash.sha256", Reads::Hash),
    ("process.hash.md5", Reads::Hash),
    ("process.hash.sha1", Reads::Hash),
    ("process.hash.sha256", Reads::Hash),
    ("dll.hash.sha256", Reads::Hash),
    ("ja3", Reads::Ja3),
    ("tls.client.ja3", Reads::Ja3),
    ("ja4", Reads::Ja4),
    ("tls.client.ja4", Reads::Ja4),
];

/// The fields of which a URL is put together that no field has whole. Servers log the target, our meter its parts.
const REQUEST_HOST: &str = "cs-host";
const REQUEST_TARGET: &str = "cs-uri";
const REQUEST_STEM: &str = "cs-uri-stem";
const REQUEST_QUERY: &str = "cs-uri-query";

/// Names and addresses of one field, at most: a DNS answer has room for some dozens.
const PARTS_MAX: usize = 64;

/// The part of [`FIELDS`] that a set can say something of.
#[derive(Debug, Default)]
pub(super) struct Fields(HashMap<&'static str, Reads, NameHash>);

/// An indicator that an event names.
#[derive(Clone, Debug)]
pub struct Sighting<'s> {
    pub indicator: Indicator<'s>,
    /// The field that names it, and the field's value.
    pub field: String,
    pub value: String,
}

/// What a thread keeps from event to event, so that looking costs no allocation.
#[derive(Debug, Default)]
pub struct Sightseer {
    key: Vec<u8>,
    url: String,
}

impl Fields {
    pub(super) fn of(set: &Indicators) -> Self {
        let is_of_use = |reads: &Reads| reads.kinds().iter().any(|kind| set.has(*kind));
        Self(FIELDS.into_iter().filter(|(_, reads)| is_of_use(reads)).collect())
    }
}

impl Reads {
    fn kinds(self) -> &'static [IndicatorKind] {
        use IndicatorKind::{Address, Domain, Ja3, Ja4, Md5, Sha1, Sha256, Url};
        match self {
            Self::Address => &[Address],
            Self::Host => &[Address, Domain],
            Self::Url => &[Address, Domain, Url],
            Self::Hash => &[Md5, Sha1, Sha256],
            Self::Ja3 => &[Ja3],
            Self::Ja4 => &[Ja4],
        }
    }
}

impl Indicators {
    /// The indicators that an event names and that are valid at its time.
    pub fn observe<'s>(&'s self, event: &Event<'_>, sightseer: &mut Sightseer) -> Vec<Sighting<'s>> {
        let mut look = Look { set: self, ts: Some(event.ts), sightseer, found: Vec::new() };
        if self.is_empty() {
            return look.found;
        }
        for (name, value) in &event.fields {
            if let Some(reads) = self.fields.0.get(&**name)
                && let Value::Text(text) = value
            {
                look.field(name, *reads, text);
            }
        }
        if self.has(IndicatorKind::Url) {
            look.request(event);
        }
        look.found
    }

    /// All indicators that a value as people type it is one of, or belongs to; valid or not.
    pub fn lookup(&self, value: &str) -> Vec<Indicator<'_>> {
        let value = value::refanged(value);
        let mut sightseer = Sightseer::default();
        let mut look = Look { set: self, ts: None, sightseer: &mut sightseer, found: Vec::new() };
        for reads in [Reads::Host, Reads::Url, Reads::Hash, Reads::Ja3, Reads::Ja4] {
            look.field("", reads, &value);
        }
        if value.contains('/') {
            // A network itself, or a URL without its scheme.
            look.exact(IndicatorKind::Address, "", &value);
            look.exact(IndicatorKind::Url, "", &value);
        }
        look.found.into_iter().map(|sighting| sighting.indicator).collect()
    }
}

/// One event under the eyes of one set.
struct Look<'s, 'k> {
    set: &'s Indicators,
    /// `None`: at any time, and also what lies around what was found.
    ts: Option<Micros>,
    sightseer: &'k mut Sightseer,
    found: Vec<Sighting<'s>>,
}

impl<'s> Look<'s, '_> {
    fn field(&mut self, name: &str, reads: Reads, text: &str) {
        match reads {
            Reads::Address => parts(text).for_each(|part| self.address(name, part)),
            Reads::Host => parts(text).for_each(|part| self.host(name, part)),
            Reads::Url => self.url(name, text),
            Reads::Hash => self.hashes(name, text),
            Reads::Ja3 => self.exact(IndicatorKind::Ja3, name, text),
            Reads::Ja4 => self.exact(IndicatorKind::Ja4, name, text),
        }
    }

    fn exact(&mut self, kind: IndicatorKind, field: &str, text: &str) {
        if self.set.has(kind) && value::key(kind, text, &mut self.sightseer.key).is_ok() {
            let key = std::mem::take(&mut self.sightseer.key);
            self.tell(kind, &key, field, text);
            self.sightseer.key = key;
        }
    }

    fn address(&mut self, field: &str, text: &str) {
        let set = self.set;
        if !set.has(IndicatorKind::Address) {
            return;
        }
        let Some(ip) = address::address(text) else { return };
        let mut key = std::mem::take(&mut self.sightseer.key);
        for net in set.prefixes.around(ip) {
            address::put(net, &mut key);
            if self.tell(IndicatorKind::Address, &key, field, text) {
                break;
            }
        }
        self.sightseer.key = key;
    }

    fn host(&mut self, field: &str, text: &str) {
        // Few names begin as addresses do; those that do are taken for what they turn out to be.
        if address::address(text).is_some() {
            return self.address(field, text);
        }
        let set = self.set;
        let name = address::without_port(text);
        if !set.has(IndicatorKind::Domain)
            || value::key(IndicatorKind::Domain, name, &mut self.sightseer.key).is_err()
        {
            return;
        }
        let key = std::mem::take(&mut self.sightseer.key);
        for end in domain::ends(&key, set.labels_max) {
            if self.tell(IndicatorKind::Domain, end, field, text) {
                break;
            }
        }
        self.sightseer.key = key;
    }

    fn url(&mut self, field: &str, text: &str) {
        // A target without a host is put together with it below.
        if let Some(host) = url::host(text) {
            self.exact(IndicatorKind::Url, field, text);
            self.host(field, host);
        }
    }

    fn hashes(&mut self, field: &str, text: &str) {
        for part in parts(text) {
            let kind = match part.split_once('=') {
                // IMPHASH and TLSH are other things than hashes of the file.
                Some((name, hash)) => IndicatorKind::named(name).map(|kind| (kind, hash)),
                None => by_length(part).map(|kind| (kind, part)),
            };
            if let Some((kind, hash)) = kind {
                self.exact(kind, field, hash);
            }
        }
    }

    /// The URL that a request asks, of the host and what stands behind it.
    fn request(&mut self, event: &Event<'_>) {
        let Some(host) = event.text(REQUEST_HOST) else { return };
        let (target, query) = match event.text(REQUEST_TARGET) {
            Some(target) => (target, None),
            None => match event.text(REQUEST_STEM) {
                Some(stem) => (stem, event.text(REQUEST_QUERY).filter(|query| !query.is_empty())),
                None => return,
            },
        };
        if !target.starts_with('/') || target.len().saturating_add(host.len()) > INDICATOR_BYTES_MAX {
            return;
        }
        let mut url = std::mem::take(&mut self.sightseer.url);
        url.clear();
        url.push_str(host);
        url.push_str(target);
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        self.exact(IndicatorKind::Url, REQUEST_TARGET, &url);
        self.sightseer.url = url;
    }

    /// Tells the feeds that name the value. Whether that is enough.
    fn tell(&mut self, kind: IndicatorKind, key: &[u8], field: &str, value: &str) -> bool {
        let mut is_enough = false;
        for indicator in self.set.of_key(kind, key) {
            if self.ts.is_some_and(|ts| !indicator.is_valid(ts)) {
                continue;
            }
            is_enough = self.ts.is_some();
            let is_told = self.found.iter().any(|told| told.indicator.at == indicator.at);
            if !is_told && self.found.len() < SIGHTINGS_MAX {
                self.found.push(Sighting { indicator, field: field.to_owned(), value: value.to_owned() });
            }
        }
        is_enough
    }
}

/// The parts of a list, as `X-Forwarded-For` (commas) and Sysmon's `QueryResults` (semicolons, aliases after `type: 5`) have them.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split([',', ';']).map(|part| part.strip_prefix("type:").map_or(part, last_word));
    parts.map(str::trim).filter(|part| !part.is_empty()).take(PARTS_MAX)
}

fn last_word(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or(text)
}

fn by_length(hash: &str) -> Option<IndicatorKind> {
    match hash.len() {
        32 => Some(IndicatorKind::Md5),
        40 => Some(IndicatorKind::Sha1),
        64 => Some(IndicatorKind::Sha256),
        _ => None,
    }
}
