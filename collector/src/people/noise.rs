//! `vonggac rules noise`: how often each rule was right, by what people said when they closed its alerts.

use std::process::ExitCode;

use anyhow::Result;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::config::ConfigArg;
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::filter::{Bound, Filter};
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::{self, DrillArg, UntilArg, counted, grouped};
use crate::people::when::{Clock, When};

const EXAMPLES: &str = "\
Examples:
  vonggac rules noise                    the last four weeks, most false positives first
  vonggac rules noise --since 1w --min 5
  vonggac rules noise --format csv

A duplicate says nothing about its rule and is left out of the share. Days are those of UTC. Grafana may ask the view
rule_verdicts the same.

Exit codes: 0 answered; 2 the question could not be answered.";

/// Show how often each rule was right: verdicts of closed alerts, and the share of false positives
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Alerts closed since: 2d, 1w (ago), today, 2026-08-19
    #[arg(long, value_name = "TIME", default_value = "4w", help_heading = "Filters")]
    since: When,
    #[command(flatten)]
    until: UntilArg,
    /// Rules of which at least so many alerts were closed
    #[arg(long, default_value_t = 1, help_heading = "Filters")]
    min: u32,
    #[command(flatten)]
    drill: DrillArg,
}

/// What people said of a rule.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Noise {
    rule_id: String,
    rule_title: String,
    closed: u64,
    true_positives: u64,
    false_positives: u64,
    benigns: u64,
    duplicates: u64,
    /// Of those that are no duplicates, 0 to 1; 0 when there is none.
    false_positive_ratio: f64,
}

impl Listed for Noise {
    const HEADINGS: &'static [&'static str] =
        &["rule", "closed", "true", "false", "benign", "duplicate", "false share", "id"];
    const PROSE: &'static [&'static str] = &["rule"];
    const SPARE: &'static [&'static str] = &["duplicate", "benign", "id"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let counts = [self.closed, self.true_positives, self.false_positives, self.benigns, self.duplicates];
        let mut cells = vec![self.rule_title.clone()];
        cells.extend(counts.map(grouped));
        cells.push(format!("{:.0} %", self.false_positive_ratio * 100.0));
        cells.push(self.rule_id.clone());
        cells
    }

    fn tone(&self, column: usize) -> Tone {
        match column {
            6 if self.false_positive_ratio > 0.5 => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let (since, until) = select::window(&clock, &args.since, args.until.until.as_ref())?;
    let mut filter = Filter::default();
    filter
        .and("a.day >= toDate({}, 'UTC')", Bound::Time(since))
        .and_if("a.day <= toDate({}, 'UTC')", until.map(Bound::Time));
    args.drill.apply(&mut filter);
    let sql = format!(
        "SELECT a.rule_id AS rule_id, any(a.title) AS rule_title, sum(a.closed) AS closed, \
            sum(a.true_positives) AS true_positives, sum(a.false_positives) AS false_positives, \
            sum(a.benigns) AS benigns, sum(a.duplicates) AS duplicates, \
            false_positives / greatest(closed - duplicates, 1) AS false_positive_ratio \
        FROM rule_verdicts AS a WHERE {} GROUP BY a.rule_id HAVING closed >= {} \
        ORDER BY false_positives DESC, closed DESC, rule_id",
        filter.sql(),
        args.min
    );
    let reader = Reader::open(&configuration(&args.config)?)?;
    let rows = block_on(reader.rows::<Noise>(&sql, &filter))?;
    let closed: u64 = rows.iter().map(|row| row.closed).sum();
    let rules = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let summary = format!(
        "{} closed since {}, of {}",
        counted(closed, "alert"),
        clock.shown(since),
        counted(rules, "rule")
    );
    print(&rows, &args.output, &clock, &summary)?;
    Ok(ExitCode::SUCCESS)
}
