//! `systems.toml`: the organisations of a site, its information systems, their approved security levels, and which hosts,
//! addresses and networks belong to them.
//!
//! The tree of organisations is data: nothing here knows what a department or a commune is. A level stands only with the
//! decision that approved it (number, date, authority) and its legal basis, because every alert shows them. The path may be
//! a folder: then all its `*.toml` are read in the order of their names, as if they were one file.
//!
//! An error names the file and the key, and all of them are told at once, so that an operator mends a file in one go. What
//! this never does: guess. A host that is in no system is not classified, and that is told on every alert.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

/// Largest file read, in bytes: 50,000 systems of the sample's size.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Deepest tree of organisations: a state has five tiers at most; what is deeper is a cycle or a mistake.
const DEPTH_MAX: usize = 16;
/// Problems that one error tells.
const PROBLEMS_MAX: usize = 50;

/// Why the inventory is not taken.
#[derive(Debug, Error)]
pub enum InventoryError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Toml { path: PathBuf, source: toml::de::Error },
    #[error("{}", problems.join("\n"))]
    Invalid { problems: Vec<String> },
}

/// Who owns and runs systems.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Organisation {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The organisation above it; none for the top of a tree.
    pub(crate) parent: Option<String>,
    /// Electronic identifier code.
    pub(crate) code: Option<String>,
}

/// An information system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct System {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Organisation that answers for it.
    pub(crate) owner: String,
    /// Organisation that runs it.
    pub(crate) operator: String,
    /// Absent: not yet classified, which is level 0.
    pub(crate) level: Option<Level>,
    /// Names of hosts, as in their certificates.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) networks: Vec<IpNet>,
}

/// The approved security level, and by what right.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    /// 1 to 5.
    pub(crate) approved: u8,
    /// Number of the decision that approved it.
    pub(crate) decision: String,
    /// Date of the decision, YYYY-MM-DD.
    pub(crate) date: String,
    /// Who decided.
    pub(crate) authority: String,
    /// Articles that the level rests on.
    pub(crate) basis: String,
}

/// Index of a system in its [`Inventory`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SystemIndex(usize);

/// The inventory, checked and indexed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    organisations: Vec<Organisation>,
    systems: Vec<System>,
    by_host: HashMap<String, SystemIndex>,
    /// Networks by the length of their prefix in IPv6 (IPv4 is mapped); the longest is asked first.
    by_network: BTreeMap<u8, HashMap<u128, SystemIndex>>,
}

impl Inventory {
    /// Reads a file, or all `*.toml` of a folder.
    pub(crate) fn load(path: &Path) -> Result<Self, InventoryError> {
        let mut draft = Draft::default();
        for path in files(path)? {
            draft.add(&path, &read(&path)?)?;
        }
        draft.finish()
    }

    /// Reads the text of one file; `path` is for its errors.
    #[cfg(test)]
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, InventoryError> {
        let mut draft = Draft::default();
        draft.add(path, text)?;
        draft.finish()
    }

    /// The system that a host belongs to. Names are compared in lower case.
    pub(crate) fn by_host(&self, host: &str) -> Option<SystemIndex> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.by_host.get(&host.to_ascii_lowercase()).copied();
        }
        self.by_host.get(host).copied()
    }

    /// The system that an address belongs to: of all networks that hold it the one with the longest prefix.
    pub(crate) fn by_address(&self, address: Ipv6Addr) -> Option<SystemIndex> {
        let networks = self.by_network.iter().rev();
        networks.filter_map(|(length, systems)| systems.get(&masked(address, *length))).next().copied()
    }

    /// A system of this inventory.
    pub(crate) fn system(&self, index: SystemIndex) -> &System {
        &self.systems[index.0]
    }

    /// The name of an organisation; its id when it has none.
    pub(crate) fn organisation_name<'i>(&'i self, id: &'i str) -> &'i str {
        self.organisations.iter().find(|organisation| organisation.id == id).map_or(id, |found| &found.name)
    }

    pub(crate) fn systems(&self) -> &[System] {
        &self.systems
    }
}

