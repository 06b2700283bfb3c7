//! `systems.toml`: the organisations of a site, its information systems, their facts and approved security levels, which
//! hosts, addresses, networks and domains belong to them, the relays whose lines tell who wrote them, and the lines that join
//! its places.
//!
//! The tree of organisations is data: nothing here knows what a department or a commune is. An approved level stands only with
//! the decision that approved it (number, date, authority) and its legal basis, because every alert shows them. The path may
//! be a folder: then all its `*.toml` are read in the order of their names, as if they were one file.
//!
//! - `read.rs` reads the files: each error names file, line and key, and all of them are told at once, so that an operator
//!   mends a file in one go.
//! - `assess.rs` has the systems judged by the decrees, parts before the whole.
//! - `survey.rs` looks for what is no error and yet wants a person.
//!
//! What this never does: guess. A host that is in no system is not classified, and that is told on every alert.

pub(crate) mod assess;
mod read;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::civil::Date;
use thiserror::Error;
use toml::Value as Toml;

pub(crate) use survey::stated;

use crate::coverage::Span;
use crate::place::Place;
use crate::priority::Levels;

/// Deepest tree of organisations, and of systems that are parts of others: a state has five tiers at most; what is deeper is
/// a circle or a mistake.
const DEPTH_MAX: usize = 16;
/// Problems that one error tells.
const PROBLEMS_MAX: usize = 50;

/// Why the inventory is not taken.
#[derive(Debug, Error)]
pub enum InventoryError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}", problems.join("\n"))]
    Invalid { problems: Vec<String> },
}

impl InventoryError {
    /// How many things are wrong.
    pub(crate) fn faults(&self) -> usize {
        match self {
            Self::Read { .. } => 1,
            Self::Invalid { problems } => problems.len(),
        }
    }
}

/// Where something stands in the files of an inventory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Origin {
    /// Index of the file.
    file: usize,
    place: Place,
}

/// A value, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// Who owns and runs systems.
#[derive(Clone, Debug)]
pub(crate) struct Organisation {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The organisation above it; none for the top of a tree.
    pub(crate) parent: Option<String>,
    /// Electronic identifier code.
    pub(crate) code: Option<String>,
    pub(crate) days: Days,
    pub(crate) contact: Option<Contact>,
    /// Whether the security of systems is its task (đơn vị chuyên trách): the yearly report names it.
    pub(crate) security_unit: bool,
    pub(crate) origin: Origin,
}

/// Whom to call: what the dossier of a level asks of owner and operator.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Contact {
    pub(crate) representative: String,
    pub(crate) title: String,
    pub(crate) address: String,
    pub(crate) phone: String,
    pub(crate) email: String,
}

/// From a first to a last day; without one, always.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Days {
    pub(crate) from: Option<Date>,
    pub(crate) to: Option<Date>,
}

impl Days {
    pub(crate) fn hold(self, date: Date) -> bool {
        self.from.is_none_or(|first| first <= date) && self.to.is_none_or(|last| date <= last)
    }
}

/// An organisation that owned or ran a system, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tenure {
    pub(crate) organisation: String,
    pub(crate) days: Days,
    pub(crate) origin: Origin,
}

/// An information system.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) purpose: String,
    /// Organisations that answered for it, the present one last.
    pub(crate) owner: Vec<Tenure>,
    /// Organisations that ran it, the present one last.
    pub(crate) operator: Vec<Tenure>,
    /// Absent: not yet classified, which is level 0.
    pub(crate) level: Option<Level>,
    /// How far its dossier of the level is; none: nobody wrote it down.
    pub(crate) dossier: Option<Dossier>,
    /// What the decrees ask for; none when the system is no more than its components.
    pub(crate) facts: Option<BTreeMap<String, At<Toml>>>,
    /// Systems that it is made of.
    pub(crate) components: Vec<At<String>>,
    /// Names of the databases that it works on.
    pub(crate) databases: Vec<At<String>>,
    /// Names of hosts, as in their certificates.
    pub(crate) hosts: Vec<At<String>>,
    pub(crate) domains: Vec<At<String>>,
    /// Addresses (as the longest networks) and networks.
    pub(crate) networks: Vec<At<IpNet>>,
    /// Log sources that must report, or of which it is said that there are none.
    pub(crate) sources: Vec<At<Source>>,
    pub(crate) origin: Origin,
}

/// A line that joins a site to others, and who sees what crosses it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Whose site it is.
    pub(crate) organisation: At<String>,
    /// What it carries each way, in Mbit/s.
    pub(crate) mbps: u32,
    /// What is asked of it; 0 nothing.
    pub(crate) mbps_min: u32,
    /// What is behind it.
    pub(crate) networks: Vec<At<IpNet>>,
    /// The host whose agent meters it, or the address of the exporter.
    pub(crate) observer: String,
    /// The one source of the observer that counts, as flows name it; none when it has only one.
    pub(crate) source: Option<String>,
    /// On which side of the line the interface is whose counters tell what it carries; none: flow records do.
    pub(crate) counters: Option<Side>,
}

