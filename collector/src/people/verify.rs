//! `vonggac alerts verify`: does the history of alerts still say what was written?
//!
//! The whole history is read at once: an entry is a few hundred bytes, and a SOC writes some hundreds a day.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::{Config, ConfigArg};
use crate::history::{COLUMNS, Entry, Head, HeadFile, verify};
use crate::people::connect::{Reader, block_on, configuration};
use crate::people::escape::shown;
use crate::people::filter::Filter;
use crate::people::output::print_text;
use crate::people::select::grouped;

const EXAMPLES: &str = "\
Every entry's hash covers the entry before it, so a change, an entry taken out or one put in shows. That the newest entries are
gone shows only against a head that is known elsewhere: this machine remembers its own in DATA_DIR/history/head; note down the
heads that are printed (in the daily report, on paper) and give them back with --head.

Exit codes: 0 the history holds; 1 it does not, and the first broken link is named; 2 it could not be read.";

/// Check that nobody changed the history of alerts afterwards
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// A head that was noted down; may stand more than once
    #[arg(long, value_name = "CHAIN:NUMBER:HASH")]
    head: Vec<Head>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = configuration(&args.config)?;
    let reader = Reader::open(&config)?;
    let mut known = args.head.clone();
    known.extend(remembered(&config));
    let sql = format!("SELECT {COLUMNS} FROM alert_history AS h ORDER BY h.chain, h.seq");
    let entries = block_on(reader.rows::<Entry>(&sql, &Filter::default()))?;
    match verify(&entries, &known) {
        Ok(heads) => {
            let said: String =
                heads.iter().map(|head| format!("head {}\n", shown(&head.to_string()))).collect();
            let total = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            print_text(&format!("{said}the history holds: {}\n", entry_count(total)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            print_text(&format!("BROKEN {}\n", shown(&broken.to_string())))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn entry_count(total: u64) -> String {
    format!("{} {}", grouped(total), if total == 1 { "entry" } else { "entries" })
}

/// This machine's head. That it cannot be read is said: then nobody sees whether the newest entries are gone.
fn remembered(config: &Config) -> Option<Head> {
    HeadFile::read(&config.data_dir).unwrap_or_else(|error| {
        let folder = config.data_dir.display();
        eprintln!("vonggac: the head that this machine remembers below {folder} cannot be read ({error}): whether the newest entries are gone cannot be seen");
        None
    })
}
