//! `vonggac-agent`: reads the command line, starts the daemon, names what went wrong.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use agent::{Action, Config, Finding, HELP, Identity, Pattern, check_zone};
use anyhow::{Result, ensure};

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
    println!("this host is {}, the collector {}", identity.agent, config.collector.address);
    for Pattern { pattern, files, closed, reason } in agent::patterns(&config) {
        let hint = match (files, reason) {
            (0, _) => "   (warning: nothing to read)".to_owned(),
            (_, None) => String::new(),
            (_, Some(reason)) => format!("   (warning: {closed} cannot be read: {reason})"),
        };
        println!("{files:>6} {}  {pattern}{hint}", if files == 1 { "file " } else { "files" });
    }
    let mut wrongs = 0;
    for finding in agent::findings(&config, SystemTime::now()) {
        match finding {
            Finding::Doubtful(text) => eprintln!("warning: {text}"),
            Finding::Wrong(text) => {
                eprintln!("wrong: {text}");
                wrongs += 1;
            }
        }
    }
    ensure!(wrongs == 0, "{}: {wrongs} of what it names cannot work", path.display());
    println!("{}: good", path.display());
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
