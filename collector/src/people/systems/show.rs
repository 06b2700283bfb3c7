//! `vonggac systems show ID`: one system, and the whole reasoning of its level by every decree, in the operator's language.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::inventory::{System, Tenure, holder, stated};
use crate::level::{Decree, Judgement, Lang, Provision, Text};
use crate::people::escape::{json_line, shown};
use crate::people::output::print_text;
use crate::people::systems::{SourceArgs, Sources};

/// Width of the names before the values.
const NAME_CHARS: usize = 22;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The system's id
    #[arg(value_name = "SYSTEM")]
    id: String,
    #[command(flatten)]
    sources: SourceArgs,
    /// Language of the reasoning
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// For eyes
    #[default]
    Text,
    /// One JSON object on one line
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let sources = args.sources.read_whole()?;
    let index = sources.chosen(std::slice::from_ref(&args.id))?[0];
    let system = sources.inventory.system(index);
    let judgements = sources.inventory.judge_all(index, sources.levels.decrees());
    if args.format == Format::Json {
        let line = json_line(&as_json(&sources, system, &judgements, args.lang))?;
        print_text(&format!("{line}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Page { sources: &sources, lang: args.lang, text: String::new(), doubts: Vec::new() };
    page.system(system);
    for judgement in &judgements {
        page.judgement(system, judgement);
    }
    if let Some(decree) = sources.levels.decrees().in_force(sources.date) {
        page.demands(system, decree);
    }
    print_text(&page.text)?;
    Ok(ExitCode::SUCCESS)
}

/// Log sources that the inventory asks for; one that is not there is none.
fn source_ids(system: &System) -> Vec<&str> {
    let present = system.sources.iter().filter(|source| source.value.absent.is_none());
    present.map(|source| &*source.value.id).collect()
}

/// Text in one language, line by line.
struct Page<'s> {
    sources: &'s Sources,
    lang: Lang,
    text: String,
    /// What is not sure about the demands, told once at their end.
    doubts: Vec<String>,
}

impl Page<'_> {
    fn system(&mut self, system: &System) {
        self.line(0, &format!("{}: {}", system.id, system.name));
        self.pair("Mục đích", "Purpose", &system.purpose);
        self.pair("Chủ quản", "Owner", &self.held(&system.owner));
        self.pair("Đơn vị vận hành", "Operator", &self.held(&system.operator));
        let join = |values: &[crate::inventory::At<String>]| {
            values.iter().map(|at| &*at.value).collect::<Vec<_>>().join(", ")
        };
        self.pair("Máy chủ", "Hosts", &join(&system.hosts));
        self.pair("Tên miền", "Domains", &join(&system.domains));
        let networks: Vec<String> = system.networks.iter().map(|at| at.value.to_string()).collect();
        self.pair("Địa chỉ, mạng", "Addresses, networks", &networks.join(", "));
        self.pair("Cơ sở dữ liệu", "Databases", &join(&system.databases));
        self.pair("Thành phần", "Components", &join(&system.components));
        self.pair("Nguồn nhật ký bắt buộc", "Required log sources", &source_ids(system).join(", "));
        for (name, fact) in system.facts.iter().flatten() {
            self.pair("Thông tin đã khai", "Fact", &format!("{name} = {}", stated(&fact.value)));
        }
        let approved = match &system.level {
            None => self.lang.pick("chưa có", "none").to_owned(),
            Some(level) => {
                let recheck = level.recheck.as_ref().map(|date| {
                    format!(
                        "; {} {}",
                        self.lang.pick("rà soát lại trước", "to be looked at again by"),
                        date.value
                    )
                });
                format!("{} ({}){}", level.approved, level.describe(), recheck.unwrap_or_default())
            }
        };
        self.pair("Cấp độ được phê duyệt", "Approved level", &approved);
    }

    fn held(&self, tenures: &[Tenure]) -> String {
        let Some(tenure) = holder(tenures, self.sources.date) else { return String::new() };
        let Some(organisation) = self.sources.inventory.organisation(&tenure.organisation) else {
            return tenure.organisation.clone();
        };
        let code = organisation.code.as_ref().map(|code| format!(" [{code}]"));
        let contact = organisation.contact.as_ref().map(|contact| {
            let fields =
                [&contact.representative, &contact.title, &contact.address, &contact.phone, &contact.email];
            let given: Vec<&str> =
                fields.into_iter().map(|field| &**field).filter(|field| !field.is_empty()).collect();
            format!("; {}", given.join(", "))
        });
        format!("{}{}{}", organisation.name, code.unwrap_or_default(), contact.unwrap_or_default())
    }

    fn judgement(&mut self, system: &System, judgement: &Judgement<'_>) {
        let decree = judgement.decree;
        let lang = self.lang;
        let in_force = self.sources.levels.decrees().in_force(self.sources.date);
        let valid = if in_force.is_some_and(|one| one.id == decree.id) {
            lang.pick("đang có hiệu lực", "in force")
        } else {
            lang.pick("không có hiệu lực", "not in force")
        };
        let least = if judgement.needs_review() { lang.pick("ít nhất ", "at least ") } else { "" };
        let level = decree
            .level_name(judgement.level)
            .map_or(lang.pick("chưa xác định", "undecided"), |name| name.of(lang));
        self.line(0, "");
        self.line(0, &format!("{} ({valid}, {}): {least}{level}", decree.title.of(lang), self.sources.date));
        self.unsure(2, decree.unsure.as_ref());
        self.rules(judgement);
        self.doubts(judgement);
        if judgement.denies(system.level()) {
            let (vi, en) = ("KHÁC với cấp độ được phê duyệt", "DIFFERS from the approved level");
            self.line(2, &format!("{} ({})", lang.pick(vi, en), system.level()));
        }
    }

    fn rules(&mut self, judgement: &Judgement<'_>) {
        for held in &judgement.held {
            let id = &held.rule.provision.id;
            let says = self.provision(&held.rule.provision);
            self.line(2, &format!("{} {}: {says} ({id})", self.lang.pick("Cấp", "Level"), held.level));
            self.unsure(4, held.rule.provision.unsure.as_ref());
        }
        if judgement.parts.is_empty() {
            return;
        }
        for part in &judgement.parts {
            let review =
                if part.needs_review { self.lang.pick(", cần xem xét", ", needs review") } else { "" };
            let level = format!("{} {}{review}", self.lang.pick("cấp", "level"), part.level);
            self.line(2, &format!("{} {}: {level}", self.lang.pick("Thành phần", "Component"), part.name));
        }
        let combination = self.provision(judgement.combination());
        self.line(2, &combination);
    }

    fn doubts(&mut self, judgement: &Judgement<'_>) {
        let lang = self.lang;
        for review in &judgement.reviews {
            let says = self.provision(&review.provision);
            let label = lang.pick("CẦN XEM XÉT", "NEEDS REVIEW");
            self.line(2, &format!("{label}: {says} ({})", review.provision.id));
            self.unsure(4, review.provision.unsure.as_ref());
        }
        for missing in &judgement.missing {
            let up_to = lang.pick("có thể nâng lên cấp", "could raise the level to");
            let question = missing.input.text.of(lang);
            let (label, rules) = (lang.pick("CHƯA KHAI", "MISSING"), missing.rules.join(", "));
            let name = &missing.input.name;
            self.line(2, &format!("{label} {name}: {question} ({up_to} {}: {rules})", missing.up_to));
        }
        if !judgement.assumed.is_empty() {
            let names: Vec<&str> = judgement.assumed.iter().map(|input| &*input.name).collect();
            let label = lang.pick("Không khai, coi như không", "Not stated, taken as no");
            self.line(2, &format!("{label}: {}", names.join(", ")));
        }
    }

    /// What the approved level demands by the decree in force.
    fn demands(&mut self, system: &System, decree: &Decree) {
        let (level, lang) = (system.level(), self.lang);
        self.line(0, "");
        let title = lang.pick("Yêu cầu đối với cấp độ được phê duyệt", "What the approved level demands");
        self.line(0, &format!("{title} ({level}), {}:", decree.title.of(lang)));
        for role in decree.roles.iter().filter(|role| role.levels.contains(&level)) {
            self.demand(&role.provision, role.within.map(|within| within.shown(lang)));
        }
        for minimum in decree.retention.iter().filter(|minimum| minimum.level == level) {
            self.demand(&minimum.provision, None);
        }
        for duty in &decree.duties {
            if let Some(every) = duty.every(level) {
                let before = duty
                    .before
                    .iter()
                    .map(|day| format!(", {} {}", lang.pick("trước", "before"), day.shown(lang)));
                self.demand(&duty.provision, Some(every.shown(lang) + &before.collect::<String>()));
            }
        }
        for deadline in &decree.deadlines {
            let none = || lang.pick("không quy định thời hạn", "no time is set").to_owned();
            let within = deadline.within.map_or_else(none, |within| within.shown(lang));
            self.demand(&deadline.provision, Some(within));
        }
        for (number, doubt) in (1..).zip(std::mem::take(&mut self.doubts)) {
            let label = lang.pick("chưa chắc chắn", "unsure");
            self.line(2, &format!("[{label} {number}] {doubt}"));
        }
    }

    fn demand(&mut self, provision: &Provision, when: Option<String>) {
        let when = when.map(|when| format!(" [{when}]")).unwrap_or_default();
        let doubt = provision.unsure.as_ref().map(|text| {
            let (label, number) =
                (self.lang.pick("chưa chắc chắn", "unsure"), self.doubt(text.of(self.lang)));
            format!(" [{label} {number}]")
        });
        let says = self.provision(provision);
        self.line(2, &format!("{says}{when}{}", doubt.unwrap_or_default()));
    }

    /// The number under which a doubt is told.
    fn doubt(&mut self, text: &str) -> usize {
        let known = self.doubts.iter().position(|doubt| doubt == text);
        let position = known.unwrap_or_else(|| {
            self.doubts.push(text.to_owned());
            self.doubts.len() - 1
        });
        position + 1
    }

    fn provision(&self, provision: &Provision) -> String {
        let text = provision.text.of(self.lang);
        match &provision.citation {
            Some(citation) => format!("{}: {text}", citation.shown(self.lang)),
            None => text.to_owned(),
        }
    }

    fn unsure(&mut self, indent: usize, unsure: Option<&Text>) {
        if let Some(text) = unsure {
            let label = self.lang.pick("[chưa chắc chắn]", "[unsure]");
            self.line(indent, &format!("{label} {}", text.of(self.lang)));
        }
    }

    fn pair(&mut self, vi: &str, en: &str, value: &str) {
        if !value.is_empty() {
            let name = self.lang.pick(vi, en);
            self.line(2, &format!("{name:NAME_CHARS$}  {value}"));
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{}", "", shown(text));
    }
}

fn as_json(sources: &Sources, system: &System, judgements: &[Judgement<'_>], lang: Lang) -> Value {
    let level = system.level.as_ref().map(|level| {
        json!({
            "approved": level.approved, "decision": level.decision, "date": level.date, "authority": level.authority,
            "basis": level.basis, "decree": level.decree.as_ref().map(|decree| &decree.value),
            "recheck": level.recheck.as_ref().map(|date| date.value.to_string()),
        })
    });
    let in_force = sources.levels.decrees().in_force(sources.date).map(|decree| &decree.id);
    let decrees: Vec<Value> =
        judgements.iter().map(|judgement| judgement_json(judgement, in_force, lang)).collect();
    let facts: serde_json::Map<String, Value> = system
        .facts
        .iter()
        .flatten()
        .map(|(name, fact)| (name.clone(), stated(&fact.value).into()))
        .collect();
    json!({
        "id": system.id, "name": system.name, "purpose": system.purpose, "date": sources.date.to_string(),
        "owner": sources.holder(&system.owner), "operator": sources.holder(&system.operator),
        "sources": source_ids(system), "facts": facts, "level": level, "decrees": decrees,
    })
}

fn judgement_json(judgement: &Judgement<'_>, in_force: Option<&String>, lang: Lang) -> Value {
    let provision = |provision: &Provision| {
        json!({
            "id": provision.id, "text": provision.text.of(lang),
            "article": provision.citation.as_ref().map(|citation| citation.shown(lang)),
            "unsure": provision.unsure.as_ref().map(|text| text.of(lang)),
        })
    };
    let with_level = |level: u8, about: &Provision| {
        let mut value = provision(about);
        value["level"] = level.into();
        value
    };
    let held = judgement.held.iter().map(|held| with_level(held.level, &held.rule.provision));
    let reviews = judgement.reviews.iter().map(|review| with_level(review.minimum, &review.provision));
    let missing = judgement.missing.iter().map(|missing| {
        json!({ "fact": missing.input.name, "question": missing.input.text.of(lang), "up_to": missing.up_to, "rules": missing.rules })
    });
    let parts = judgement
        .parts
        .iter()
        .map(|part| json!({ "name": part.name, "level": part.level, "needs_review": part.needs_review }));
    json!({
        "id": judgement.decree.id, "title": judgement.decree.title.of(lang),
        "in_force": Some(&judgement.decree.id) == in_force,
        "unsure": judgement.decree.unsure.as_ref().map(|text| text.of(lang)),
        "level": judgement.level, "needs_review": judgement.needs_review(),
        "rules": held.collect::<Vec<_>>(), "reviews": reviews.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(), "components": parts.collect::<Vec<_>>(),
        "assumed": judgement.assumed.iter().map(|input| &input.name).collect::<Vec<_>>(),
    })
}
