//! `vonggac alert ID`: why one alert fired, what people did with it, and what to look at next.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigArg};
use crate::history::{self, Entry};
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::deed::{self, Deed, PREFIX_CHARS_MIN};
use crate::people::escape::{json_line, shown};
use crate::people::filter::{Bound, Filter, shown_address};
use crate::people::output::print_text;
use crate::people::page::Page;
use crate::people::rule::{Words, words};
use crate::people::select::{as_address, as_iso, as_map, as_texts, counted, unhex};
use crate::people::table::Terminal;
use crate::people::when::{Clock, MICROS_PER_S, iso};

/// How many alerts an ambiguous beginning lists.
const CANDIDATES_MAX: usize = 5;
/// `vonggac events` of the commands proposed look so much further back and ahead: an alert seldom starts the story.
const AROUND: Micros = 5 * 60 * MICROS_PER_S;

const EXAMPLES: &str = "\
Examples:
  vonggac alert 8c1f2a90                 the beginning of an id is enough when only one alert has it
  vonggac alert 8c1f2a90 --format json   for programs: one object, nothing left out
  vonggac alert ack 8c1f2a90             somebody looks at it
  vonggac alert assign 8c1f2a90 --to lan
  vonggac alert close 8c1f2a90 --verdict false_positive --text \"scanner of the health department\"

Acting on an alert writes, and needs the writer's password: the daemon's user or root.

Exit codes: 0 shown; 1 no alert has that id, or more than one has that beginning; 2 the question could not be answered.";

/// Show why an alert fired: rule, matching fields, raw lines, system, level and its legal basis, ATT&CK techniques; or act on it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    deed: Option<Deed>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The alert's id, or its beginning (at least 4 characters)
    #[arg(required = true)]
    id: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show times in UTC instead of the local zone
    #[arg(long)]
    utc: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// For eyes
    #[default]
    Text,
    /// One JSON object on one line
    Json,
}

/// Everything that the store holds about an alert.
#[derive(Debug, Deserialize, Row, Serialize)]
struct Alert {
    id: String,
    rule_id: String,
    rule_title: String,
    rule_path: String,
    severity: String,
    priority: String,
    priority_reason: String,
    tactics: Vec<String>,
    techniques: Vec<String>,
    system_id: String,
    system_name: String,
    sys_level: u8,
    level_basis: String,
    organisation: String,
    host: String,
    entity: String,
    #[serde(serialize_with = "as_address")]
    src_ip: String,
    user: String,
    hits: u64,
    #[serde(serialize_with = "as_iso")]
    first_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    last_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    created_at: Micros,
    #[serde(serialize_with = "as_map")]
    matched: Vec<(String, String)>,
    /// Hexadecimal out of the store: raw lines need not be UTF-8.
    #[serde(serialize_with = "as_texts")]
    samples: Vec<String>,
    sample_events: Vec<String>,
    drill_id: String,
    status: String,
    assignee: String,
    verdict: String,
    silence: String,
    /// By when the law wants a report should it be an incident; 1970: no law does.
    #[serde(serialize_with = "as_iso")]
    report_due: Micros,
    report_basis: String,
    incident: String,
}

const COLUMNS: &str = "a.id AS id, a.rule_id AS rule_id, a.rule_title AS rule_title, a.rule_path AS rule_path, \
    a.severity AS severity, a.priority AS priority, a.priority_reason AS priority_reason, a.tactics AS tactics, \
    a.techniques AS techniques, a.system_id AS system_id, a.system_name AS system_name, a.sys_level AS sys_level, \
    a.level_basis AS level_basis, a.organisation AS organisation, a.host AS host, a.entity AS entity, \
    toString(a.src_ip) AS src_ip, a.user AS user, a.hits AS hits, \
    toUnixTimestamp64Micro(a.first_seen) AS first_seen, toUnixTimestamp64Micro(a.last_seen) AS last_seen, \
    toUnixTimestamp64Micro(a.created_at) AS created_at, a.matched AS matched, \
    arrayMap(line -> hex(line), a.samples) AS samples, a.sample_events AS sample_events, a.drill_id AS drill_id, \
    if(s.status = '', 'new', s.status) AS status, s.assignee AS assignee, s.verdict AS verdict, a.silence AS silence, \
    toUnixTimestamp64Micro(a.report_due) AS report_due, a.report_basis AS report_basis, s.incident AS incident";

