//! What must report: the inventory in SQL, sources that fall silent and come back, canaries that do not come out as alerts.

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use collector::Inventory;

use crate::site::{self, Site};

/// The sample of a province, in one text.
fn province() -> Result<String> {
    let folder = site::root().join("deploy/systems");
    let names = ["organisations-2020.toml", "organisations-2025.toml", "systems.toml"];
    let texts: Result<Vec<String>, _> =
        names.iter().map(|name| std::fs::read_to_string(folder.join(name))).collect();
    Ok(texts?.join("\n"))
}

/// Hosts and addresses of every system, their neighbours, and some that belong to nobody.
fn questions() -> Result<(Vec<String>, Vec<Ipv6Addr>)> {
    let table: toml::Table = province()?.parse()?;
    let systems = table["system"].as_array().context("systems")?;
    let named = |key: &str| {
        let lists = systems.iter().filter_map(|system| system.get(key)?.as_array());
        let texts: Vec<String> =
            lists.flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        texts
    };
    let mut hosts = [named("hosts"), named("domains")].concat();
    hosts.extend(hosts.clone().iter().map(|host| host.to_uppercase()));
    hosts.extend(["", "nobody", "xdvc01", "dvc01.example"].map(str::to_owned));
    let mut addresses = Vec::new();
    for text in named("addresses").into_iter().chain(named("networks")) {
        let network: ipnet::IpNet =
            text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(Into::into))?;
        for end in [network.network(), network.broadcast()] {
            let end = match end {
                std::net::IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                std::net::IpAddr::V6(address) => address.to_bits(),
            };
            addresses.extend([end - 1, end, end + 1].map(Ipv6Addr::from_bits));
        }
    }
    addresses.extend(
        ["::ffff:203.0.113.9", "2001:db8:ffff::1", "::1", "::ffff:0.0.0.0"]
            .map(|text| text.parse::<Ipv6Addr>().unwrap()),
    );
    Ok((hosts, addresses))
}

#[test]
fn sql_classifies_as_the_collector_does() -> Result<()> {
    if !site::engine_present("sql_classifies_as_the_collector_does") {
        return Ok(());
    }
    let site = Site::start(&province()?)?;
    let inventory = Inventory::open(site.path("systems.toml").as_ref())?;
    let (hosts, addresses) = questions()?;
    let answers = |function: &str, list: String| -> Result<Vec<String>> {
        let sql = format!("SELECT arrayStringConcat(arrayMap(x -> {function}, [{list}]), ',')");
        Ok(site.query(&sql)?.split(',').map(str::to_owned).collect())
    };
    let list = hosts.iter().map(|host| format!("'{host}'")).collect::<Vec<_>>().join(",");
    let by_host = answers("dictGet('vonggac.system_by_host', 'system_id', lower(x))", list)?;
    let list = addresses.iter().map(|address| format!("toIPv6('{address}')")).collect::<Vec<_>>().join(",");
    let by_address = answers("dictGet('vonggac.system_by_address', 'system_id', x)", list)?;
    let id = |index: Option<collector::SystemIndex>| index.map_or("", |index| inventory.id(index)).to_owned();
    let expected: Vec<String> = hosts.iter().map(|host| id(inventory.by_host(host))).collect();
    assert_eq!(by_host, expected, "{hosts:?}");
    let expected: Vec<String> = addresses.iter().map(|address| id(inventory.by_address(*address))).collect();
    assert_eq!(by_address, expected, "{addresses:?}");
    let known = |answers: &[String]| answers.iter().filter(|id| !id.is_empty()).count();
    assert!(known(&by_host) >= 60 && known(&by_address) >= 60, "{} {}", known(&by_host), known(&by_address));
    assert!(by_host.iter().chain(&by_address).any(String::is_empty), "and some belong to nobody");
    assert_eq!(site.number("SELECT count() FROM systems")?, 28);
    Ok(())
}

#[test]
fn a_changed_inventory_applies_without_a_restart_and_the_old_one_stays_readable() -> Result<()> {
    if !site::engine_present("a_changed_inventory_applies_without_a_restart") {
        return Ok(());
    }
    let system = |id: &str| {
        format!(
            "[[organisation]]\nid = 'so'\nname = 'Sở'\n[[system]]\nid = '{id}'\nname = 'Cổng'\nowner = 'so'\noperator = 'so'\n\
             hosts = ['web01']\nnetworks = ['192.0.2.0/24']\n"
        )
    };
    let asked = "SELECT dictGet('vonggac.system_by_host', 'system_id', 'web01'), \
        dictGet('vonggac.system_by_address', 'system_id', toIPv6('192.0.2.7')), (SELECT groupArray(id) FROM systems)";
    let mut site = Site::start(&system("portal"))?;
    assert_eq!(site.query(asked)?, "portal\tportal\t['portal']");
    std::fs::write(site.path("systems.toml"), system("gateway"))?;
    site.hang_up()?;
    site::until("the other inventory", || {
        Ok((site.query(asked)? == "gateway\tgateway\t['gateway']").then_some(()))
    })?;
    assert_eq!(site.query("SELECT id FROM systems_history ORDER BY loaded_at")?, "portal\ngateway");
    std::fs::write(site.path("systems.toml"), "not = 'an inventory'")?;
    site.hang_up()?;
    let said = || {
        Ok(std::fs::read_to_string(site.path("collector.log"))?
            .contains("the inventory is not replaced")
            .then_some(()))
    };
    site::until("the refusal", said)?;
    assert_eq!(site.query(asked)?, "gateway\tgateway\t['gateway']");
    std::fs::write(site.path("systems.toml"), "")?;
    site.hang_up()?;
    site::until("an empty inventory", || Ok((site.query(asked)? == "\t\t[]").then_some(())))?;
    std::fs::write(site.path("systems.toml"), system("gateway"))?;
    site.kill_collector()?;
    site.start_collector()?;
    assert_eq!(site.query(asked)?, "gateway\tgateway\t['gateway']");
    site.kill_collector()?;
    site.start_collector()?;
    assert_eq!(
        site.number("SELECT uniqExact(loaded_at) FROM systems_history")?,
        4,
        "the same inventory is one load"
    );
    Ok(())
}
