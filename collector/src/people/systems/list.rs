//! `vonggac systems list`: one line a system.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::inventory::SystemIndex;
use crate::people::output::{Listed, OutputArgs, Tone, print};
use crate::people::select::counted;
use crate::people::systems::{SourceArgs, Sources};
use crate::people::when::Clock;

/// The column of the computed level.
const COMPUTED: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Only systems whose id, name, owner or operator has this in it
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Only systems of at least this approved level: 1 to 5
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    level: Option<u8>,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    id: String,
    name: String,
    owner: String,
    operator: String,
    /// 0: none.
    approved: u8,
    /// By the decree in force; 0 when it says none, or none is in force.
    computed: u8,
    needs_review: bool,
    decree: String,
    basis: Vec<String>,
    hosts: usize,
    networks: usize,
}

impl Row {
    fn of(sources: &Sources, index: SystemIndex) -> Self {
        let system = sources.inventory.system(index);
        let decree = sources.levels.decrees().in_force(sources.date);
        let judgement = decree.map(|decree| sources.inventory.judge(index, decree));
        let basis = judgement.iter().flat_map(|judgement| judgement.basis());
        Self {
            id: system.id.clone(),
            name: system.name.clone(),
            owner: sources.holder(&system.owner),
            operator: sources.holder(&system.operator),
            approved: system.level(),
            computed: judgement.as_ref().map_or(0, |judgement| judgement.level),
            needs_review: judgement.as_ref().is_some_and(|judgement| judgement.needs_review()),
            decree: decree.map(|decree| decree.id.clone()).unwrap_or_default(),
            basis: basis.flat_map(|citation| citation.codes()).collect(),
            hosts: system.hosts.len(),
            networks: system.networks.len(),
        }
    }

    fn has(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        [&self.id, &self.name, &self.owner, &self.operator]
            .iter()
            .any(|field| field.to_lowercase().contains(&text))
    }
}

impl Listed for Row {
    const HEADINGS: &'static [&'static str] =
        &["system", "name", "owner", "operator", "approved", "computed", "by", "hosts", "networks"];
    const PROSE: &'static [&'static str] = &["name", "owner", "operator", "by"];
    const SPARE: &'static [&'static str] = &["networks", "hosts", "operator", "by", "owner"];

    fn cells(&self, _clock: &Clock) -> Vec<String> {
        let approved = if self.approved == 0 { "-".into() } else { self.approved.to_string() };
        let review = if self.needs_review { " review" } else { "" };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.owner.clone(),
            self.operator.clone(),
            approved,
            format!("{}{review}", self.computed),
            self.basis.join("; "),
            self.hosts.to_string(),
            self.networks.to_string(),
        ]
    }

    fn tone(&self, column: usize) -> Tone {
        match column {
            COMPUTED if self.computed != self.approved => Tone::Alarm,
            COMPUTED if self.needs_review => Tone::Notice,
            _ => Tone::Plain,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let sources = args.sources.read_whole()?;
    let mut rows: Vec<Row> = sources.inventory.indices().map(|index| Row::of(&sources, index)).collect();
    rows.retain(|row| args.text.as_ref().is_none_or(|text| row.has(text)));
    rows.retain(|row| args.level.is_none_or(|level| row.approved >= level));
    let decree = sources.levels.decrees().in_force(sources.date).map_or("none", |decree| &decree.id);
    let summary =
        format!("{}; decree in force on {}: {decree}", counted(rows.len() as u64, "system"), sources.date);
    print(&rows, &args.output, &Clock::new(args.output.utc), &summary)?;
    Ok(ExitCode::SUCCESS)
}
