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
    let is_published = |expected: u8| {
        let (site, line) = (&site, format!("\nvonggac_systems_published {expected}\n"));
        move || Ok(site.metrics()?.contains(&line).then_some(()))
    };
    is_published(1)()?.context("published")?;
    site.query("DROP DICTIONARY system_by_host")?;
    site.query("CREATE TABLE system_by_host (x UInt8) ENGINE = Memory")?;
    std::fs::write(site.path("systems.toml"), system("gateway"))?;
    site.hang_up()?;
    site::until("what is in the way of a dictionary is told", is_published(0))?;
    site.query("DROP TABLE system_by_host")?;
    std::fs::write(site.path("systems.toml"), "")?;
    site.hang_up()?;
    site::until("the next load mends it", is_published(1))?;
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

const RECORDS: [&str; 3] = [
    // By host, by the name that a relay's line gives, by an address on the network whoever looked on, and by none: what a
    // stranger's line says of its host is not believed.
    "INSERT INTO vonggac.events (ts, host, agent, hostname, product, src_ip, dst_ip, epoch, seq, record, system_id, sys_level, \
     retention_days, rules) VALUES \
     (now64(6) - 60, 'web01', 'web01', '', 'linux', '::', '::', 171, 1, 0, 'old', 1, 31, ['r']), \
     (now64(6) - 60, 'relay', 'relay', 'WEB01', 'linux', '::', '::', 171, 1, 1, '', 0, 90, []), \
     (now64(6) - 60, 'web01', 'web01', '', 'network', '::ffff:203.0.113.9', '::ffff:192.0.2.7', 171, 1, 2, '', 0, 90, []), \
     (now64(6) - 60, 'nobody', 'nobody', 'web01', 'linux', '::', '::', 171, 1, 3, 'old', 1, 31, []), \
     (now64(6) - 864000, 'web01', 'web01', '', 'linux', '::', '::', 171, 1, 4, 'old', 1, 31, [])",
    "INSERT INTO vonggac.flows (ts, host, src_ip, dst_ip, retention_days) VALUES \
     (now64(6) - 60, 'web01', '::ffff:192.0.2.7', '::ffff:203.0.113.9', 31)",
    "INSERT INTO vonggac.alerts (id, version, rule_id, severity, priority, host, system_id, sys_level, last_seen, sample_events) \
     VALUES ('byevidence', 5, 'r', 'high', 'P4', 'relay', 'old', 1, now64(6) - 60, ['web01:00000000000000ab:1:0']), \
     ('byhost', 5, 'r', 'high', 'P4', 'web01', 'old', 1, now64(6) - 60, ['gone:00000000000000ab:1:0']), \
     ('nobody', 5, 'r', 'high', 'P4', 'gone', 'old', 1, now64(6) - 60, [])",
];

#[test]
fn what_is_stored_gets_the_systems_of_todays_inventory() -> Result<()> {
    if !site::engine_present("what_is_stored_gets_the_systems_of_todays_inventory") {
        return Ok(());
    }
    let inventory = "[[relay]]\nhost = 'Relay'\n[[organisation]]\nid = 'so'\nname = 'Sở'\n\
        [[system]]\nid = 'web'\nname = 'Cổng'\nowner = 'so'\noperator = 'so'\nhosts = ['web01']\n\
        [system.level]\napproved = 3\ndecision = '1'\ndate = '2026-09-30'\nauthority = 'a'\nbasis = 'b'\n\
        [[system]]\nid = 'lan'\nname = 'Mạng'\nowner = 'so'\noperator = 'so'\nnetworks = ['192.0.2.0/24']\n";
    let site = Site::start(inventory)?;
    for sql in RECORDS {
        site.query(sql)?;
    }
    let events = || {
        site.query("SELECT record, system_id, sys_level, retention_days FROM events WHERE agent != '' AND seq = 1 AND epoch = 171 ORDER BY record")
    };
    let before = events()?;
    // Seven days to acknowledge, as those of P4 have.
    site.query("INSERT INTO alerts SELECT * REPLACE (version + 1 AS version, now64(6) + INTERVAL 7 DAY AS ack_due) FROM alerts FINAL WHERE id = 'byhost'")?;
    let ask = |arguments: &[&str]| -> Result<String> {
        site.run(&[&["systems", "reclassify", "--since", "1d", "--format", "csv"], arguments].concat())
    };
    let counted =
        "table,system,before,after\r\nevents,,2,1\r\nevents,lan,0,1\r\nevents,old,2,0\r\nevents,web,0,2\r\n";
    let dry = ask(&["--dry-run"])?;
    assert!(dry.replace('"', "").starts_with(counted), "{dry}");
    assert_eq!(events()?, before, "a dry run changes nothing");
    assert_eq!(ask(&[])?, dry);
    assert_eq!(events()?, "0\tweb\t3\t31\n1\tweb\t3\t90\n2\tlan\t0\t90\n3\t\t0\t31\n4\told\t1\t31");
    assert_eq!(site.query("SELECT dst_system_id, src_system_id FROM flows")?, "\tlan");
    let alerts = "SELECT id, system_id, sys_level, priority, organisation, level_basis != '' FROM alerts FINAL ORDER BY id";
    assert_eq!(
        site.query(alerts)?,
        "byevidence\tweb\t3\tP2\tSở\t1\nbyhost\tweb\t3\tP2\tSở\t1\nnobody\told\t1\tP4\t\t0"
    );
    let due = "SELECT ack_due <= now64(6) + INTERVAL 1 HOUR FROM alerts FINAL WHERE id = 'byhost'";
    assert_eq!(site.number(due)?, 1, "as soon as P2 wants it");
    let again = ask(&[])?.replace('"', "");
    assert!(again.contains("events,web,2,2") && again.contains("alerts,old,1,1"), "{again}");
    std::fs::write(site.path("systems.toml"), "")?;
    let refused = site.vonggac(&["systems", "reclassify"])?;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr)?.contains("another inventory"));
    Ok(())
}

