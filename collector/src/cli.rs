//! The command line: one subcommand for each thing that a person does. Each hands its arguments to the module of its name,
//! which exposes `Args` and `run(Args) -> anyhow::Result<ExitCode>`.
//!
//! Exit codes: 0 done; 1 done, and the answer is no (a rule does not load, a drill step was missed); 2 could not be done.

use std::process::ExitCode;

use clap::{Command as Line, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::clock::check_zone;
use crate::{ca, drill, engine, indicators, people, rules, scan, serve};

/// Vọng Gác, the SOC monitoring daemon: collects, detects, classifies by security level, stores.
#[derive(Debug, Parser)]
#[command(name = "vonggac", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

// A subcommand NAME is a line `Name(name::Args),` here and a line `Command::Name(args) => name::run(args),` in `run`.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Alerts(people::AlertsArgs),
    Alert(people::AlertArgs),
    Events(people::EventsArgs),
    Flows(people::FlowsArgs),
    Links(people::LinksArgs),
    Hunt(people::HuntArgs),
    Incident(people::IncidentArgs),
    Duties(people::DutiesArgs),
    Report(people::ReportArgs),
    Status(people::StatusArgs),
    Systems(people::SystemsArgs),
    Exceptions(people::ExceptionsArgs),
    Notifications(people::NotificationsArgs),
    Scan(scan::Args),
    Drill(drill::Args),
    Ca(ca::Args),
    Rules(rules::Args),
    Indicators(indicators::Args),
    Store(engine::Args),
}

impl Cli {
    /// What was typed; a help that was asked for, or what is wrong, is printed and ends the program.
    pub fn typed() -> Self {
        let matches = reflowed(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command with all below it, the paragraphs of their closing help each on one line: they are wrapped once, where the
/// terminal ends, and not where the source does.
fn reflowed(command: Line) -> Line {
    let help = command.get_after_help().map(|help| unwrapped(&help.to_string()));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(reflowed)
}

/// Joins the lines of paragraphs. What is indented is an example, and the line before it a heading; both stay.
fn unwrapped(text: &str) -> String {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for line in text.lines() {
        if is_prose(before) && is_prose(line) {
            out.push(' ');
        } else if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(line);
        before = line;
    }
    out
}

/// Runs the subcommand.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    check_zone()?;
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Alerts(args) => people::run_alerts(&args),
        Command::Alert(args) => people::run_alert(&args),
        Command::Events(args) => people::run_events(&args),
        Command::Flows(args) => people::run_flows(&args),
        Command::Links(args) => people::run_links(&args),
        Command::Hunt(args) => people::run_hunt(&args),
        Command::Incident(args) => people::run_incident(&args),
        Command::Duties(args) => people::run_duties(&args),
        Command::Report(args) => people::run_report(&args),
        Command::Status(args) => people::run_status(&args),
        Command::Systems(args) => people::run_systems(&args),
        Command::Exceptions(args) => people::run_exceptions(&args),
        Command::Notifications(args) => people::run_notifications(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Ca(args) => ca::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Indicators(args) => indicators::run(&args),
        Command::Store(args) => engine::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Width to which clap writes where the terminal is as wide, or is none.
    const HELP_CHARS: usize = 100;

    fn all(command: Line) -> Vec<Line> {
        let below = command.get_subcommands().cloned().flat_map(all).collect::<Vec<_>>();
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn a_paragraph_of_help_is_wrapped_once() {
        assert_eq!(
            unwrapped("Examples:\n  a\n  b\n\nOne two\nthree.\n\nFour:\n  c"),
            "Examples:\n  a\n  b\n\nOne two three.\n\nFour:\n  c"
        );
    }

    #[test]
    fn no_example_is_wider_than_the_help() {
        let mut wide = Vec::new();
        for command in all(reflowed(Cli::command())) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with(' ')) {
                if line.chars().count() > HELP_CHARS {
                    wide.push(format!("{}: {line}", command.get_name()));
                }
            }
        }
        assert!(wide.is_empty(), "{}", wide.join("\n"));
    }
}
