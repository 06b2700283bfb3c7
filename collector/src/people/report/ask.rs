//! How a report asks the store: two periods at once, and rows that are already cells.

use anyhow::Result;
use clickhouse::{Row, RowOwned, RowRead};
use event::Micros;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::level::Lang;
use crate::people::connect::Reader;
use crate::people::filter::Filter;
use crate::people::report::page::{Bars, Fact, Table, number};
use crate::people::report::period::Period;

const DAY: Micros = 24 * 3_600 * 1_000_000;

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

#[derive(Debug, Deserialize, Row)]
struct Count {
    rows: u64,
}

/// A column of a table: its heading, and what its cells are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'h> {
    Text(&'h str),
    /// Microseconds since 1970; 0 is none.
    Time(&'h str),
    /// A whole number; anything else stays as it is.
    Number(&'h str),
}

impl Column<'_> {
    fn heading(self) -> String {
        let (Self::Text(heading) | Self::Time(heading) | Self::Number(heading)) = self;
        heading.to_owned()
    }

    fn shown(self, cell: String, ask: &Ask<'_>) -> String {
        match self {
            Self::Text(_) => cell,
            Self::Time(_) => cell.parse().map_or(cell, |micros| ask.time(micros)),
            Self::Number(_) => cell.parse().map_or(cell, |whole| number(whole, ask.lang)),
        }
    }
}

/// The cells of a row in SQL; when the condition holds, somebody must act.
pub(super) fn cells(cells: &str, bad: &str) -> String {
    format!("arrayConcat([{cells}], if({bad}, ['bad'], emptyArrayString())) AS cells")
}

impl Ask<'_> {
    /// `{now}` in the query is the condition that a moment is in the period, `{before}` that it is in the one before, `{both}` in
    /// either, `{around}` in either or a day beside; `{as_of}`, `{from}` and `{to}` are moments. The column is the text behind a colon:
    /// `{now:a.created_at}`.
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
            Some(("around", column)) => between(column, self.before - DAY, self.to + DAY),
            _ if name == "as_of" => moment(self.as_of),
            _ if name == "from" => moment(self.from),
            _ => moment(self.to),
        }
    }

    /// The days, in which zone they are, and until when is told while the last one lasts.
    pub(super) fn subtitle(&self) -> String {
        let begins = Timestamp::from_microsecond(self.from).unwrap_or_default().to_zoned(self.zone.clone());
        let (days, zone) = (self.period.shown(self.lang), begins.strftime("%:z"));
        if self.as_of == self.to {
            return format!("{days} (UTC{zone})");
        }
        format!("{days} (UTC{zone}), {} {}", self.say("số liệu đến", "until"), self.time(self.as_of))
    }

    /// The last day of the period, or today while it lasts.
    pub(super) fn last_day(&self) -> Result<Date> {
        let last = Timestamp::from_microsecond(self.as_of.saturating_sub(1))?;
        Ok(last.to_zoned(self.zone.clone()).date())
    }

    pub(super) async fn pair(&self, sql: &str) -> Result<Pair> {
        let rows = self.reader.rows::<Pair>(&self.filled(sql), &Filter::default()).await?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    /// A number with the one before.
    pub(super) async fn fact(&self, label: &str, sql: &str) -> Result<Fact> {
        let Pair { now, before } = self.pair(sql).await?;
        let before = format!("{}: {}", self.say("kỳ trước", "period before"), number(before, self.lang));
        Ok(Fact { label: label.to_owned(), value: number(now, self.lang), before, is_bad: false })
    }

    /// A number that should be zero.
    pub(super) async fn alarm(&self, label: &str, sql: &str) -> Result<Fact> {
        let fact = self.fact(label, sql).await?;
        Ok(Fact { is_bad: fact.value != "0", ..fact })
    }

    /// Rows (name, now, before) as a table, so many at the most.
    pub(super) async fn compared(&self, title: &str, what: &str, most: usize, sql: &str) -> Result<Table> {
        let (rows, note) = self.first::<Named>(most, sql).await?;
        let cells =
            |Named { name, now, before }| vec![name, number(now, self.lang), number(before, self.lang)];
        Ok(Table {
            title: title.to_owned(),
            headings: [what, self.say("Kỳ này", "This period"), self.say("Kỳ trước", "Period before")]
                .map(str::to_owned)
                .to_vec(),
            rows: rows.into_iter().map(cells).collect(),
            empty: self.nothing(),
            note,
            ..Table::default()
        })
    }

    /// Rows (name, now, before) as bars of what is now, so many at the most.
    pub(super) async fn bars(&self, title: &str, what: &str, most: usize, sql: &str) -> Result<Bars> {
        let sql = format!("SELECT * FROM ({sql}) WHERE now > 0 ORDER BY now DESC, before DESC, name");
        let (rows, note) = self.first::<Named>(most, &sql).await?;
        Ok(Bars {
            title: title.to_owned(),
            headings: [what, self.say("Cảnh báo", "Alerts")].map(str::to_owned),
            rows: rows.into_iter().map(|row| (row.name, row.now)).collect(),
            empty: self.nothing(),
            note,
        })
    }

    /// A query whose column `cells` are the cells of a row, so many rows at the most. A cell behind the last column is not shown: it
    /// says that somebody must act ([`cells`]).
    pub(super) async fn table(
        &self,
        title: &str,
        columns: &[Column<'_>],
        most: usize,
        sql: &str,
    ) -> Result<Table> {
        let (rows, note) = self.first::<Cells>(most, sql).await?;
        let is_bad = |(_, row): &(usize, &Cells)| row.cells.len() > columns.len();
        let bad = rows.iter().enumerate().filter(is_bad).map(|(place, _)| place).collect();
        let shown = |Cells { cells }| {
            let pairs = columns.iter().zip::<Vec<String>>(cells);
            pairs.map(|(column, cell)| column.shown(cell, self)).collect()
        };
        Ok(Table {
            title: title.to_owned(),
            headings: columns.iter().map(|column| column.heading()).collect(),
            rows: rows.into_iter().map(shown).collect(),
            bad,
            empty: self.nothing(),
            note,
        })
    }

    /// The first rows of a query, and what is said when there are more.
    async fn first<T: RowOwned + RowRead>(&self, most: usize, sql: &str) -> Result<(Vec<T>, String)> {
        let sql = self.filled(sql);
        let rows = self.reader.rows::<T>(&format!("{sql} LIMIT {most}"), &Filter::default()).await?;
        if rows.len() < most {
            return Ok((rows, String::new()));
        }
        let all = format!("SELECT count() AS rows FROM ({sql})");
        let all = self.reader.rows::<Count>(&all, &Filter::default()).await?;
        let all = all.first().map_or(0, |count| count.rows);
        Ok((rows, self.cut(most, all)))
    }

    /// What is said below a table that is cut.
    pub(super) fn cut(&self, most: usize, all: u64) -> String {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if all <= most {
            return String::new();
        }
        let (most, all) = (number(most, self.lang), number(all, self.lang));
        self.lang
            .pick(format!("{most} dòng đầu trong số {all} dòng."), format!("The first {most} of {all} rows."))
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