/// A system of level 3 with one host; `server` is what the inventory says of its server's log.
fn portal(server: &str) -> String {
    format!(
        "[[organisation]]\nid = 'so'\nname = 'Sở'\n\
         [[system]]\nid = 'portal'\nname = 'Cổng'\nowner = 'so'\noperator = 'so'\nhosts = ['web01']\n\
         sources = [{{ id = 'server', {server} }}, {{ id = 'flow', absent = 'no sensor here' }}]\n\
         [system.level]\napproved = 3\ndecision = '1'\ndate = '2026-09-30'\nauthority = 'a'\nbasis = 'b'\n"
    )
}

/// Hits of the alerts of a rule, and what they matched under a name.
fn raised(site: &Site, rule: &str, name: &str) -> Result<Vec<(u64, String)>> {
    let sql = format!(
        "SELECT hits, matched['{name}'] FROM alerts FINAL WHERE rule_id = '{rule}' AND system_id = 'portal' ORDER BY created_at"
    );
    let text = site.query(&sql)?;
    let row = |line: &str| {
        let (hits, value) = line.split_once('\t').context("two columns")?;
        Ok((hits.parse()?, value.to_owned()))
    };
    text.lines().map(row).collect()
}

fn until_raised(site: &Site, rule: &str) -> Result<()> {
    site::until(rule, || Ok((!raised(site, rule, "source")?.is_empty()).then_some(())))
}

/// The state of a source as a person sees it.
fn state(site: &Site, source: &str) -> Result<(i32, serde_json::Value)> {
    let output = site.vonggac(&["systems", "coverage", "--format", "json"])?;
    let text = String::from_utf8(output.stdout)?;
    let rows: Result<Vec<serde_json::Value>, _> = text.lines().map(serde_json::from_str).collect();
    let row = rows?.into_iter().find(|row| row["source"] == source).context("the source is listed")?;
    Ok((output.status.code().context("an exit code")?, row))
}

fn until_state(site: &Site, source: &str, expected: &str) -> Result<(i32, serde_json::Value)> {
    site::until(expected, || Ok(Some(state(site, source)?).filter(|(_, row)| row["state"] == expected)))
}

/// Puts another inventory in place, and waits until the collector has it.
fn reload(site: &Site, inventory: &str) -> Result<()> {
    let loaded = || -> Result<usize> {
        Ok(std::fs::read_to_string(site.path("collector.log"))?.matches("inventory loaded anew").count())
    };
    let before = loaded()?;
    std::fs::write(site.path("systems.toml"), inventory)?;
    site.hang_up()?;
    site::until("the inventory", || Ok((loaded()? > before).then_some(())))
}

