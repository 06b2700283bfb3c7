//! The inventory: what is read, what is refused, what is found, and what a look over it tells.

use std::net::IpAddr;

use jiff::civil::date;

use super::*;
use crate::priority::Levels;

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
    let levels = Levels::load(&root.join("rules/levels"), date(2026, 10, 1)).unwrap();
    let sample = Inventory::load(&root.join("deploy/systems.toml"), Some(&levels)).unwrap();
    assert!(sample.by_host("web01").is_some());
    assert!(sample.systems().iter().all(|system| (1..=5).contains(&system.level())));
    let drills = Inventory::load(&root.join("tests/drills/systems.toml"), None).unwrap();
    assert!(drills.by_host("gw01").is_some());
}

#[test]
fn reads_levels_1_to_5_and_rejects_those_beside_them() {
    for approved in 1..=5 {
        assert!(parse(&[HEAD, &system("a", &level(approved, "1/QĐ", "Điều 9"))].concat()).is_ok());
    }
    for approved in [0, 6] {
        let error = parse(&[HEAD, &system("a", &level(approved, "1/QĐ", "Điều 9"))].concat()).unwrap_err();
        let expected =
            format!("systems.toml:16: system \"a\", level.approved: expected 1 to 5, found {approved}");
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
        (system("a", "domains=['d']") + &system("b", "hosts=['D']"), "found D, which a has too"),
        (system("a", "components=['b']"), "components: expected the id of a system"),
        (system("a", "components=['a']"), "components: expected no circle"),
        (
            system("a", "components=['b']") + &system("b", "components=['a']"),
            "components: expected no circle",
        ),
        (system("a", "").replace("owner='so'", "owner=[]"), "owner: expected an organisation"),
        (
            system("a", "").replace("owner='so'", "owner=[{ id = 'so', from = '2026-02-30' }]"),
            "owner: expected a date",
        ),
        (
            "[[organisation]]\nid='x'\nname='x'\nvalid_from='2026-01-02'\nvalid_to='2026-01-01'\n".into(),
            "valid_to",
        ),
        (system("a", "") + &system("a", ""), "an id that no other system has"),
        (system("a", "").replace("owner='so'", "owner='ai'"), "owner: expected the id of an organisation"),
        ("[[organisation]]\nid='x'\nname='x'\nparent='y'\n".into(), "parent"),
        ("[[organisation]]\nid='x'\nname='x'\nparent='x'\n".into(), "in a circle"),
        ("[[organisation]]\nid='so'\nname='x'\n".into(), "an id that no other organisation has"),
    ];
    for (text, expected) in cases {
        let error = parse(&[HEAD, &text].concat()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(error.starts_with("systems.toml:"), "{error}");
    }
}

#[test]
fn rejects_a_bad_network_and_an_unknown_key_with_the_line() {
    for (rest, expected) in [
        ("networks=['10.0.0.0/33']", "systems.toml:15: system \"a\", networks: expected a network"),
        (
            "addresses=['10.0.0']",
            "systems.toml:15: system \"a\", addresses: expected an IPv4 or IPv6 address",
        ),
        ("host=['h']", "systems.toml:15: unknown field `host`"),
    ] {
        let error = parse(&[HEAD, &system("a", rest)].concat()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn tells_all_problems_at_once() {
    let text = [HEAD.into(), system("a", &level(9, "", ""))].concat();
    assert_eq!(parse(&text).unwrap_err().to_string().lines().count(), 3);
}

#[test]
fn a_host_and_a_domain_of_one_system_may_be_one_name() {
    let inventory = parse(&[HEAD, &system("a", "hosts=['www']\ndomains=['WWW', 'mail']")].concat()).unwrap();
    assert_eq!(id_of(&inventory, inventory.by_host("Mail")), "a");
}

#[test]
fn tells_who_held_a_system_on_a_day() {
    let owner = "owner=[{ id = 'tinh', to = '2025-06-30' }, { id = 'so', from = '2025-07-01' }]";
    let inventory = parse(&[HEAD, &system("a", "").replace("owner='so'", owner)].concat()).unwrap();
    let system = &inventory.systems()[0];
    let held = |date| holder(&system.owner, date).map(|tenure| &*tenure.organisation);
    assert_eq!(held(date(2025, 6, 30)), Some("tinh"));
    assert_eq!(held(date(2025, 7, 1)), Some("so"));
    assert_eq!(system.owner(), "so");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn rejects_facts_of_another_type_when_decrees_are_known() {
    let levels = Levels::load(&root().join("rules/levels"), date(2026, 10, 1)).unwrap();
    for (facts, expected) in [
        ("users = 'many'", "users: expected a number from 0 to 1000000000, found many"),
        ("users = -1", "users: expected a number from 0 to 1000000000, found -1"),
        ("handles_tthc = 1", "handles_tthc: expected true or false, found 1"),
        ("types = ['intern']", "types: expected a list of internal, public_service"),
        ("infra_scope = 'town'", "infra_scope: expected one of one_org, sector"),
        ("user = 1", "expected a fact that a decree asks for, found user"),
    ] {
        let text = [HEAD, &system("a", &format!("[system.facts]\n{facts}"))].concat();
        let (inventory, findings) = read::parse(&text, Path::new("systems.toml"));
        let error = inventory.unless_refused(findings, Some(&levels)).unwrap_err().to_string();
        let expected = format!("systems.toml:16: system \"a\", facts: {expected}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn the_sample_of_the_province_has_no_fault_and_the_two_findings_that_it_shows() {
    let levels = Levels::load(&root().join("rules/levels"), date(2026, 11, 1)).unwrap();
    let sample = Inventory::load(&root().join("deploy/systems"), Some(&levels)).unwrap();
    assert_eq!(sample.systems().len(), 28);
    let told = |day| {
        let findings = sample.survey(&levels, day).into_iter();
        let findings = findings.filter(|finding| finding.grade == Grade::Warning);
        findings.map(|finding| format!("{}, {}", finding.subject, finding.key)).collect::<Vec<_>>()
    };
    let expected = ["system \"qlvb\", facts", "system \"so-lien-lac\", level.approved"];
    assert_eq!(told(date(2026, 11, 1)), expected);
    for day in [date(2024, 6, 1), date(2025, 6, 30), date(2025, 7, 1)] {
        let unheld = |told: &&String| ["owner", "operator", "parent"].iter().any(|key| told.ends_with(key));
        assert_eq!(told(day).iter().find(unheld), None, "{day}");
    }
}

#[test]
fn reads_lines_and_rejects_those_that_cannot_be_measured() {
    let link = "[[link]]\nid = 'a'\nname = 'A'\norganisation = 'so'\nmbps = 60\nnetworks = ['10.1.0.0/16']\nobserver = 'gw'\n";
    let inventory = parse(&[HEAD, link].concat()).unwrap();
    let [found] = inventory.links() else { panic!("{:?}", inventory.links()) };
    assert_eq!((&*found.id, found.mbps, found.is_below_minimum()), ("a", 60, false));
    for (from, to, expected) in [
        ("'so'", "'nobody'", "organisation: expected the id of an organisation, found nobody"),
        ("mbps = 60", "mbps = 0", "mbps: expected what the line carries, found 0"),
        ("['10.1.0.0/16']", "[]", "networks: expected what is behind the line, found none"),
        (
            "10.1.0.0/16",
            "10.1.0.1/16",
            "networks: expected a network without host bits (10.1.0.0/16), found 10.1.0.1/16",
        ),
        ("'gw'", "' '", "observer: expected a host or an exporter's address, found nothing"),
        ("name = 'A'", "name = ''", "id, name: expected not empty, found an empty one"),
    ] {
        let error = parse(&[HEAD, &link.replace(from, to)].concat()).unwrap_err().to_string();
        assert!(error.contains(&format!("link \"a\", {expected}")), "{error}");
    }
    let error = parse(&[HEAD, link, link].concat()).unwrap_err().to_string();
    assert!(error.contains("link \"a\", id: expected an id that no other link has, found a"), "{error}");
}

#[test]
fn the_sample_has_a_tree_of_four_tiers_and_one_of_three() {
    let sample = Inventory::load(&root().join("deploy/systems"), None).unwrap();
    let tiers = |id: &str| {
        std::iter::successors(sample.organisation(id), |one| sample.organisation(one.parent.as_deref()?))
            .count()
    };
    assert_eq!((tiers("cu-ubnd-xa"), tiers("ubnd-xa")), (4, 3));
}

#[test]
fn reads_log_sources_by_id_or_with_more_and_rejects_those_that_nobody_knows() {
    let levels = Levels::load(&root().join("rules/levels"), date(2026, 10, 1)).unwrap();
    let loaded = |sources: &str| {
        let text = [HEAD, &system("a", &format!("sources = {sources}\n"))].concat();
        let (inventory, findings) = read::parse(&text, Path::new("systems.toml"));
        inventory.unless_refused(findings, Some(&levels)).map_err(|error| error.to_string())
    };
    let sources = "['firewall', { id = 'server', silent_after = '5m', canary = '1h' }, { id = 'flow', absent = 'none here' }]";
    assert!(loaded("[{ id = 'flow', by = 'a' }]").is_err(), "nobody has it itself");
    let inventory = loaded(sources).unwrap();
    let [firewall, server, flow] = &*inventory.systems()[0].sources else { panic!("three sources") };
    assert_eq!((&*firewall.value.id, firewall.value.canary), ("firewall", None));
    assert_eq!(server.value.silent_after.map(|span| span.0), Some(300 * 1_000_000));
    assert_eq!(flow.value.absent.as_deref(), Some("none here"));
    for (sources, expected) in [
        ("['fire-wall']", "expected one of web-server, server, firewall, sensor, flow, found fire-wall"),
        ("[{ id = 'flow', canary = '1h' }]", "expected a canary of one of web-server, server, found flow"),
        ("['flow', 'flow']", "expected each log source once, by its id, found \"flow\""),
        (
            "[{ id = 'flow', by = 'b' }]",
            "expected by: the id of a system that has the source itself, found b",
        ),
        ("['']", "expected each log source once, by its id, found \"\""),
        ("[{ id = 'flow', absent = ' ' }]", "expected why there is no such source, found nothing"),
        ("[{ id = 'flow', silent_after = '40d' }]", "expected the id of a log source, or { id,"),
        ("[{ id = 'flow', quiet = '1h' }]", "expected the id of a log source, or { id,"),
    ] {
        let error = loaded(sources).unwrap_err();
        assert!(error.contains(expected) && error.starts_with("systems.toml:"), "{sources}: {error}");
    }
}
