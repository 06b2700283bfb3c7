//! The command line: four options.

use std::path::PathBuf;

/// Where packages put the configuration.
const CONFIG: &str = "/etc/vonggac/agent.toml";

pub const HELP: &str = "\
vonggac-agent: ships this host's log files, and records of its network flows, to a Vọng Gác collector

Usage: vonggac-agent [--config FILE] [--check]

  --config FILE  configuration (default: /etc/vonggac/agent.toml; deploy/agent.toml explains it)
  --check        say what is wrong in the configuration, with the certificate (authority, dates, usage) and with this host (data_dir,
                 interfaces, files that each pattern matches and whether they may be read), and end
  --help         this text
  --version      the version

It reads each file through rotation, sends lines over mutual TLS, and forgets a line only when the collector has stored it.
It meters packets of the interfaces that [capture] names; that needs CAP_NET_RAW, which is given up once they are open.
Its log goes to standard error. SIGTERM ends it: it waits some seconds for acknowledgements, the rest is sent after the next
start. Exit codes: 0 ended or checked well, 1 failed, 2 wrong arguments.
";

/// What the command line asks for.
#[derive(Debug, Eq, PartialEq)]
pub enum Action {
    Run { config: PathBuf },
    Check { config: PathBuf },
    Help,
    Version,
}

impl Action {
    pub fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let mut config = PathBuf::from(CONFIG);
        let mut check = false;
        while let Some(argument) = parser.next()? {
            match argument {
                Short('c') | Long("config") => config = parser.value()?.into(),
                Long("check") => check = true,
                Short('h') | Long("help") => return Ok(Self::Help),
                Short('V') | Long("version") => return Ok(Self::Version),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(if check { Self::Check { config } } else { Self::Run { config } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_options_and_rejects_others() {
        let parse = |arguments: &[&str]| Action::parse(lexopt::Parser::from_args(arguments));
        assert_eq!(parse(&[]).unwrap(), Action::Run { config: CONFIG.into() });
        assert_eq!(parse(&["--check", "--config=a"]).unwrap(), Action::Check { config: "a".into() });
        assert_eq!(parse(&["--version"]).unwrap(), Action::Version);
        assert!(parse(&["--config"]).is_err());
        assert!(parse(&["--chek"]).is_err());
        assert!(parse(&["file"]).is_err());
    }
}
