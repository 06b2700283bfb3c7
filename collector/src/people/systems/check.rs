//! `vonggac systems check`: every fault of an inventory and everything about it that wants a person, with file and line.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::inventory::{Finding, Grade};
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::counted;
use crate::people::systems::SourceArgs;
use crate::people::when::Clock;

const EXIT_CODES: &str = "\
Grades: error: `vonggac serve` does not start with this inventory; warning: a person must act or decide; note: worth knowing.

Exit codes: 0 neither errors nor warnings; 1 some; 2 the inventory or the decrees could not be read.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    grade: Option<Grade>,
    file: String,
    line: usize,
    subject: String,
    key: String,
    message: String,
}

impl From<Finding> for Row {
    fn from(finding: Finding) -> Self {
        Self {
            grade: Some(finding.grade),
            file: finding.file.display().to_string(),
            line: finding.line,
            subject: finding.subject,
            key: finding.key.to_owned(),
            message: finding.message,
        }
    }
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] = &["where", "grade", "about", "key", "finding"];
    const PROSE: &'static [&'static str] = &["where", "finding"];
    const SPARE: &'static [&'static str] = &["key", "about"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let grade = match self.grade {
            Some(Grade::Error) => "error",
            Some(Grade::Warning) => "warning",
            Some(Grade::Note) => "note",
            None => "",
        };
        let place = format!("{}:{}", self.file, self.line);
        vec![place, grade.into(), self.subject.clone(), self.key.clone(), self.message.clone()]
    }

    fn tone(&self, column: usize) -> Tone {
        match (column, self.grade) {
            (1, Some(Grade::Error)) => Tone::Alarm,
            (1, Some(Grade::Warning)) => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let sources = args.sources.read()?;
    let mut findings = sources.faults;
    findings.extend(sources.inventory.survey(&sources.levels, sources.date));
    findings
        .sort_by(|one, other| (&one.file, one.line, one.grade).cmp(&(&other.file, other.line, other.grade)));
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count() as u64;
    let (errors, warnings, notes) = (count(Grade::Error), count(Grade::Warning), count(Grade::Note));
    let summary = format!(
        "{} of {}: {}, {}, {}",
        counted(sources.inventory.systems().len() as u64, "system"),
        sources.date,
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(notes, "note")
    );
    let rows: Vec<Row> = findings.into_iter().map(Row::from).collect();
    print(&rows, &args.output, &Clock::new(args.output.utc), &summary)?;
    Ok(if errors + warnings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
