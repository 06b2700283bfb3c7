//! The command line: one subcommand for each thing that a person does. Each hands its arguments to the module of its name.
//!
//! Exit codes: 0 done; 1 done, and the answer is no (a rule does not load, a drill step was missed); 2 could not be done.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Vọng Gác, the SOC monitoring daemon: collects, detects, classifies by security level, stores.
#[derive(Debug, Parser)]
#[command(name = "vonggac", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Runs the subcommand.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {}
}
