//! `vonggac-agent`: reads the command line, starts the daemon, names what went wrong.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use agent::{Action, Config, HELP, Identity, check_zone};
use anyhow::Result;

fn main() -> ExitCode {
    let action = match Action::parse(lexopt::Parser::from_env()) {
        Ok(action) => action,
        Err(error) => {
            eprintln!("vonggac-agent: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let done = match action {
        Action::Help => {
            print!("{HELP}");
            Ok(())
        }
        Action::Version => {
            println!("vonggac-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Action::Check { config } => check(&config),
        Action::Run { config } => run(&config),
    };
    done.map_or_else(
        |error| {
            eprintln!("vonggac-agent: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn check(path: &Path) -> Result<()> {
    check_zone()?;
    let config = Config::load(path)?;
    let identity = Identity::load(&config)?;
    println!("{}: good; this host is {}", path.display(), identity.agent);
    Ok(())
}

fn run(path: &Path) -> Result<()> {
    check_zone()?;
    let config = Config::load(path)?;
    let level: tracing::Level = config.log_level.parse()?;
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_max_level(level).with_ansi(terminal).with_writer(std::io::stderr).init();
    agent::run(config)
}