impl SystemIndex {
    /// Position in [`Inventory::systems`].
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

impl System {
    /// 1 to 5; 0 when it is not classified.
    pub(crate) fn level(&self) -> u8 {
        self.level.as_ref().map_or(0, |level| level.approved)
    }
}

impl Level {
    /// Decision, date, authority and articles in one line, as an alert shows them.
    pub(crate) fn describe(&self) -> String {
        format!("{}, {}, {}; {}", self.decision, self.date, self.authority, self.basis)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    organisation: Vec<Organisation>,
    #[serde(default)]
    system: Vec<System>,
}

/// An inventory that is being read, with all that is wrong with it.
#[derive(Default)]
struct Draft {
    inventory: Inventory,
    problems: Vec<String>,
    /// The file and key of each system, for what can be checked only when all files are read.
    places: Vec<String>,
    organisation_places: Vec<String>,
}

impl Draft {
    fn add(&mut self, path: &Path, text: &str) -> Result<(), InventoryError> {
        let file: File =
            toml::from_str(text).map_err(|source| InventoryError::Toml { path: path.into(), source })?;
        for organisation in file.organisation {
            let place = format!("{}: organisation {:?}", path.display(), organisation.id);
            self.organisation_places.push(place);
            self.inventory.organisations.push(organisation);
        }
        for system in file.system {
            let place = format!("{}: system {:?}", path.display(), system.id);
            self.check_system(&place, &system);
            self.index_system(&place, &system);
            self.places.push(place);
            self.inventory.systems.push(system);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Inventory, InventoryError> {
        self.check_organisations();
        self.check_owners();
        if self.problems.is_empty() {
            return Ok(self.inventory);
        }
        let more = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            self.problems.push(format!("... and {more} more"));
        }
        Err(InventoryError::Invalid { problems: self.problems })
    }

    fn check_system(&mut self, place: &str, system: &System) {
        if system.id.is_empty() || system.name.is_empty() {
            self.problem(place, "id, name", "not empty", "an empty one");
        }
        if self.inventory.systems.iter().any(|other| other.id == system.id) {
            self.problem(place, "id", "an id that no other system has", &system.id);
        }
        if let Some(level) = &system.level {
            self.check_level(place, level);
        }
    }

    fn check_level(&mut self, place: &str, level: &Level) {
        if !(1..=5).contains(&level.approved) {
            self.problem(place, "level.approved", "1 to 5", &level.approved.to_string());
        }
        if level.date.parse::<jiff::civil::Date>().is_err() {
            self.problem(place, "level.date", "a date YYYY-MM-DD", &level.date);
        }
        let texts = [
            ("level.decision", "the number of the decision that approved the level", &level.decision),
            ("level.authority", "who approved the level", &level.authority),
            ("level.basis", "the articles that the level rests on", &level.basis),
        ];
        for (key, expected, text) in texts {
            if text.trim().is_empty() {
                self.problem(place, key, expected, "nothing");
            }
        }
    }

    fn index_system(&mut self, place: &str, system: &System) {
        let index = SystemIndex(self.inventory.systems.len());
        for host in &system.hosts {
            let earlier = self.inventory.by_host.insert(host.to_ascii_lowercase(), index);
            self.check_free(place, "hosts", host, earlier);
        }
        let addresses = system.addresses.iter().map(|address| IpNet::from(*address));
        let keyed = addresses.map(|network| ("addresses", network));
        for (key, network) in keyed.chain(system.networks.iter().map(|network| ("networks", *network))) {
            if network.addr() != network.network() {
                let expected = format!("a network without host bits ({})", network.trunc());
                self.problem(place, key, &expected, &network.to_string());
                continue;
            }
            let (length, prefix) = mapped(network);
            let earlier = self.inventory.by_network.entry(length).or_default().insert(prefix, index);
            self.check_free(place, key, &network.to_string(), earlier);
        }
    }

    fn check_free(&mut self, place: &str, key: &str, value: &str, earlier: Option<SystemIndex>) {
        let Some(SystemIndex(earlier)) = earlier else { return };
        let owner = self.inventory.systems.get(earlier).map_or("this system", |system| &system.id).to_owned();
        self.problem(place, key, "what no other system has", &format!("{value}, which {owner} has too"));
    }

    fn check_organisations(&mut self) {
        let mut seen = HashSet::new();
        let parents: HashMap<String, Option<String>> = (self.inventory.organisations.iter())
            .map(|organisation| (organisation.id.clone(), organisation.parent.clone()))
            .collect();
        for index in 0..self.inventory.organisations.len() {
            let organisation = self.inventory.organisations[index].clone();
            let place = self.organisation_places[index].clone();
            if !seen.insert(organisation.id.clone()) {
                self.problem(&place, "id", "an id that no other organisation has", &organisation.id);
            }
            match &organisation.parent {
                Some(parent) if !parents.contains_key(parent) => {
                    self.problem(&place, "parent", "the id of an organisation", parent);
                }
                Some(parent) if climbs_for_ever(&organisation.id, &parents) => {
                    let expected = format!("a tree of at most {DEPTH_MAX} tiers");
                    self.problem(&place, "parent", &expected, &format!("{parent}, in a circle or too deep"));
                }
                _ => {}
            }
        }
    }

    fn check_owners(&mut self) {
        let known: HashSet<String> =
            self.inventory.organisations.iter().map(|organisation| organisation.id.clone()).collect();
        for index in 0..self.inventory.systems.len() {
            let system = &self.inventory.systems[index];
            let keys = [("owner", system.owner.clone()), ("operator", system.operator.clone())];
            let place = self.places[index].clone();
            for (key, id) in keys {
                if !known.contains(&id) {
                    self.problem(&place, key, "the id of an organisation", &id);
                }
            }
        }
    }

    fn problem(&mut self, place: &str, key: &str, expected: &str, found: &str) {
        let mut problem = place.to_owned();
        // Writing to a String cannot fail.
        let _ = write!(problem, ", {key}: expected {expected}, found {found}");
        self.problems.push(problem);
    }
}

fn climbs_for_ever(id: &str, parents: &HashMap<String, Option<String>>) -> bool {
    let mut at = id;
    for _ in 0..DEPTH_MAX {
        match parents.get(at) {
            Some(Some(parent)) => at = parent,
            _ => return false,
        }
    }
    true
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

fn files(path: &Path) -> Result<Vec<PathBuf>, InventoryError> {
    let failed = |source| InventoryError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, InventoryError> {
    let failed = |source| InventoryError::Read { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("{bytes} bytes, at most {FILE_BYTES_MAX}"))));
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"
[[organisation]]
id = "tinh"
name = "Ủy ban nhân dân tỉnh"

[[organisation]]
id = "so"
name = "Sở Mẫu"
parent = "tinh"
"#;

    fn system(id: &str, rest: &str) -> String {
        format!("[[system]]\nid='{id}'\nname='{id}'\nowner='so'\noperator='so'\n{rest}\n")
    }

    fn level(approved: u8, decision: &str, basis: &str) -> String {
        format!(
            "[system.level]\napproved={approved}\ndecision='{decision}'\ndate='2026-01-15'\nauthority='UBND'\nbasis='{basis}'"
        )
    }

    fn parse(text: &str) -> Result<Inventory, InventoryError> {
        Inventory::parse(text, Path::new("systems.toml"))
    }

    fn id_of(inventory: &Inventory, found: Option<SystemIndex>) -> &str {
        found.map_or("", |index| &inventory.system(index).id)
    }

    #[test]
    fn finds_a_system_by_host_and_by_the_longest_prefix() {
        let text = [
            HEAD.to_owned(),
            system("lan", "networks=['10.0.0.0/8', '2001:db8::/32']"),
            system("web", "hosts=['Web01']\nnetworks=['10.20.0.0/16']\naddresses=['2001:db8::80']"),
            system("rest", "networks=['0.0.0.0/0']"),
        ];
        let inventory = parse(&text.concat()).unwrap();
        let by_address = |text: &str| {
            let address = match text.parse().unwrap() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            id_of(&inventory, inventory.by_address(address))
        };
        assert_eq!(id_of(&inventory, inventory.by_host("WEB01")), "web");
        assert_eq!(id_of(&inventory, inventory.by_host("web02")), "");
        assert_eq!(by_address("10.20.255.255"), "web");
        assert_eq!(by_address("10.21.0.0"), "lan");
        assert_eq!(by_address("192.0.2.1"), "rest");
        assert_eq!(by_address("2001:db8::80"), "web");
        assert_eq!(by_address("2001:db8::81"), "lan");
        assert_eq!(by_address("2001:db9::"), "");
    }

    #[test]
    fn reads_the_shipped_sample_and_that_of_the_drills() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let sample = Inventory::load(&root.join("deploy/systems.toml")).unwrap();
        assert!(sample.by_host("web01").is_some());
        assert!(sample.systems().iter().all(|system| (1..=5).contains(&system.level())));
        let drills = Inventory::load(&root.join("tests/drills/systems.toml")).unwrap();
        assert!(drills.by_host("gw01").is_some());
    }

