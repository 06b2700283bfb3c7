//! The dashboards and the alert rules of the watch, as Grafana and Prometheus use them.
//!
//! No Grafana runs here. What it would ask ClickHouse is asked by `tests/python/grafana.py`, which says at its top what of
//! Grafana's variables and of the plugin's macros it fills in; anything else is a fault. How a panel looks, nobody checks but
//! the schema that Grafana publishes. Prometheus is Debian's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan};
use regex::Regex;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::site::{self, Site, free_port, http_get, present, root, until};

fn dashboards() -> Result<Vec<(PathBuf, Json)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("dashboards/grafana"))? {
        let path = entry?.path();
        let dashboard = serde_json::from_slice(&std::fs::read(&path)?)?;
        found.push((path, dashboard));
    }
    ensure!(!found.is_empty(), "no dashboard");
    Ok(found)
}

fn panels(dashboard: &Json) -> &[Json] {
    dashboard["panels"].as_array().map_or(&[], Vec::as_slice)
}

fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = run(command)?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}{error}", output.status);
    Ok(())
}

#[test]
fn what_is_committed_is_what_the_generator_makes() -> Result<()> {
    succeeds(Command::new(root().join("dashboards/generate")).arg("--check"))
}

#[test]
fn every_panel_says_in_two_languages_what_it_shows_and_knows_its_source() -> Result<()> {
    let sources = std::fs::read_to_string(root().join("dashboards/provisioning/datasources/vonggac.yaml"))?;
    for (path, dashboard) in dashboards()? {
        for panel in panels(&dashboard) {
            let name = format!("{}: {}", path.display(), panel["title"]);
            let [title, english] =
                ["title", "description"].map(|key| panel[key].as_str().unwrap_or_default());
            assert!(!title.is_ascii(), "{name}: no Vietnamese title");
            let first = english.lines().next().unwrap_or_default();
            assert!(first.is_ascii() && first.ends_with('.'), "{name}: no sentence in English: {first}");
            let uid = panel["datasource"]["uid"].as_str().context("a data source")?;
            assert!(sources.contains(&format!("uid: {uid}\n")), "{name}: {uid}");
        }
    }
    Ok(())
}

#[test]
fn shares_are_not_put_on_top_of_one_another() -> Result<()> {
    let mut seen = 0;
    for (path, dashboard) in dashboards()? {
        for panel in panels(&dashboard).iter().filter(|panel| panel["type"] == "timeseries") {
            let fields = &panel["fieldConfig"]["defaults"];
            if ["percent", "percentunit"].contains(&fields["unit"].as_str().unwrap_or_default()) {
                let stacking = &fields["custom"]["stacking"]["mode"];
                assert_eq!(stacking, "none", "{}: {}", path.display(), panel["title"]);
                seen += 1;
            }
        }
    }
    assert!(seen >= 3, "{seen} panels of shares");
    Ok(())
}