/// By when something was to be done, and whether it was.
#[derive(Debug, Deserialize, Row, Serialize)]
struct Due {
    clock: String,
    #[serde(serialize_with = "as_iso")]
    due: Micros,
    /// 1970: not yet.
    #[serde(serialize_with = "as_iso")]
    done_at: Micros,
    /// open, met or missed
    state: String,
}

/// What people did and have to do.
#[derive(Debug, Default, Serialize)]
struct Handling {
    clocks: Vec<Due>,
    history: Vec<Entry>,
}

/// An alert with what its rule file says, for programs.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    alert: &'a Alert,
    rule: Option<&'a Words>,
    #[serde(flatten)]
    handling: &'a Handling,
    next: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.deed {
        Some(deed) => deed::run(deed),
        None => ask(&args.show),
    }
}

fn ask(args: &ShowArgs) -> Result<ExitCode> {
    let id = args.id.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    ensure!(
        id.chars().count() >= PREFIX_CHARS_MIN,
        "an alert's id, or at least its first {PREFIX_CHARS_MIN} characters, is expected; `vonggac alerts` lists them"
    );
    let config = configuration(&args.config)?;
    let reader = Reader::open(&config)?;
    let mut filter = Filter::default();
    filter.and("startsWith(a.id, {})", Bound::Text(id.clone()));
    let begins = filter.keep(Bound::Text(id.clone()));
    let sql = format!(
        "SELECT {COLUMNS} FROM alerts AS a FINAL \
         LEFT JOIN (SELECT * FROM alert_status WHERE startsWith(alert_id, {begins})) AS s ON s.alert_id = a.id WHERE {} \
         ORDER BY a.last_seen DESC LIMIT {}",
        filter.sql(),
        CANDIDATES_MAX + 1
    );
    let alerts = block_on(reader.rows::<Alert>(&sql, &filter))?;
    let clock = Clock::new(args.utc);
    let [alert] = alerts.as_slice() else {
        eprint!("{}", not_one(&id, &alerts, &clock));
        return Ok(ExitCode::FAILURE);
    };
    let handling = block_on(async {
        let (clocks, history) = (clocks(&reader, &alert.id).await?, history(&reader, &alert.id).await?);
        anyhow::Ok(Handling { clocks, history })
    })?;
    show(alert, &handling, &config, args.format, &clock)?;
    Ok(ExitCode::SUCCESS)
}

/// What is due, in the order in which it is done.
async fn clocks(reader: &Reader, id: &str) -> Result<Vec<Due>> {
    let mut filter = Filter::default();
    filter.and("c.alert_id = {}", Bound::Text(id.to_owned()));
    let sql = format!(
        "SELECT c.clock AS clock, toUnixTimestamp64Micro(c.due) AS due, toUnixTimestamp64Micro(c.done_at) AS done_at, \
           c.state AS state FROM alert_clocks AS c WHERE {} ORDER BY c.number",
        filter.sql()
    );
    reader.rows(&sql, &filter).await
}

/// What people did with the alert, in the order of time.
async fn history(reader: &Reader, id: &str) -> Result<Vec<Entry>> {
    let mut filter = Filter::default();
    filter.and("h.alert_id = {}", Bound::Text(id.to_owned()));
    let columns = history::COLUMNS;
    let sql = format!(
        "SELECT {columns} FROM alert_history AS h WHERE {} ORDER BY h.at, h.chain, h.seq",
        filter.sql()
    );
    reader.rows(&sql, &filter).await
}

