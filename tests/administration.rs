//! Who runs a collector is told when it only looks well: certificates whose time is over, rules that do not load, a store that is
//! not there yet, a configuration that cannot start.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use collector::{Authority, Pair};
use serde_json::Value;

use crate::site::{self, Site, engine, http_get, program, until};

/// Exit code and what was said, on standard output and standard error.
fn said(site: &Site, arguments: &[&str]) -> Result<(i32, String)> {
    let output = site.vonggac(arguments)?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().context("an exit code")?, String::from_utf8(text)?))
}

/// State and detail of a check of `vonggac status`.
fn check(site: &Site, name: &str) -> Result<(String, String)> {
    let output = site.vonggac(&["status", "--disk-free-min", "0", "--format", "json"])?;
    let text = String::from_utf8(output.stdout)?;
    let rows = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let row = rows.iter().find(|row| row["check"] == name).with_context(|| format!("no {name} in {text}"))?;
    let of = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok((of("state"), of("detail")))
}

fn check_is(site: &Site, name: &str, state: &str) -> Result<String> {
    let (found, detail) = check(site, name)?;
    assert_eq!(found, state, "{name}: {detail}");
    Ok(detail)
}

/// Replaces text in the site's configuration.
fn configure(site: &Site, from: &str, to: &str) -> Result<()> {
    let path = site.path("vonggac.toml");
    let text = std::fs::read_to_string(&path)?;
    assert!(text.contains(from), "{from} in {text}");
    Ok(std::fs::write(path, text.replace(from, to))?)
}

/// Has the site read rules of a folder of its own. The folder.
fn a_few_rules(site: &Site) -> Result<String> {
    let rules = site.path("rules");
    std::fs::create_dir(&rules)?;
    configure(
        site,
        &format!("rules = [\"{}\"]", site::root().join("rules/sigma").display()),
        "rules = [\"rules\"]",
    )?;
    for entry in std::fs::read_dir(site::root().join("rules/sigma/hunt"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        std::fs::copy(&path, format!("{rules}/{name}"))?;
    }
    Ok(rules)
}

#[test]
fn what_only_looks_well_is_told() -> Result<()> {
    if !site::engine_present("administration") {
        return Ok(());
    }
    let mut site = Site::start("")?;
    let rules = a_few_rules(&site)?;
    assert_eq!(said(&site, &["serve", "--check"])?.0, 0);
    site.end_collector()?;
    site.start_collector()?;
    for part in ["rules", "inventory", "hunts", "indicators", "exceptions", "certificates"] {
        check_is(&site, part, "ok")?;
    }
    assert_eq!(said(&site, &["status", "--disk-free-min", "0"])?.0, 0);

    a_filter_that_filters_nothing_is_told(&site, &rules)?;
    a_refused_reload_is_told_until_it_is_mended(&site, &rules)?;
    a_start_without_rules_is_told(&mut site, &rules)?;
    a_certificate_that_is_over_is_told(&mut site)?;
    what_cannot_start_is_told(&site)
}

/// It stops nothing, and whoever wrote it believes that it works.
fn a_filter_that_filters_nothing_is_told(site: &Site, rules: &str) -> Result<()> {
    let filter = format!("{rules}/filter.yml");
    std::fs::write(
        &filter,
        "title: F\nlogsource: {product: network}\nfilter:\n  rules: [gone]\n  s: {user: a}\n  condition: not s\n",
    )?;
    let (code, text) = said(site, &["serve", "--check"])?;
    let expected = "filter.yml:4: F: the rule `gone` that it refers to is not loaded";
    assert!(
        code == 1 && text.contains("warning: loaded, but: ") && text.contains(expected),
        "{code}: {text}"
    );
    Ok(std::fs::remove_file(filter)?)
}

fn a_refused_reload_is_told_until_it_is_mended(site: &Site, rules: &str) -> Result<()> {
    let inventory = site.path("systems.toml");
    std::fs::write(format!("{rules}/broken.yml"), "title: [")?;
    std::fs::write(&inventory, "[[system]]\n")?;
    std::fs::write(site.path("hunts/broken.toml"), "every_s = 1\n")?;
    let (code, text) = said(site, &["serve", "--check"])?;
    assert_eq!(code, 2, "an inventory that cannot be read stops the start: {text}");
    assert!(text.contains("warning: ") && text.contains("broken.yml"), "{text}");
    site.hang_up()?;
    let wrong = |part: &'static str| until(part, || Ok((check(site, part)?.0 == "wrong").then_some(())));
    for part in ["rules", "inventory", "hunts"] {
        wrong(part)?;
    }
    let detail = check_is(site, "rules", "wrong")?;
    assert!(!detail.starts_with("0 in force") && detail.contains("the last load found 1 wrong"), "{detail}");
    assert_eq!(said(site, &["status", "--disk-free-min", "0"])?.0, 1);

    std::fs::remove_file(format!("{rules}/broken.yml"))?;
    std::fs::remove_file(site.path("hunts/broken.toml"))?;
    std::fs::write(&inventory, "")?;
    site.hang_up()?;
    for part in ["rules", "inventory", "hunts"] {
        until(part, || Ok((check(site, part)?.0 == "ok").then_some(())))?;
    }
    Ok(())
}

/// A rule or a hunt that is broken, or no rule at all, keeps nothing from starting.
fn a_start_without_rules_is_told(site: &mut Site, rules: &str) -> Result<()> {
    let away = site.path("away");
    std::fs::rename(rules, &away)?;
    std::fs::create_dir(rules)?;
    std::fs::write(site.path("hunts/broken.toml"), "every_s = 1\n")?;
    let (code, text) = said(site, &["serve", "--check"])?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("expected at least one rule"), "{text}");
    site.end_collector()?;
    site.start_collector()?;
    assert!(check_is(site, "rules", "wrong")?.starts_with("0 in force"));
    check_is(site, "hunts", "wrong")?;
    std::fs::remove_file(site.path("hunts/broken.toml"))?;
    std::fs::remove_dir(rules)?;
    std::fs::rename(&away, rules)?;
    site.hang_up()?;
    until("rules are in force", || Ok((check(site, "rules")?.0 == "ok").then_some(())))
}