    #[test]
    fn reads_levels_1_to_5_and_rejects_those_beside_them() {
        for approved in 1..=5 {
            assert!(parse(&[HEAD, &system("a", &level(approved, "1/QĐ", "Điều 9"))].concat()).is_ok());
        }
        for approved in [0, 6] {
            let error =
                parse(&[HEAD, &system("a", &level(approved, "1/QĐ", "Điều 9"))].concat()).unwrap_err();
            let expected =
                format!("systems.toml: system \"a\", level.approved: expected 1 to 5, found {approved}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn rejects_and_tells_each_problem_with_its_key() {
        let cases = [
            (system("a", &level(3, " ", "Điều 9")), "level.decision"),
            (system("a", &level(3, "1/QĐ", "")), "level.basis"),
            (system("a", &level(3, "1/QĐ", "x").replace("2026-01-15", "15/01/2026")), "level.date"),
            (system("a", "hosts=['h']") + &system("b", "hosts=['H']"), "found H, which a has too"),
            (system("a", "hosts=['h','h']"), "found h, which this system has too"),
            (system("a", "networks=['10.0.0.1/8']"), "a network without host bits (10.0.0.0/8)"),
            (system("a", "networks=['10.0.0.0/8']") + &system("b", "networks=['10.0.0.0/8']"), "networks"),
            (system("a", "") + &system("a", ""), "an id that no other system has"),
            (
                system("a", "").replace("owner='so'", "owner='ai'"),
                "owner: expected the id of an organisation",
            ),
            ("[[organisation]]\nid='x'\nname='x'\nparent='y'\n".into(), "parent"),
            ("[[organisation]]\nid='x'\nname='x'\nparent='x'\n".into(), "in a circle"),
            ("[[organisation]]\nid='so'\nname='x'\n".into(), "an id that no other organisation has"),
        ];
        for (text, expected) in cases {
            let error = parse(&[HEAD, &text].concat()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}\n{error}");
            assert!(error.starts_with("systems.toml: "), "{error}");
        }
    }

    #[test]
    fn rejects_a_bad_network_and_an_unknown_key_with_the_line() {
        for rest in ["networks=['10.0.0.0/33']", "host=['h']"] {
            let error = parse(&[HEAD, &system("a", rest)].concat()).unwrap_err();
            assert!(error.to_string().contains("line"), "{error}");
        }
    }

    #[test]
    fn tells_all_problems_at_once() {
        let text = [HEAD.into(), system("a", &level(9, "", ""))].concat();
        assert_eq!(parse(&text).unwrap_err().to_string().lines().count(), 3);
    }
}
