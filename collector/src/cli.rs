//! The command line: one subcommand for each thing that a person does. Each hands its arguments to the module of its name,
//! which exposes `Args` and `run(Args) -> anyhow::Result<ExitCode>`.
//!
//! Exit codes: 0 done; 1 done, and the answer is no (a rule does not load, a drill step was missed); 2 could not be done.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
