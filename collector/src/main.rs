//! `vonggac`: the daemon and the tool at the centre.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match collector::run(collector::Cli::typed()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vonggac: {}", collector::in_words(&error));
            ExitCode::from(2)
        }
    }
}