/// A side of a line.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// What the interface sends leaves the place.
    Outside,
    /// What it receives does.
    Inside,
}

/// How far the dossier of a system's level is, and its plan of protection: what the yearly report (Mẫu 08) asks besides the
/// approved level.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dossier {
    pub(crate) status: Option<DossierStatus>,
    /// The decision that issued the regulation on the system's protection.
    pub(crate) regulation: String,
    pub(crate) approval_expected: Option<Date>,
    pub(crate) plan: Option<Plan>,
    pub(crate) plan_expected: Option<Date>,
    pub(crate) assessed: Vec<Assessed>,
}

/// How far a dossier is, the later the greater.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DossierStatus {
    Draft,
    Submitted,
    Appraised,
    Approved,
}

/// How much of the plan of protection is in place.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plan {
    None,
    Partly,
    Full,
}

/// When a system's protection was assessed.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Assessed {
    BeforeUse,
    Periodic,
}

/// What the inventory says of a log source of a system.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Source {
    /// The id of its kind (`coverage.toml`).
    pub(crate) id: String,
    /// After which silence it is alerted, where that is not as for all systems.
    pub(crate) silent_after: Option<Span>,
    /// How often its canary must come out as an alert.
    pub(crate) canary: Option<Span>,
    /// The system that has it for this one: the firewall of the data centre.
    pub(crate) by: Option<String>,
    /// Why the system has no such source, though its level asks for it.
    pub(crate) absent: Option<String>,
}

/// The approved security level, and by what right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Level {
    /// 1 to 5.
    pub(crate) approved: u8,
    /// Number of the decision that approved it.
    pub(crate) decision: String,
    pub(crate) date: String,
    /// Who decided.
    pub(crate) authority: String,
    /// Articles that the level rests on.
    pub(crate) basis: String,
    /// The id of the decree by which it was approved.
    pub(crate) decree: Option<At<String>>,
    /// The day by which it is looked at again.
    pub(crate) recheck: Option<At<Date>>,
    pub(crate) origin: Origin,
}

/// Index of a system in its [`Inventory`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SystemIndex(usize);

/// A table that is asked for every event. A fast hash will do: its keys are the operator's, not an attacker's.
type Lookup<K> = HashMap<K, SystemIndex, foldhash::fast::RandomState>;

/// The inventory, indexed.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    files: Vec<PathBuf>,
    organisations: Vec<Organisation>,
    organisations_by_id: HashMap<String, usize>,
    systems: Vec<System>,
    links: Vec<Link>,
    by_id: HashMap<String, SystemIndex>,
    /// Hosts and domains, in lower case.
    by_host: Lookup<String>,
    /// Hosts that pass on what others write, in lower case.
    relays: BTreeSet<String>,
    /// Networks by the length of their prefix in IPv6 (IPv4 is mapped); the longest is asked first.
    by_network: BTreeMap<u8, Lookup<u128>>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// The inventory is not taken.
    Error,
    /// A person must act or decide.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something about the inventory that a person is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// What it is about: `system "a"`.
    pub(crate) subject: String,
    pub(crate) key: &'static str,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, subject, key, message, .. } = self;
        write!(f, "{}:{line}: ", file.display())?;
        if !subject.is_empty() {
            write!(f, "{subject}, {key}: ")?;
        }
        f.write_str(message)
    }
}

impl Inventory {
    /// Reads a file, or all `*.toml` of a folder, as [`load`](Self::load) does without levels.
    pub fn open(path: &Path) -> Result<Self, InventoryError> {
        Self::load(path, None)
    }

    /// Reads a file, or all `*.toml` of a folder. With levels, facts must be of the types that their decrees ask for, and log
    /// sources of the kinds that they know.
    pub(crate) fn load(path: &Path, levels: Option<&Levels>) -> Result<Self, InventoryError> {
        let (inventory, findings) = Self::read(path)?;
        inventory.unless_refused(findings, levels)
    }

    /// Reads as much as can be read, and what is wrong.
    pub(crate) fn read(path: &Path) -> Result<(Self, Vec<Finding>), InventoryError> {
        read::read(path)
    }

    /// Reads the text of one file; `path` is for its errors.
    #[cfg(test)]
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, InventoryError> {
        let (inventory, findings) = read::parse(text, path);
        inventory.unless_refused(findings, None)
    }

    /// Everything that a person must know about it on a day; the errors of reading it are not repeated.
    pub(crate) fn survey(&self, levels: &Levels, date: Date) -> Vec<Finding> {
        survey::survey(self, levels, date)
    }