fn show(alert: &Alert, handling: &Handling, config: &Config, format: Format, clock: &Clock) -> Result<()> {
    let rule = words(config, &alert.rule_path, &alert.rule_id);
    match format {
        Format::Text => {
            let mut page = Page::for_terminal(Terminal::of_stdout());
            explain(&mut page, alert, rule.as_ref(), handling, clock);
            print_text(&page.into_text())
        }
        Format::Json => {
            let next = alert.next_commands(rule.as_ref());
            let explained = Explained { alert, rule: rule.as_ref(), handling, next };
            print_text(&(json_line(&explained)? + "\n"))
        }
    }
}

fn not_one(id: &str, alerts: &[Alert], clock: &Clock) -> String {
    if alerts.is_empty() {
        return format!("vonggac: {}\n", deed::no_alert(id));
    }
    let mut out = format!("vonggac: more than one alert has an id that begins with {}:\n", shown(id));
    for alert in alerts.iter().take(CANDIDATES_MAX) {
        let title = shown(&alert.rule_title);
        let _infallible = writeln!(out, "  {}  {}  {title}", shown(&alert.id), clock.shown(alert.last_seen));
    }
    if alerts.len() > CANDIDATES_MAX {
        out.push_str("  ...\n");
    }
    out
}

/// The page for eyes. Every value is escaped by [`Page`].
fn explain(page: &mut Page, alert: &Alert, rule: Option<&Words>, handling: &Handling, clock: &Clock) {
    page.title(&format!("{}  {}", alert.priority, alert.rule_title));
    page.section("What");
    page.line("alert", &alert.id);
    page.line("drill", &alert.drill_id);
    page.line("severity", &alert.severity);
    page.line("priority", &alert.why_urgent());
    page.line("tactics", &alert.tactics.join(", "));
    page.line("techniques", &alert.techniques.join(", "));
    page.handling(alert, handling, clock);
    page.section("Where");
    page.line("host", &alert.host);
    page.line(
        "system",
        &named(&alert.system_name, &alert.system_id, "belongs to no system of the inventory"),
    );
    page.line("organisation", &alert.organisation);
    page.line("level", &alert.level());
    page.section("Who");
    page.line("address", &shown_address(&alert.src_ip));
    page.line("user", &alert.user);
    page.line("grouped by", &alert.entity);
    page.section(&format!("When ({})", clock.zone_name()));
    page.line("first seen", &clock.shown_ms(alert.first_seen));
    page.line("last seen", &format!("{}, {}", clock.shown_ms(alert.last_seen), clock.age(alert.last_seen)));
    page.line("alerted", &clock.shown_ms(alert.created_at));
    page.line("hits", &counted(alert.hits, "event"));
    page.section("Why");
    page.line("rule", &format!("{} ({})", alert.rule_title, alert.rule_id));
    page.line("file", &rule.map_or_else(|| alert.rule_path.clone(), |rule| rule.file.display().to_string()));
    page.words(rule);
    for (field, value) in &alert.matched {
        page.line("matched", &format!("{field} = {value}"));
    }
    page.section(&format!("Lines ({} of {})", alert.samples.len(), counted(alert.hits, "event")));
    alert.samples.iter().for_each(|line| page.raw(&unhex(line)));
    page.section("Next");
    alert.next_commands(rule).iter().for_each(|command| page.raw(command.as_bytes()));
}

fn named(name: &str, id: &str, otherwise: &str) -> String {
    if id.is_empty() { otherwise.to_owned() } else { format!("{name} ({id})") }
}

impl Alert {
    /// The priority and its reason, which may begin with the priority itself.
    fn why_urgent(&self) -> String {
        let (priority, reason) = (&self.priority, &self.priority_reason);
        if reason.starts_with(priority.as_str()) { reason.clone() } else { format!("{priority}: {reason}") }
    }

    fn level(&self) -> String {
        match self.sys_level {
            0 => "not classified".to_owned(),
            level if self.level_basis.is_empty() => level.to_string(),
            level => format!("{level}, by {}", self.level_basis),
        }
    }