fn a_certificate_that_is_over_is_told(site: &mut Site) -> Result<()> {
    let hosts = ["localhost".to_owned()];
    let authority = Authority::open(site.path("ca").as_ref())?;
    let last_year = SystemTime::now() - Duration::from_secs(400 * 86_400);
    put(site, &authority.collector(&hosts, last_year, 365)?)?;
    let (code, text) = said(site, &["serve", "--check"])?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("collector.crt: expired at"), "{text}");
    site.end_collector()?;
    site.start_collector()?;
    assert!(check_is(site, "certificates", "wrong")?.contains("server EXPIRED at"));

    put(site, &authority.collector(&hosts, SystemTime::now(), 20)?)?;
    assert_eq!(said(site, &["serve", "--check"])?.0, 0);
    site.end_collector()?;
    site.start_collector()?;
    let detail = check_is(site, "certificates", "notice")?;
    assert!(detail.contains("server until "), "{detail}");
    Ok(())
}

fn put(site: &Site, pair: &Pair) -> Result<()> {
    std::fs::write(site.path("ca/collector.crt"), &pair.certificate)?;
    Ok(std::fs::write(site.path("ca/collector.key"), &pair.key)?)
}

fn what_cannot_start_is_told(site: &Site) -> Result<()> {
    let path = site.path("vonggac.toml");
    let good = std::fs::read_to_string(&path)?;
    let intake =
        good.split("[intake]\nlisten = ").nth(1).and_then(|rest| rest.lines().next()).context("intake")?;
    let otlp = good.split("[otlp]\nlisten = ").nth(1).and_then(|rest| rest.lines().next()).context("otlp")?;
    for (from, to, expected) in [
        ("[store]\n", "[store]\nlibrary = \"/nonexistent.so\"\n", "/nonexistent.so"),
        (
            "data_dir = \"data\"",
            "data_dir = \"/proc/x\"",
            "data_dir: expected a folder to write into, /proc is none",
        ),
        (otlp, intake, "otlp.listen: expected an address that nothing else listens at"),
        ("ca/collector.crt", "ca/ca.crt", "ca.crt: agents will refuse it"),
    ] {
        configure(site, from, to)?;
        let (code, text) = said(site, &["serve", "--check"])?;
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(expected), "{expected} in {text}");
        std::fs::write(&path, &good)?;
    }
    Ok(())
}

/// A process that ends with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn start(site: &Site, arguments: &[&str]) -> Result<Process> {
    let log = std::fs::File::options().create(true).append(true).open(site.path("collector.log"))?;
    let mut command = Command::new(program("vonggac"));
    command.args(arguments).env("VONGGAC_CHDB", engine()).stdin(Stdio::null());
    Ok(Process(command.stdout(log.try_clone()?).stderr(log).spawn()?))
}

