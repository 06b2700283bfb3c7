//! `vonggac systems level`: the level of each system by every decree, with the articles.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::inventory::System;
use crate::level::Judgement;
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::counted;
use crate::people::systems::{SourceArgs, Sources};
use crate::people::when::Clock;

/// The column of the level.
const LEVEL: usize = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Ids of systems [default: all]
    #[arg(value_name = "SYSTEM")]
    ids: Vec<String>,
}

/// One system by one decree.
#[derive(Debug, Default, Serialize)]
struct Row {
    system: String,
    decree: String,
    in_force: bool,
    /// 0 when nothing says one; the least that it can be when it needs review.
    level: u8,
    needs_review: bool,
    articles: Vec<String>,
    /// All rules that hold, the highest level first.
    rules: Vec<String>,
    reviews: Vec<String>,
    missing: Vec<String>,
    assumed: Vec<String>,
    /// 0: none.
    approved: u8,
    /// The approved level cannot be this one.
    differs: bool,
}

impl Row {
    fn of(sources: &Sources, system: &System, judgement: &Judgement<'_>) -> Self {
        let decree = judgement.decree;
        let in_force = sources.levels.decrees().in_force(sources.date);
        Self {
            system: system.id.clone(),
            decree: decree.id.clone(),
            in_force: in_force.is_some_and(|one| one.id == decree.id),
            level: judgement.level,
            needs_review: judgement.needs_review(),
            articles: judgement.basis().iter().flat_map(|citation| citation.codes()).collect(),
            rules: judgement.held.iter().map(|held| held.rule.provision.id.clone()).collect(),
            reviews: judgement.reviews.iter().map(|review| review.provision.id.clone()).collect(),
            missing: judgement.missing.iter().map(|missing| missing.input.name.clone()).collect(),
            assumed: judgement.assumed.iter().map(|input| input.name.clone()).collect(),
            approved: system.level(),
            differs: judgement.denies(system.level()),
        }
    }
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] =
        &["system", "decree", "approved", "level", "articles", "rules", "review", "missing"];
    const PROSE: &'static [&'static str] = &["decree", "articles", "rules", "review", "missing"];
    const SPARE: &'static [&'static str] = &["rules", "review", "articles"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let in_force = if self.in_force { " (in force)" } else { "" };
        let review = if self.needs_review { " at least" } else { "" };
        vec![
            self.system.clone(),
            format!("{}{in_force}", self.decree),
            if self.approved == 0 { "-".into() } else { self.approved.to_string() },
            format!("{}{review}", self.level),
            self.articles.join("; "),
            self.rules.join(" "),
            self.reviews.join(" "),
            self.missing.join(" "),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match column {
            LEVEL if self.differs => Tone::Alarm,
            LEVEL if self.needs_review => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let sources = args.sources.read_whole()?;
    let mut rows = Vec::new();
    let systems = sources.chosen(&args.ids)?;
    for index in &systems {
        let system = sources.inventory.system(*index);
        let judgements = sources.inventory.judge_all(*index, sources.levels.decrees());
        rows.extend(judgements.iter().map(|judgement| Row::of(&sources, system, judgement)));
    }
    let differ = rows.iter().filter(|row| row.in_force && row.differs).count();
    let summary = format!(
        "{}; by the decree in force on {} the level of {differ} is not the approved one",
        counted(systems.len() as u64, "system"),
        sources.date
    );
    print(&rows, &args.output, &Clock::new(args.output.utc), &summary)?;
    Ok(ExitCode::SUCCESS)
}
