//! How a report asks the store: two periods at once, and rows that are already cells.

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::level::Lang;
use crate::people::connect::Reader;
use crate::people::filter::Filter;
use crate::people::report::page::{Bars, Fact, Table};
use crate::people::report::period::Period;
use crate::people::select::grouped;

/// What is asked of whom, about which days.
pub(super) struct Ask<'r> {
    pub(super) reader: &'r Reader,
    pub(super) lang: Lang,
    pub(super) zone: TimeZone,
    pub(super) period: Period,
    /// Where the period begins and ends, and where the one before it begins.
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) before: Micros,
    /// The end of the period, or now while it lasts.
    pub(super) as_of: Micros,
}

/// A number of the period, and of the one before.
#[derive(Clone, Copy, Debug, Default, Deserialize, Row)]
pub(super) struct Pair {
    pub(super) now: u64,
    pub(super) before: u64,
}

#[derive(Debug, Deserialize, Row)]
struct Named {
    name: String,
    now: u64,
    before: u64,
}

#[derive(Debug, Deserialize, Row)]
struct Cells {
    cells: Vec<String>,
}

impl Ask<'_> {
    /// `{now}` in the query is the condition that a moment is in the period, `{before}` that it is in the one before, `{both}` in
    /// either; `{as_of}`, `{from}` and `{to}` are moments. The column is the text behind a colon: `{now:a.created_at}`.
    pub(super) fn filled(&self, sql: &str) -> String {
        let mut out = String::with_capacity(sql.len() * 2);
        let mut rest = sql;
        while let Some((text, behind)) = rest.split_once('{') {
            out.push_str(text);
            let Some((name, after)) = behind.split_once('}') else { break };
            out.push_str(&self.named(name));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn named(&self, name: &str) -> String {
        let between =
            |column: &str, from, to| format!("({column} >= {} AND {column} < {})", moment(from), moment(to));
        match name.split_once(':') {
            Some(("now", column)) => between(column, self.from, self.to),
            Some(("before", column)) => between(column, self.before, self.from),
            Some(("both", column)) => between(column, self.before, self.to),
            _ if name == "as_of" => moment(self.as_of),
            _ if name == "from" => moment(self.from),
            _ => moment(self.to),
        }
    }

    pub(super) async fn pair(&self, sql: &str) -> Result<Pair> {
        let rows = self.reader.rows::<Pair>(&self.filled(sql), &Filter::default()).await?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    /// A number with the one before.
    pub(super) async fn fact(&self, label: &str, sql: &str) -> Result<Fact> {
        let Pair { now, before } = self.pair(sql).await?;
        let before = format!("{}: {}", self.say("kỳ trước", "period before"), grouped(before));
        Ok(Fact { label: label.to_owned(), value: grouped(now), before, is_bad: false })
    }

    /// Rows (name, now, before) as a table.
    pub(super) async fn compared(&self, title: &str, what: &str, sql: &str) -> Result<Table> {
        let rows = self.reader.rows::<Named>(&self.filled(sql), &Filter::default()).await?;
        let cells = |Named { name, now, before }| vec![name, grouped(now), grouped(before)];
        Ok(Table {
            title: title.to_owned(),
            headings: [what, self.say("Kỳ này", "This period"), self.say("Kỳ trước", "Period before")]
                .map(str::to_owned)
                .to_vec(),
            rows: rows.into_iter().map(cells).collect(),
            empty: self.nothing(),
        })
    }

    /// Rows (name, now, before) as bars of what is now.
    pub(super) async fn bars(&self, title: &str, what: &str, sql: &str) -> Result<Bars> {
        let rows = self.reader.rows::<Named>(&self.filled(sql), &Filter::default()).await?;
        Ok(Bars {
            title: title.to_owned(),
            headings: [what, self.say("Cảnh báo", "Alerts")].map(str::to_owned),
            rows: rows.into_iter().filter(|row| row.now > 0).map(|row| (row.name, row.now)).collect(),
            empty: self.nothing(),
        })
    }

    /// A query whose column `cells` are the cells. Of the columns `times` they are microseconds.
    pub(super) async fn table(
        &self,
        title: &str,
        headings: &[&str],
        times: &[usize],
        sql: &str,
    ) -> Result<Table> {
        let rows = self.reader.rows::<Cells>(&self.filled(sql), &Filter::default()).await?;
        let shown = |Cells { mut cells }: Cells| {
            for at in times {
                if let Some(cell) = cells.get_mut(*at) {
                    *cell = cell.parse().map_or_else(|_| cell.clone(), |micros| self.time(micros));
                }
            }
            cells
        };
        Ok(Table {
            title: title.to_owned(),
            headings: headings.iter().map(|heading| (*heading).to_owned()).collect(),
            rows: rows.into_iter().map(shown).collect(),
            empty: self.nothing(),
        })
    }

    /// A moment as people read it; a dash for 1970, which stands for none.
    pub(super) fn time(&self, micros: Micros) -> String {
        if micros == 0 {
            return "–".to_owned();
        }
        let at = Timestamp::from_microsecond(micros).unwrap_or_default().to_zoned(self.zone.clone());
        at.strftime("%d/%m/%Y %H:%M").to_string()
    }

    pub(super) fn say<'t>(&self, vi: &'t str, en: &'t str) -> &'t str {
        self.lang.pick(vi, en)
    }

    fn nothing(&self) -> String {
        self.say("Không có.", "None.").to_owned()
    }
}

fn moment(micros: Micros) -> String {
    format!("fromUnixTimestamp64Micro({micros}, 'UTC')")
}