#[test]
fn a_clickhouse_that_comes_up_later_is_waited_for() -> Result<()> {
    if !site::engine_present("administration") {
        return Ok(());
    }
    let mut site = Site::start("")?;
    site.end_collector()?;
    let url = site.store_url();
    let clickhouse =
        format!("[clickhouse]\nurl = \"{url}\"\npassword_file = \"data/store/writer.password\"\n\n[store]\n");
    configure(&site, "[store]\n", &clickhouse)?;
    let rules = a_few_rules(&site)?;

    let config = site.path("vonggac.toml");
    let collector = start(&site, &["serve", "--config", &config])?;
    let address = site.metrics_address();
    let waiting = until("the collector says for what it waits", || {
        let answer = http_get(&address, "/ready")?;
        Ok(answer.contains("waiting: ").then_some(answer))
    })?;
    assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
    assert!(waiting.contains(&format!("the store at {url} (clickhouse.url) does not answer")), "{waiting}");
    assert!(waiting.to_lowercase().contains("refused"), "the cause: {waiting}");
    let (code, text) = said(&site, &["status", "--disk-free-min", "0"])?;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("runs but is not ready") && text.contains("clickhouse.url"), "{text}");

    // What it is told meanwhile it does when it runs.
    std::fs::write(format!("{rules}/broken.yml"), "title: [")?;
    let told = Command::new("kill").args(["-HUP", &collector.0.id().to_string()]).status()?;
    assert!(told.success(), "kill: {told}");

    let listen = url.trim_start_matches("http://");
    let _store = start(&site, &["store", "--data-dir", &site.path("data"), "--listen", listen])?;
    until("the collector is ready", || {
        Ok(http_get(&address, "/ready")?.starts_with("HTTP/1.1 200").then_some(()))
    })?;
    until("the rules were loaded anew", || Ok((check(&site, "rules")?.0 == "wrong").then_some(())))
}

/// As deploy/INSTALL.md gives it to people who look.
#[test]
fn a_reader_reads_and_is_told_that_he_may_not_write() -> Result<()> {
    if !site::engine_present("administration") {
        return Ok(());
    }
    let site = Site::start("")?;
    site.query(
        "INSERT INTO alerts (id, version, rule_id, rule_title) VALUES ('aaaa1111', 1, 'r1', 'Brute force')",
    )?;
    let clickhouse = format!(
        "[clickhouse]\nurl = \"{}\"\nuser = \"grafana\"\npassword_file = \"data/store/reader.password\"\n\n[store]\n",
        site.store_url()
    );
    configure(&site, "[store]\n", &clickhouse)?;
    assert_eq!(said(&site, &["status", "--disk-free-min", "0"])?.0, 0);
    assert!(said(&site, &["alert", "aaaa1111"])?.1.contains("Brute force"));
    let (code, text) = said(&site, &["alert", "ack", "aaaa1111"])?;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("this user may not write"), "{text}");
    assert_eq!(site.number("SELECT count() FROM alert_history")?, 0);
    Ok(())
}

/// deploy/sudoers gives people the commands that write down what they did, and nothing that could be made to do more: no other
/// command, and none that names a file.
#[test]
fn people_may_do_as_the_daemon_what_they_must_and_no_more() -> Result<()> {
    let sudoers = std::fs::read_to_string(site::root().join("deploy/sudoers"))?;
    let commands = |mark: &str| -> Vec<String> {
        let lines = sudoers.lines().filter_map(|line| line.trim_start().strip_prefix(mark));
        lines.map(|line| line.trim_end_matches([',', '\\', ' ']).to_owned()).collect()
    };
    let (allowed, denied) = (commands("/usr/bin/vonggac "), commands("!/usr/bin/vonggac "));
    assert_eq!(
        denied,
        ["*--config*"],
        "with a configuration of his own one has files of the daemon read and sent"
    );
    assert!(allowed.len() > 10, "{allowed:?}");
    for command in allowed {
        let words =
            command.strip_suffix(" *").with_context(|| format!("{command}: expected * at its end"))?;
        let output = Command::new(program("vonggac")).args(words.split(' ')).arg("--help").output()?;
        let help = String::from_utf8(output.stdout)?;
        assert!(output.status.success() && help.contains(&format!("vonggac {words} ")), "{words}: {help}");
        let files: Vec<&str> =
            help.lines().filter(|line| line.contains("<FILE>") || line.contains("<DIR>")).collect();
        assert!(files.iter().all(|line| line.contains("--config")), "{words}: {files:?}");
    }
    Ok(())
}
