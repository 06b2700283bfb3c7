//! `vonggac notifications`: what people were told of alerts and what not; send again what was given up; try a way.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::config::{Config, ConfigArg, NotificationTarget};
use crate::notifications::ledger::{self, Outcome};
use crate::notifications::{Channel, Message};
use crate::people::connect::{Reader, Writer, block_on, configuration};
use crate::people::deed::PREFIX_CHARS_MIN;
use crate::people::escape::shown;
use crate::people::filter::{Bound, Filter};
use crate::people::output::{Format, Listed, OutputArgs, Tone, cut, print, print_text};
use crate::people::select::{as_iso, counted, grouped};
use crate::people::when::{Clock, When};

/// Characters of a message's id in the table.
const ID_CHARS: usize = 16;
/// Messages that one `retry` takes up.
const RETRIES_MAX: u64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  vonggac notifications                    what people were told within the last day, and what not
  vonggac notifications --status gave_up --since 4w
  vonggac notifications retry 8c1f2a90     send again what was given up: its message's id
  vonggac notifications retry --all
  vonggac notifications test telegram      a message about nothing, and the receiver's answer

Targets stand in the configuration; a webhook, a mail and a chat service:

  [[notifications.targets]]
  name = \"tickets\"
  webhook = { url = \"https://tickets.example.vn/in\", secret_file = \"tickets.secret\" }

  [[notifications.targets]]
  name = \"soc-mail\"
  priority = \"P3\"                    # and more urgent ones
  interval_s = 300                   # messages are so far apart, each tells of all since
  [notifications.targets.mail]
  server = \"mail.example.vn\"         # tls = \"starttls\" (port 587), \"implicit\" (465) or \"none\" (25)
  user = \"soc\"
  password_file = \"mail.password\"
  from = \"Vọng Gác <soc@example.vn>\"
  to = [\"truc@example.vn\"]

  [[notifications.targets]]
  name = \"chat\"
  systems = [\"portal\"]
  [notifications.targets.http]
  url = \"https://api.telegram.org/bot{secret}/sendMessage\"
  secret_file = \"telegram.token\"
  body = '{\"chat_id\": \"-1001234567890\", \"parse_mode\": \"HTML\", \"text\": \"{text}\"}'
  text = \"html\"

A webhook with a secret can be checked: X-Vonggac-Signature is \"sha256=\" and HMAC-SHA256, in hexadecimal, of X-Vonggac-Timestamp, a
full stop and the body. X-Vonggac-Message is the same for all attempts of a message.

`retry` needs the writer's password, `test` the target's secrets: the daemon's user or root.

Exit codes: 0 done; 1 (retry) there is no such message, (test) the receiver did not take it; 2 it could not be done.";

/// List notifications: what was sent, what is tried again, what was given up; send again; test a target
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send again what was given up
    Retry(RetryArgs),
    /// Send a message about nothing to one target now, and print what it answers
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: OutputArgs,
    /// Messages with an attempt since: 30m, 6h, 2d (ago), today, 2026-08-19
    #[arg(long, value_name = "TIME", default_value = "1d", help_heading = "Filters")]
    since: When,
    /// How it stands: sent, failed (it is tried again), gave_up, retry (somebody said to try again)
    #[arg(long, value_parser = ["sent", "failed", "gave_up", "retry"], hide_possible_values = true, help_heading = "Filters")]
    status: Option<String>,
    /// To this target
    #[arg(long, help_heading = "Filters")]
    target: Option<String>,
    /// At most so many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = false, args = ["messages", "all"])]
struct RetryArgs {
    /// Ids of messages that were given up, or their beginnings (at least 4 characters)
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,
    /// Every message that was given up
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The target's name in the configuration
    target: String,
    #[command(flatten)]
    config: ConfigArg,
}

/// A message in the list.
#[derive(Debug, Default, Deserialize, Row, Serialize)]
struct Told {
    message: String,
    target: String,
    status: String,
    attempts: u16,
    #[serde(serialize_with = "as_iso")]
    first_at: Micros,
    #[serde(serialize_with = "as_iso")]
    last_at: Micros,
    alerts: Vec<String>,
    detail: String,
}

const TOLD: &str = "SELECT a.message AS message, a.target AS target, a.status AS status, a.attempts AS attempts, \
    toUnixTimestamp64Micro(a.first_at) AS first_at, toUnixTimestamp64Micro(a.last_at) AS last_at, \
    a.told AS alerts, a.last_detail AS detail FROM notification_status AS a";

/// A message that was given up.
#[derive(Debug, Deserialize, Row)]
struct GivenUp {
    message: String,
    target: String,
    alerts: Vec<String>,
    priorities: Vec<String>,
}

impl Listed for Told {
    const HEADINGS: &'static [&'static str] =
        &["last attempt ({zone})", "target", "status", "attempts", "alerts", "message", "answer"];
    const PROSE: &'static [&'static str] = &["answer"];
    const SPARE: &'static [&'static str] = &["attempts", "alerts"];

    fn cells(&self, clock: &Clock) -> Vec<String> {
        vec![
            clock.shown(self.last_at),
            self.target.clone(),
            self.status.clone(),
            self.attempts.to_string(),
            grouped(u64::try_from(self.alerts.len()).unwrap_or(u64::MAX)),
            self.message.chars().take(ID_CHARS).collect(),
            self.detail.clone(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.status.as_str()) {
            (2, "gave_up") => Tone::Alarm,
            (2, "failed" | "retry") => Tone::Notice,
            (2, "sent") => Tone::Good,
            _ => Tone::Plain,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list),
        Some(Command::Retry(args)) => retry(args),
        Some(Command::Test(args)) => test(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let clock = Clock::new(args.output.utc);
    let mut filter = Filter::default();
    filter
        .and("a.last_at >= {}", Bound::Time(clock.resolve(&args.since)?))
        .and_if("a.status = {}", args.status.clone().map(Bound::Text))
        .and_if("a.target = {}", args.target.clone().map(Bound::Text));
    let config = configuration(&args.config)?;
    let reader = Reader::open(&config)?;
    let limit = u64::from(args.limit) + 1;
    let sql = format!("{TOLD} WHERE {} ORDER BY last_at DESC, message LIMIT {limit}", filter.sql());
    let mut rows = block_on(reader.rows::<Told>(&sql, &filter))?;
    if rows.is_empty()
        && let Some(name) = &args.target
    {
        // One that is configured no more may have been told something.
        target(&config, name)?;
    }
    let more = match cut(&mut rows, args.limit, args.output.format == Format::Table) {
        true => ", the newest; --limit shows more",
        false => "",
    };
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let given_up = rows.iter().filter(|row| row.status == Outcome::GaveUp.as_str()).count();
    let advice = match given_up {
        0 => String::new(),
        count => format!("; {count} given up: vonggac notifications retry MESSAGE sends again"),
    };
    print(&rows, &args.output, &clock, &format!("{}{more}{advice}", counted(count, "message")))?;
    Ok(ExitCode::SUCCESS)
}

fn retry(args: &RetryArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let writer = Writer::open(&config)?;
    block_on(async {
        let mut found = Vec::new();
        if args.all {
            found = given_up(writer.reader(), None).await?;
        }
        for prefix in &args.messages {
            let mut matching = given_up(writer.reader(), Some(prefix)).await?;
            match (matching.pop(), matching.pop()) {
                (Some(only), None) => found.push(only),
                (one, _) => {
                    let how_many = if one.is_none() { "no message" } else { "more than one message" };
                    eprintln!(
                        "vonggac: {how_many} that was given up has an id that begins with {}",
                        shown(prefix)
                    );
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        if found.is_empty() {
            print_text("no message was given up: there is nothing to send again\n")?;
        }
        for message in found {
            take_up(&config, &writer, message).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The messages that were given up, all or those whose id begins so.
async fn given_up(reader: &Reader, prefix: Option<&String>) -> Result<Vec<GivenUp>> {
    if let Some(prefix) = prefix
        && prefix.chars().count() < PREFIX_CHARS_MIN
    {
        bail!("a message's id, or at least its first {PREFIX_CHARS_MIN} characters, is expected");
    }
    let mut filter = Filter::default();
    filter
        .and("a.status = {}", Bound::Text(Outcome::GaveUp.as_str().to_owned()))
        .and_if("startsWith(a.message, {})", prefix.map(|prefix| Bound::Text(prefix.to_ascii_lowercase())));
    let sql = format!(
        "SELECT a.message AS message, a.target AS target, a.told AS alerts, a.told_priorities AS priorities \
         FROM notification_status AS a WHERE {} ORDER BY a.first_at LIMIT {RETRIES_MAX}",
        filter.sql()
    );
    reader.rows(&sql, &filter).await
}

async fn take_up(config: &Config, writer: &Writer, given_up: GivenUp) -> Result<()> {
    let GivenUp { message, target, alerts, priorities } = given_up;
    if config.notifications.targets.iter().all(|known| known.name != target) {
        eprintln!(
            "vonggac: {} is no target any more: {} waits until it is one",
            shown(&target),
            shown(&message)
        );
    }
    let said = format!("{} to {}: {}\n", shown(&message), shown(&target), counted(count(&alerts), "alert"));
    let detail = String::new();
    let row =
        ledger::Row { message, at: now(), outcome: Outcome::Retry, attempt: 0, alerts, priorities, detail };
    writer.insert("notifications", &row.stored(&target)).await?;
    print_text(&format!("is tried again: {said}"))
}

fn count(alerts: &[String]) -> u64 {
    u64::try_from(alerts.len()).unwrap_or(u64::MAX)
}

fn test(args: &TestArgs) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let target = target(&config, &args.target)?;
    let channel = Channel::open(target)?;
    let message = Message::test(&target.name, now());
    match block_on(async { Ok(channel.send(&message).await) })? {
        Ok(answer) => {
            print_text(&format!("taken: {}\n", shown(&answer)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            print_text(&format!("NOT taken: {}\n", shown(&refusal.detail)))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn target<'c>(config: &'c Config, name: &str) -> Result<&'c NotificationTarget> {
    let targets = &config.notifications.targets;
    let found = targets.iter().find(|target| target.name == name);
    found.with_context(|| {
        let known = targets.iter().map(|target| shown(&target.name)).collect::<Vec<_>>().join(", ");
        let name = shown(name);
        if known.is_empty() {
            return format!(
                "no target is named {name}: the configuration has none; `vonggac notifications --help` shows what one looks like"
            );
        }
        format!("no target is named {name}; there are: {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_that_there_is_no_target_at_all() {
        let said = target(&Config::default(), "x").unwrap_err().to_string();
        assert!(said.starts_with("no target is named x: the configuration has none;"), "{said}");
    }
}
