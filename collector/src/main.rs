//! `vonggac`: the daemon and the tool at the centre.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match collector::run(collector::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vonggac: {}", collector::in_words(&error));
            ExitCode::from(2)
        }
    }
}