/// Runs deploy/canary with a logger and a curl that write into the logs of the test.
fn canary(site: &Site, syslog: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let bin = site.path("bin");
    std::fs::create_dir_all(&bin)?;
    let logger = format!("{bin}/logger");
    std::fs::write(&logger, format!("#!/bin/sh\necho \"$(date +%FT%T%:z) web01 $2: $3\" >> {syslog}\n"))?;
    std::fs::set_permissions(&logger, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{bin}:{}", std::env::var("PATH")?);
    let status = std::process::Command::new(site::root().join("deploy/canary")).env("PATH", path).status()?;
    anyhow::ensure!(status.success(), "deploy/canary: {status}");
    Ok(())
}

#[test]
fn a_silent_source_alerts_once_and_a_canary_that_does_not_come_alerts_too() -> Result<()> {
    if !site::engine_present("a_silent_source_alerts_once") {
        return Ok(());
    }
    let mut site = Site::start(&portal("silent_after = '1s'"))?;
    until_raised(&site, "vonggac-source-missing")?;
    let (code, row) = until_state(&site, "server", "silent")?;
    assert_eq!((code, &row["last_stored"]), (1, &serde_json::json!("")), "{row}");
    assert!(row["unsure"].as_str().is_some_and(|text| text.contains("paraphrase")), "{row}");
    let demanded = &raised(&site, "vonggac-source-missing", "demanded_by")?[0].1;
    assert_eq!(demanded, "TCVN 14423:2026, clause 5.13, clause 6.13.2.1, clause 7.13; the inventory");
    assert_eq!(state(&site, "flow")?.1["state"], "absent");
    assert_eq!(state(&site, "firewall")?.1["state"], "waiting");

    // It reports: the silence ends. Its canary is asked for, and does not come.
    reload(&site, &portal("silent_after = '31d', canary = '1s'"))?;
    let syslog = site.path("syslog");
    std::fs::write(&syslog, "2026-11-26T09:00:00+07:00 web01 app: hello\n")?;
    let source = format!("[[source]]\npaths = [\"{syslog}\"]\nformat = \"syslog\"\nstart = \"beginning\"\n");
    let _agent = site.agent("web01", &source)?;
    until_raised(&site, "vonggac-source-back")?;
    until_raised(&site, "vonggac-canary-missing")?;
    let (code, row) = until_state(&site, "server", "unanswered")?;
    assert!(code == 1 && row["hosts"][0].as_str().is_some_and(|host| host.starts_with("web01 ")), "{row}");

    // The canary comes out as an alert, and all is well.
    reload(&site, &portal("silent_after = '31d', canary = '31d'"))?;
    canary(&site, &syslog)?;
    until_raised(&site, "vonggac-canary-back")?;
    let (code, row) = until_state(&site, "server", "reports")?;
    assert_eq!(code, 0, "{row}");
    assert_ne!(row["last_canary"], "", "{row}");
    assert!(site.metrics()?.contains(&silent(0)));

    // A restart forgets nothing, and tells nothing again.
    site.kill_collector()?;
    site.start_collector()?;
    until_written(&site)?;
    assert_eq!(until_state(&site, "server", "reports")?.1["last_stored"], row["last_stored"]);

    // It falls silent, which is told once, also over a restart; and comes back.
    reload(&site, &portal("silent_after = '1s'"))?;
    until_raised(&site, "vonggac-source-silent")?;
    assert_eq!(until_state(&site, "server", "silent")?.0, 1);
    site::until("the metric", || Ok(site.metrics()?.contains(&silent(1)).then_some(())))?;
    site.kill_collector()?;
    site.start_collector()?;
    until_written(&site)?;
    assert_eq!(until_state(&site, "server", "silent")?.1["last_stored"], row["last_stored"]);
    let once = [(1, "server".to_owned())];
    for rule in ["source-missing", "source-silent", "source-back", "canary-missing", "canary-back"] {
        assert_eq!(raised(&site, &format!("vonggac-{rule}"), "source")?, once, "{rule}");
    }
    reload(&site, &portal("silent_after = '31d'"))?;
    canary(&site, &syslog)?;
    until_state(&site, "server", "reports")?;
    Ok(())
}

fn silent(value: u8) -> String {
    format!("vonggac_coverage_silent{{source=\"server\",system=\"portal\"}} {value}")
}

/// Waits until a collector that was started again has written how things stand.
fn until_written(site: &Site) -> Result<()> {
    let marked = "SELECT max(version) FROM coverage";
    let before = site.number(marked)?;
    site::until("how things stand", || Ok((site.number(marked)? > before).then_some(())))
}

/// Lines made up on one host would keep up the look of every system's sources.
#[test]
fn what_a_host_sees_of_others_is_a_report_of_theirs_only_when_it_is_a_relay() -> Result<()> {
    if !site::engine_present("what_a_host_sees_of_others") {
        return Ok(());
    }
    let system = |id: &str, host: &str, address: &str| {
        format!(
            "[[system]]\nid = '{id}'\nname = '{id}'\nowner = 'so'\noperator = 'so'\nhosts = ['{host}']\n\
             addresses = ['{address}']\nsources = [{{ id = 'flow', silent_after = '31d' }}]\n"
        )
    };
    let systems = system("portal", "web01", "192.0.2.10") + &system("archive", "db01", "192.0.2.20");
    let organisation = "[[organisation]]\nid = 'so'\nname = 'Sở'\n";
    let site = Site::start(&format!("[[relay]]\nhost = 'sensor'\n{organisation}{systems}"))?;
    let log = site.path("flows.log");
    let now = jiff::Timestamp::now().as_microsecond();
    let flow = serde_json::json!({"kind": "flow", "ts": now, "src_ip": "192.0.2.10", "dst_ip": "192.0.2.20",
        "src_port": 40000, "dst_port": 443, "proto": "tcp"});
    std::fs::write(&log, format!("{flow}\n"))?;
    let source = format!("[[source]]\npaths = [\"{log}\"]\nformat = \"flow\"\nstart = \"beginning\"\n");
    let state = |system: &str| -> Result<String> {
        let text = String::from_utf8(site.vonggac(&["systems", "coverage", "--format", "json"])?.stdout)?;
        let rows: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let row = rows.iter().find(|row| row["system"] == system && row["source"] == "flow");
        Ok(row.and_then(|row| row["state"].as_str()).unwrap_or_default().to_owned())
    };
    let until_it_reports =
        |system: &str| site::until(system, || Ok((state(system)? == "reports").then_some(())));
    let _host = site.agent("web01", &source)?;
    until_it_reports("portal")?;
    // Both would be written at once.
    assert_eq!(state("archive")?, "waiting");
    let _sensor = site.agent("sensor", &source)?;
    until_it_reports("archive")
}