/// A folder with what tests/grafana/package.json names. Without a registry in reach there is none: it is said, and in CI it is
/// a failure.
fn node_modules(test: &str) -> Result<Option<PathBuf>> {
    let wanted = std::fs::read(root().join("tests/grafana/package.json"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grafana");
    let made = folder.join("made");
    if std::fs::read(&made).is_ok_and(|made| made == wanted) {
        return Ok(Some(folder));
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("package.json"), &wanted)?;
    let arguments =
        ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"];
    if let Err(error) = succeeds(Command::new("npm").args(arguments).arg(&folder)) {
        ensure!(std::env::var_os("CI").is_none(), "{test}: {error:#}");
        eprintln!("SKIPPED {test}: the packages of tests/grafana cannot be installed");
        return Ok(None);
    }
    std::fs::write(made, wanted)?;
    Ok(Some(folder))
}

#[test]
fn dashboards_fit_the_schema_that_grafana_publishes() -> Result<()> {
    let Some(folder) = node_modules("dashboards")? else { return Ok(()) };
    let validate = |paths: &[PathBuf]| {
        let script = root().join("tests/grafana/validate.mjs");
        run(Command::new("node").arg(script).arg(&folder).args(paths))
    };
    let paths: Vec<PathBuf> = dashboards()?.into_iter().map(|(path, _)| path).collect();
    let output = validate(&paths)?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // What does not fit is seen, in a dashboard, in a panel's options and in its fields.
    let (path, mut faulty) = dashboards()?.into_iter().next().context("a dashboard")?;
    faulty["tittle"] = "?".into();
    faulty["panels"][0]["options"]["colour"] = "red".into();
    let table =
        faulty["panels"].as_array_mut().context("panels")?.iter_mut().find(|panel| panel["type"] == "table");
    table.with_context(|| format!("{}: no table", path.display()))?["fieldConfig"]["defaults"]["custom"]["align"] =
        3.into();
    let temporary = TempDir::new()?;
    let planted = temporary.path().join("planted.json");
    std::fs::write(&planted, faulty.to_string())?;
    let said = String::from_utf8(validate(&[planted])?.stdout)?;
    for fault in ["tittle", "colour", "align"] {
        assert!(said.contains(fault), "{fault} is not seen:\n{said}");
    }
    Ok(())
}

/// An address of the drills that logs and flows tell of.
const PIVOT: &str = "10.20.0.10";

/// What came of each query of the dashboards of a folder, over the day that ends now.
fn ask_all(site: &Site, folder: &Path, drill: &str) -> Result<Vec<Json>> {
    let now = Timestamp::now();
    let (since, until) = (now - 24.hours(), now + 1.minute());
    let output = run(Command::new("python3")
        .arg(root().join("tests/python/grafana.py"))
        .args([&site.store_url(), "--password-file", &site.path("data/store/reader.password")])
        .args(["--from", &since.as_second().to_string(), "--to", &until.as_second().to_string()])
        .args(["--set", &format!("drill={drill}"), "--set", &format!("address={PIVOT}"), "--dashboards"])
        .arg(folder))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(error.is_empty(), "grafana.py: {error}");
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn faults(answers: &[Json]) -> Vec<String> {
    let faulty = answers.iter().filter(|answer| answer.get("fault").is_some());
    faulty
        .map(|answer| format!("{} · {}: {}", answer["dashboard"], answer["panel"], answer["fault"]))
        .collect()
}

#[test]
fn every_query_of_every_panel_is_answered_with_rows() -> Result<()> {
    if !site::engine_present("dashboards") {
        return Ok(());
    }
    let drills = root().join("tests/drills");
    let site = Site::start(&std::fs::read_to_string(drills.join("systems.toml"))?)?;
    site.run(&["drill", "run", "--all", "--drills", &drills.display().to_string(), "--speed", "100"])?;
    open_incident(&site)?;
    site.query(
        "INSERT INTO vonggac.link_days (link, day, name, percent, samples, version) VALUES \
         ('l', toString(yesterday()), 'Line', 50, 288, 1), ('l', toString(today() - 59), 'Line', 50, 288, 1)",
    )?;
    let folder = root().join("dashboards/grafana");
    let answers = ask_all(&site, &folder, "in")?;
    let wrong = faults(&answers);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let targets: usize =
        dashboards()?.iter().map(|(_, dashboard)| queries(dashboard, "rawSql").count()).sum();
    assert!(answers.len() >= targets, "{} answers of {targets} queries", answers.len());

    // All that is there is a drill's: without the switch, the lists of alerts are empty.
    let hidden = ask_all(&site, &folder, "out")?;
    let newest = hidden.iter().find(|answer| answer["panel"] == "Mới nhất").context("the newest alerts")?;
    assert_eq!(newest["rows"], 0, "{newest}");
    faults_of_queries_are_seen(&site)
}

/// An incident of an alert of the drill, with its deadlines in the store: what it shows is no empty table.
fn open_incident(site: &Site) -> Result<()> {
    let alert = site.query("SELECT id FROM vonggac.alerts WHERE system_id != '' LIMIT 1 FORMAT TSV")?;
    site.run(&["incident", "open", "--title", "Exercise", alert.trim()])?;
    until("the deadlines of the incident are stored", || {
        let rows =
            site.number("SELECT count() FROM vonggac.obligations FINAL WHERE kind = 'incident' AND due > 0")?;
        Ok((rows > 0).then_some(()))
    })
}

/// The queries of a dashboard's panels, in the language whose key is given.
fn queries<'a>(dashboard: &'a Json, key: &'a str) -> impl Iterator<Item = &'a str> {
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.filter_map(move |target| target[key].as_str())
}

/// A query each, and the words that tell what is wrong with it. What gives a time is drawn over time.
const FAULTY: [(&str, &str); 8] = [
    ("SELECT $__timeGroup(ts) FROM events", "no macro"),
    ("SELECT $__timeFilter() FROM events", "0 arguments"),
    ("SELECT ${nobody} FROM events", "no variable nobody"),
    ("SELECT nothing FROM events", "UNKNOWN_IDENTIFIER"),
    ("SELECT count() FRM events", "SYNTAX_ERROR"),
    ("SELECT 1 FROM events WHERE $__timeFilter(ts) AND kind = 'no such kind'", "no rows"),
    ("INSERT INTO events (kind) VALUES ('x')", "READONLY"),
    ("SELECT now() - INTERVAL 2 DAY AS time, 'a' AS series, 1 AS value", "times that are not shown"),
];

fn faults_of_queries_are_seen(site: &Site) -> Result<()> {
    let panels: Vec<Json> = FAULTY
        .iter()
        .map(|(sql, _)| {
            let datasource = json!({"type": "grafana-clickhouse-datasource"});
            let format = i32::from(!sql.contains("AS time"));
            json!({"title": sql, "description": "", "targets": [{"datasource": datasource, "rawSql": sql, "format": format}]})
        })
        .collect();
    let folder = TempDir::new()?;
    let dashboard = json!({"title": "faulty", "templating": {"list": []}, "panels": panels});
    std::fs::write(folder.path().join("faulty.json"), dashboard.to_string())?;
    let answers = ask_all(site, folder.path(), "in")?;
    assert_eq!(answers.len(), FAULTY.len());
    for (answer, (sql, words)) in answers.iter().zip(FAULTY) {
        assert!(answer["fault"].as_str().is_some_and(|fault| fault.contains(words)), "{sql}: {answer}");
    }
    Ok(())
}

/// `going`: goes on behind the end of the period, and names an address that only begins like the one that is looked at; `done`: closed,
/// and names that one in what matched. Events of one system, of which a drill's is kept for less than the law wants.
const KNOWN: [&str; 3] = [
    "INSERT INTO vonggac.alerts (id, version, rule_title, priority, host, entity, src_ip, first_seen, last_seen, created_at, matched) \
     VALUES ('going', 1, 'r', 'P2', 'web01', '10.20.0.100', toIPv6('2001:db8::ffff:1'), now64(6) - 60, now64(6) + 3600, now64(6), map()), \
     ('done', 1, 'r', 'P1', 'web01', 'x', toIPv6('::'), now64(6) - 60, now64(6) - 60, now64(6), map('to', 'from 10.20.0.10.'))",
    "INSERT INTO vonggac.alert_history (chain, seq, at, alert_id, action, verdict) VALUES ('c', 1, now64(6), 'done', 'close', 'benign')",
    "INSERT INTO vonggac.events (ts, host, system_id, sys_level, drill_id, retention_days) VALUES \
     (now64(6), 'web01', 'cong-dich-vu', 3, '', 400), (now64(6), 'web01', 'cong-dich-vu', 3, 'exercise', 30)",
];

#[test]
fn panels_tell_the_truth_of_what_is_stored() -> Result<()> {
    if !site::engine_present("dashboards") {
        return Ok(());
    }
    let site = Site::start(&std::fs::read_to_string(root().join("tests/drills/systems.toml"))?)?;
    for sql in KNOWN {
        site.query(sql)?;
    }
    let answers = ask_all(&site, &root().join("dashboards/grafana"), "in")?;
    let answer = |dashboard: &str, panel: &str| {
        let is_meant = |answer: &&Json| {
            answer["panel"] == panel
                && answer["dashboard"].as_str().is_some_and(|title| title.contains(dashboard))
        };
        answers.iter().find(is_meant).with_context(|| format!("{dashboard}: {panel}"))
    };
    let newest = answer("Tổng quan", "Mới nhất")?;
    assert_eq!(newest["rows"], 2, "{newest}");
    assert!(newest["data"][0].to_string().contains("\"2001:db8::ffff:1\""), "{newest}");
    assert_eq!(answer("Tổng quan", "P1 và P2 chưa đóng")?["data"], json!([[1]]));
    let queue = answer("Xử lý", "Hàng đợi")?;
    assert_eq!((&queue["rows"], &queue["data"][0][0]), (&json!(1), &json!("going")), "{queue}");
    let first = answer("Xử lý", "Vì sao có cảnh báo")?;
    assert_eq!(first["data"][0][1], "going", "{first}");
    let named = answer("Máy chủ và địa chỉ", "Cảnh báo")?;
    assert_eq!((&named["rows"], &named["data"][0][0]), (&json!(1), &json!("done")), "{named}");
    let kept = answer("độ phủ", "Thời gian lưu giữ so với tối thiểu")?;
    let row = &kept["data"][0];
    assert_eq!((&row[0], &row[3], &row[5]), (&json!("cong-dich-vu"), &json!(400), &json!("")), "{kept}");
    Ok(())
}

fn prometheus_file(name: &str) -> PathBuf {
    root().join("dashboards/prometheus").join(name)
}

#[test]
fn prometheus_takes_the_configuration_the_rules_and_the_queries_of_panels() -> Result<()> {
    if !present("promtool", "prometheus", "dashboards") {
        return Ok(());
    }
    let promtool = |arguments: [&str; 2]| {
        let mut command = Command::new("promtool");
        command.args(arguments);
        command
    };
    succeeds(promtool(["check", "config"]).arg(prometheus_file("prometheus.yml")))?;
    succeeds(promtool(["check", "rules"]).arg(prometheus_file("vonggac-alerts.yml")))?;
    succeeds(promtool(["test", "rules"]).arg(prometheus_file("vonggac-alerts.test.yml")))?;

    // Each query of a panel as a rule of its own: promtool of Debian has no other way to parse one. JSON is YAML.
    let dashboards = dashboards()?;
    let expressions: Vec<&str> =
        dashboards.iter().flat_map(|(_, dashboard)| queries(dashboard, "expr")).collect();
    ensure!(!expressions.is_empty(), "no panel of Prometheus");
    let rule = |(number, expression)| json!({"record": format!("panel:{number}"), "expr": expression});
    let rules: Vec<Json> = expressions.iter().enumerate().map(rule).collect();
    let folder = TempDir::new()?;
    let file = folder.path().join("panels.yml");
    std::fs::write(&file, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string())?;
    succeeds(promtool(["check", "rules"]).arg(file))
}

/// A Prometheus with the shipped configuration and rules, their hours made seconds.
struct Prometheus {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    fn start(collector: &str, agent: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let shipped = |name: &str| std::fs::read_to_string(prometheus_file(name));
        let configuration = shipped("prometheus.yml")?
            .replace("127.0.0.1:9464", collector)
            .replace("127.0.0.1:9465", agent)
            .replace("interval: 15s", "interval: 1s");
        let configured = folder.path().join("prometheus.yml");
        std::fs::write(&configured, configuration)?;
        std::fs::write(folder.path().join("vonggac-alerts.yml"), hastened(&shipped("vonggac-alerts.yml")?)?)?;
        let address = format!("127.0.0.1:{}", free_port());
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", configured.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { process, address, _folder: folder })
    }

    /// Whether a query gives anything.
    fn gives(&self, query: &str) -> Result<bool> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http_get(&self.address, &format!("/api/v1/query?query={encoded}"))?;
        ensure!(answer.contains(r#""status":"success""#), "{query}: {answer}");
        Ok(!answer.contains(r#""result":[]"#))
    }

    fn until_given(&self, query: &str) -> Result<()> {
        until(query, || Ok(self.gives(query)?.then_some(())))
    }

    /// Waits until an alert fires, or until it is over.
    fn until_alert(&self, alert: &str, fires: bool) -> Result<()> {
        let query = format!(r#"ALERTS{{alertname="{alert}",alertstate="firing"}}"#);
        until(&format!("{alert} fires: {fires}"), || Ok((self.gives(&query)? == fires).then_some(())))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// Rules whose day is a minute, whose other windows are six seconds, and which fire at once.
fn hastened(rules: &str) -> Result<String> {
    let mut hastened = rules.replace("[1d]", "[60s]");
    for (pattern, short) in [
        (r"\[[0-9]+[mh][^\]]*\]", "[6s]"),
        (r"offset [0-9]+[mh]", "offset 6s"),
        (r"for: [0-9]+[mh]", "for: 0s"),
    ] {
        hastened = Regex::new(pattern)?.replace_all(&hastened, short).into_owned();
    }
    Ok(hastened)
}

#[test]
fn induced_faults_fire_the_right_alert_and_their_end_resolves_it() -> Result<()> {
    if !site::engine_present("dashboards") || !present("prometheus", "prometheus", "dashboards") {
        return Ok(());
    }
    let site = Site::start("")?;
    let log = site.path("app.log");
    let metrics = format!("127.0.0.1:{}", free_port());
    std::fs::write(&log, "")?;
    let source =
        format!("[metrics]\nlisten = \"{metrics}\"\n[[source]]\npaths = [\"{log}\"]\nformat = \"syslog\"\n");
    let mut agent = site.agent("web01", &source)?;
    let prometheus = Prometheus::start(&site.metrics_address(), &metrics)?;
    prometheus.until_given(r#"up{job="vonggac"} == 1 and on() up{job="vonggac-agent"} == 1"#)?;

    // A source that falls silent, and speaks again. A counter must be seen to grow: what it is first seen with tells nothing.
    write_line(&log)?;
    prometheus.until_given("vonggac_agent_lines_read_total >= 1")?;
    write_line(&log)?;
    prometheus.until_given("vonggac_agent_lines_read_total >= 2")?;
    prometheus.until_alert("VonggacSourceSilent", true)?;
    write_line(&log)?;
    prometheus.until_alert("VonggacSourceSilent", false)?;

    agent.kill()?;
    prometheus.until_alert("VonggacAgentDown", true)?;
    agent.start()?;
    prometheus.until_alert("VonggacAgentDown", false)?;

    site.kill_store()?;
    prometheus.until_alert("VonggacStoreRestarts", true)?;
    prometheus.until_alert("VonggacStoreRestarts", false)
}

fn write_line(log: &str) -> Result<()> {
    use std::io::Write;
    let now = Timestamp::now();
    let mut file = std::fs::File::options().append(true).open(log)?;
    Ok(writeln!(file, "{now} web01 app[7]: one more line")?)
}