    /// Commands that lead on from here.
    fn next_commands(&self, rule: Option<&Words>) -> Vec<String> {
        if self.host.is_empty() {
            // A log source of a system: no host, and no event.
            return vec![format!("vonggac systems coverage {}", quoted(&self.system_id))];
        }
        let since = iso(self.first_seen.saturating_sub(AROUND));
        let until = iso(self.last_seen.saturating_add(AROUND));
        let drill = match self.drill_id.as_str() {
            "" => String::new(),
            id => format!(" --drill {}", quoted(id)),
        };
        let window = format!("--since {since} --until {until}{drill}");
        let address = shown_address(&self.src_ip);
        let host = quoted(&self.host);
        let mut commands = vec![format!("vonggac events --host {host} {window}")];
        // Events name the rules of single events that they matched, not the correlations that they led to.
        if !rule.is_some_and(|rule| rule.correlation) {
            commands.insert(0, format!("vonggac events --rule {} {window}", quoted(&self.rule_id)));
        }
        if !address.is_empty() {
            commands.push(format!("vonggac events --address {address} {window}"));
            commands.push(format!("vonggac alerts --address {address} --since 1w{drill}"));
        }
        commands.push(format!("vonggac alerts --host {host} --since 1w{drill}"));
        commands
    }
}

impl Due {
    fn told(&self, clock: &Clock) -> String {
        let (due, done) = (clock.shown(self.due), clock.shown(self.done_at));
        match (self.state.as_str(), self.done_at) {
            ("met", _) => format!("done {done}, in time (by {due})"),
            (_, 0) => format!("by {due}, {}", clock.until(self.due)),
            _ => format!("done {done}, too late (by {due})"),
        }
    }
}

/// A word for a POSIX shell. A name out of a log must not become a command when a person pastes it.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.:@/+".contains(char);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", shown(word).replace('\'', r"'\''"))
}

impl Page {
    fn handling(&mut self, alert: &Alert, handling: &Handling, clock: &Clock) {
        self.line("status", &alert.status);
        self.line("assigned to", &alert.assignee);
        self.line("verdict", &alert.verdict);
        self.line("silenced by", &alert.silence);
        for due in &handling.clocks {
            self.line(&due.clock, &due.told(clock));
        }
        self.line("incident", &alert.incident);
        if alert.incident.is_empty() && alert.report_due > 0 && alert.status != "closed" {
            let (due, left) = (clock.shown(alert.report_due), clock.until(alert.report_due));
            self.line("if incident", &format!("report by {due}, {left} ({})", alert.report_basis));
        }
        for entry in &handling.history {
            let to =
                if entry.assignee.is_empty() { String::new() } else { format!(" to {}", entry.assignee) };
            let of = if entry.verdict.is_empty() { String::new() } else { format!(" as {}", entry.verdict) };
            let text = if entry.text.is_empty() { String::new() } else { format!(": {}", entry.text) };
            let at = clock.shown(entry.at);
            self.line(&entry.action, &format!("{at} by {}{to}{of}{text}", entry.actor));
        }
    }