    fn unless_refused(
        self,
        mut findings: Vec<Finding>,
        levels: Option<&Levels>,
    ) -> Result<Self, InventoryError> {
        findings.extend(levels.map(|levels| survey::refused(&self, levels)).unwrap_or_default());
        let mut problems: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            problems.push(format!("... and {more} more"));
        }
        if problems.is_empty() { Ok(self) } else { Err(InventoryError::Invalid { problems }) }
    }

    /// The system that a host or a domain belongs to. Names are compared in lower case.
    pub fn by_host(&self, host: &str) -> Option<SystemIndex> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.by_host.get(&host.to_ascii_lowercase()).copied();
        }
        self.by_host.get(host).copied()
    }

    /// Whether a host passes on what others write.
    pub(crate) fn is_relay(&self, host: &str) -> bool {
        !self.relays.is_empty() && self.relays.contains(&host.to_ascii_lowercase())
    }

    /// All such hosts, in lower case.
    pub(crate) fn relays(&self) -> impl Iterator<Item = &str> {
        self.relays.iter().map(String::as_str)
    }

    /// The system that an address belongs to: of all networks that hold it the one with the longest prefix.
    pub fn by_address(&self, address: Ipv6Addr) -> Option<SystemIndex> {
        let networks = self.by_network.iter().rev();
        networks.filter_map(|(length, systems)| systems.get(&masked(address, *length))).next().copied()
    }

    /// The network that is the next wider one around a network, and its system.
    fn around(&self, network: IpNet) -> Option<SystemIndex> {
        let (length, prefix) = mapped(network);
        let wider = self.by_network.range(..length).rev();
        let found = wider.filter_map(|(length, systems)| systems.get(&masked(prefix.into(), *length)));
        found.copied().next()
    }

    /// The id of a system of this inventory.
    pub fn id(&self, index: SystemIndex) -> &str {
        &self.system(index).id
    }

    /// A system of this inventory.
    pub(crate) fn system(&self, index: SystemIndex) -> &System {
        &self.systems[index.0]
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<SystemIndex> {
        self.by_id.get(id).copied()
    }

    /// The name of an organisation; its id when it has none.
    pub(crate) fn organisation_name<'i>(&'i self, id: &'i str) -> &'i str {
        self.organisation(id).map_or(id, |found| &found.name)
    }

    pub(crate) fn organisation(&self, id: &str) -> Option<&Organisation> {
        self.organisations_by_id.get(id).map(|index| &self.organisations[*index])
    }

    pub(crate) fn organisations(&self) -> &[Organisation] {
        &self.organisations
    }

    pub(crate) fn systems(&self) -> &[System] {
        &self.systems
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = SystemIndex> {
        (0..self.systems.len()).map(SystemIndex)
    }

    pub(crate) fn file(&self, origin: Origin) -> &Path {
        self.files.get(origin.file).map_or(Path::new(""), |file| file)
    }

    fn finding(
        &self,
        grade: Grade,
        origin: Origin,
        subject: String,
        key: &'static str,
        message: String,
    ) -> Finding {
        Finding { grade, file: self.file(origin).into(), line: origin.place.line, subject, key, message }
    }
}

impl SystemIndex {
    /// Position in [`Inventory::systems`].
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

impl Link {
    /// Whether it carries less than is asked of it.
    pub(crate) fn is_below_minimum(&self) -> bool {
        self.mbps < self.mbps_min
    }
}

impl System {
    /// 1 to 5; 0 when it is not classified.
    pub(crate) fn level(&self) -> u8 {
        self.level.as_ref().map_or(0, |level| level.approved)
    }

    /// Who answers for it now.
    pub(crate) fn owner(&self) -> &str {
        self.owner.last().map_or("", |tenure| &tenure.organisation)
    }
}

/// Who held a system on a day.
pub(crate) fn holder(tenures: &[Tenure], date: Date) -> Option<&Tenure> {
    tenures.iter().rev().find(|tenure| tenure.days.hold(date))
}

impl Level {
    /// Decision, date, authority and articles in one line, as an alert shows them.
    pub(crate) fn describe(&self) -> String {
        format!("{}, {}, {}; {}", self.decision, self.date, self.authority, self.basis)
    }
}

/// The prefix in IPv6: its length, and its bits without those of the host.
fn mapped(network: IpNet) -> (u8, u128) {
    match network {
        IpNet::V4(net) => {
            let length = net.prefix_len().saturating_add(96);
            (length, masked(net.addr().to_ipv6_mapped(), length))
        }
        IpNet::V6(net) => (net.prefix_len(), masked(net.addr(), net.prefix_len())),
    }
}

fn masked(address: Ipv6Addr, length: u8) -> u128 {
    let host_bits = 128_u32.saturating_sub(u32::from(length));
    address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

/// A network as the store has it: `PREFIX/LENGTH` in IPv6.
pub(crate) fn prefix(network: IpNet) -> String {
    let (length, prefix) = mapped(network);
    format!("{}/{length}", Ipv6Addr::from_bits(prefix))
}

/// An address or a network as a person writes it: an address without `/32` or `/128`.
fn shown(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// What a person writes as an address.
fn address(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>().ok().map(IpNet::from)
}