    fn words(&mut self, rule: Option<&Words>) {
        let Some(rule) = rule else { return };
        rule.description.lines().for_each(|line| self.line("description", line));
        rule.falsepositives.iter().for_each(|line| self.line("harmless if", line));
        rule.references.iter().for_each(|line| self.line("see", line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        Alert {
            id: "8c1f2a9000112233".into(),
            rule_id: "5f1d2c3b".into(),
            rule_title: "SSH brute force".into(),
            rule_path: "linux/brute.yml".into(),
            severity: "high".into(),
            priority: "P1".into(),
            priority_reason: "severity high on a system of level 4".into(),
            tactics: vec!["credential-access".into()],
            techniques: vec!["T1110.001".into()],
            system_id: "portal".into(),
            system_name: "Cổng dịch vụ công".into(),
            sys_level: 4,
            level_basis: "QĐ 100/QĐ-UBND".into(),
            organisation: "province".into(),
            host: "web01".into(),
            entity: "192.0.2.7".into(),
            src_ip: "::ffff:192.0.2.7".into(),
            user: "root".into(),
            hits: 12,
            first_seen: 1_787_150_000_000_000,
            last_seen: 1_787_150_060_000_000,
            created_at: 1_787_150_001_000_000,
            matched: vec![("src_ip".into(), "192.0.2.7\u{1b}[2J".into())],
            samples: vec![base16ct::upper::encode_string(b"line \x1b[31m\xff")],
            sample_events: vec!["web01:00:1:0".into()],
            drill_id: String::new(),
            status: "acknowledged".into(),
            assignee: "lan".into(),
            verdict: "true_positive".into(),
            silence: String::new(),
            report_due: 1_787_409_200_000_000,
            report_basis: "NĐ 331".into(),
            incident: String::new(),
        }
    }

    fn closed() -> Entry {
        Entry {
            at: 1_787_154_000_000_000,
            action: "close".into(),
            actor: "Lan".into(),
            verdict: "true_positive".into(),
            text: "reset\u{1b}[2J".into(),
            ..Entry::default()
        }
    }

    fn handling() -> Handling {
        let due = |clock: &str, state: &str, done_at| Due {
            clock: clock.into(),
            due: 1_787_153_600_000_000,
            done_at,
            state: state.into(),
        };
        let clocks = vec![
            due("acknowledge", "met", 1_787_150_400_000_000),
            due("contain", "missed", 1_787_154_000_000_000),
            due("close", "missed", 0),
        ];
        Handling { clocks, history: vec![closed()] }
    }

    #[test]
    fn explains_on_one_page_and_escapes_every_value() {
        let mut page = Page::default();
        explain(&mut page, &alert(), None, &handling(), &Clock::new(true));
        let page = page.into_text();
        assert!(!page.chars().any(|char| char != '\n' && crate::people::escape::is_unsafe(char)));
        for part in [
            "P1  SSH brute force\n",
            "  status       acknowledged\n",
            "  acknowledge  done 2026-08-19 14:40:00, in time (by 2026-08-19 15:33:20)\n",
            "  contain      done 2026-08-19 15:40:00, too late (by 2026-08-19 15:33:20)\n",
            "  close        by 2026-08-19 15:33:20, late by ",
            "  close        2026-08-19 15:40:00 by Lan as true_positive: reset\\x1b[2J\n",
            "  if incident  report by 2026-08-22 14:33:20, ",
            "  level        4, by QĐ 100/QĐ-UBND\n",
            "  matched      src_ip = 192.0.2.7\\x1b[2J\n",
            "  line \\x1b[31m\\xff\n",
            "  vonggac events --host web01 --since ",
            "  vonggac alerts --address 192.0.2.7 --since 1w\n",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(!page.contains("drill"), "an empty value has no line");
    }

    #[test]
    fn json_leaves_nothing_out() {
        let alert = alert();
        let explained =
            Explained { alert: &alert, rule: None, handling: &handling(), next: alert.next_commands(None) };
        let value: serde_json::Value = serde_json::from_str(&json_line(&explained).unwrap()).unwrap();
        assert_eq!(value["matched"]["src_ip"], "192.0.2.7\u{1b}[2J");
        assert_eq!(value["src_ip"], "192.0.2.7");
        assert_eq!(value["samples"][0], "line \u{1b}[31m\u{fffd}");
        assert_eq!(value["first_seen"], iso(alert.first_seen));
        assert_eq!(value["history"][0]["verdict"], "true_positive");
    }

    #[test]
    fn a_pasted_word_is_no_command() {
        assert_eq!(quoted("web01"), "web01");
        assert_eq!(quoted("a b'; rm -rf ~"), r"'a b'\''; rm -rf ~'");
        assert_eq!(quoted("--limit"), "'--limit'");
        assert_eq!(quoted(""), "''");
    }
}
