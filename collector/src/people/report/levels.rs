//! The yearly report of levels, in the columns of Mẫu 08 (NĐ 331/2026, Articles 35 and 36): figures from 15 December to 14
//! December. Everything is the inventory's; what nobody wrote down there stays empty, and is counted below the table.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::inventory::{Assessed, DossierStatus, Inventory, Organisation, Plan, SystemIndex, holder};
use crate::level::Lang;
use crate::people::report::page::{Block, Fact, Page, Table};
use crate::people::report::period::{Period, shown};
use crate::priority::Levels;

pub(super) fn page(inventory: &Inventory, levels: &Levels, period: Period, lang: Lang) -> Page {
    let say = |vi: &'static str, en: &'static str| lang.pick(vi, en).to_owned();
    // As on the last day that counts.
    let date = period.end.yesterday().unwrap_or(period.end);
    let rows: Vec<Line> =
        inventory.indices().map(|index| Line::of(inventory, levels, index, date, lang)).collect();
    let missing = rows.iter().map(|line| line.missing).sum::<usize>();
    let mut page = Page {
        lang,
        title: say(
            "Báo cáo công tác bảo đảm an ninh mạng theo cấp độ (Mẫu 08)",
            "Report on security levels of information systems (Mẫu 08)",
        ),
        subtitle: period.shown(lang),
        blocks: vec![Block::Facts(totals(&rows, lang))],
    };
    page.table(Table {
        title: say("Danh sách hệ thống thông tin", "Information systems"),
        headings: headings(lang),
        bad: rows.iter().enumerate().filter(|(_, line)| line.needs_review).map(|(place, _)| place).collect(),
        rows: rows.into_iter().enumerate().map(|(at, line)| line.cells(at + 1)).collect(),
        empty: say("Danh mục không có hệ thống nào.", "The inventory has no system."),
        ..Table::default()
    });
    page.table(owners(inventory, date, lang));
    page.table(security_units(inventory, date, lang));
    if missing > 0 {
        page.text(lang.pick(
            format!("{missing} ô còn trống: danh mục hệ thống chưa ghi (mục [system.dossier])."),
            format!("Cells that are empty, as the inventory does not say ([system.dossier]): {missing}."),
        ));
    }
    let decree = levels
        .decrees()
        .in_force(date)
        .map_or_else(|| "–".to_owned(), |decree| decree.title.of(lang).to_owned());
    page.text(lang.pick(
        format!("Cấp độ đề xuất tính theo {decree}; cấp độ đã phê duyệt giữ nguyên và đứng cạnh khi khác."),
        format!("The proposed level is computed by {decree}; an approved level stays, and stands beside it where it differs."),
    ));
    page
}

/// Who owns systems on a day, whom to call there, and how many systems.
fn owners(inventory: &Inventory, date: Date, lang: Lang) -> Table {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for tenure in inventory.systems().iter().filter_map(|system| holder(&system.owner, date)) {
        *counts.entry(&tenure.organisation).or_default() += 1;
    }
    let row = |(id, count): (&str, usize)| {
        let mut cells = called(inventory.organisation(id), inventory.organisation_name(id));
        cells.push(count.to_string());
        cells
    };
    let mut headings = contact_headings(lang);
    headings.push(lang.pick("Số hệ thống", "Systems").to_owned());
    Table {
        title: lang.pick("Chủ quản hệ thống thông tin", "Owners").to_owned(),
        headings,
        rows: counts.into_iter().map(row).collect(),
        empty: lang.pick("Danh mục không có chủ quản nào.", "The inventory has no owner.").to_owned(),
        ..Table::default()
    }
}

/// Whose task the security of systems is, on a day.
fn security_units(inventory: &Inventory, date: Date, lang: Lang) -> Table {
    let units = inventory.organisations().iter().filter(|one| one.security_unit && one.days.hold(date));
    Table {
        title: lang.pick("Đơn vị chuyên trách về an ninh mạng", "Security units").to_owned(),
        headings: contact_headings(lang),
        rows: units.map(|unit| called(Some(unit), &unit.name)).collect(),
        empty: lang
            .pick(
                "Danh mục chưa ghi đơn vị chuyên trách (security_unit = true).",
                "The inventory names none (security_unit = true).",
            )
            .to_owned(),
        ..Table::default()
    }
}

fn contact_headings(lang: Lang) -> Vec<String> {
    let vi = ["Đơn vị", "Mã định danh", "Người đại diện", "Điện thoại", "Thư điện tử"];
    let en = ["Organisation", "Code", "Represented by", "Telephone", "E-mail"];
    lang.pick(vi, en).map(str::to_owned).to_vec()
}

fn called(organisation: Option<&Organisation>, name: &str) -> Vec<String> {
    let code = organisation.and_then(|one| one.code.clone()).unwrap_or_default();
    let contact = organisation.and_then(|one| one.contact.clone()).unwrap_or_default();
    let by = [contact.representative, contact.title].into_iter().filter(|part| !part.is_empty());
    let by = by.collect::<Vec<_>>().join(", ");
    vec![name.to_owned(), code, by, contact.phone, contact.email]
}

/// The twelve columns.
fn headings(lang: Lang) -> Vec<String> {
    let vi = [
        "TT",
        "Hệ thống thông tin",
        "Chủ quản",
        "Đơn vị vận hành",
        "Cấp độ đề xuất",
        "Tình trạng hồ sơ",
        "Quyết định phê duyệt (số, ngày, cơ quan)",
        "Quyết định ban hành quy chế",
        "Dự kiến phê duyệt",
        "Triển khai phương án",
        "Dự kiến triển khai đầy đủ",
        "Đã kiểm tra, đánh giá",
    ];
    let en = [
        "No.",
        "Information system",
        "Owner",
        "Operator",
        "Proposed level",
        "Dossier",
        "Approved by (number, day, authority)",
        "Regulation",
        "Approval expected",
        "Plan",
        "Full deployment expected",
        "Assessed",
    ];
    lang.pick(vi, en).map(str::to_owned).to_vec()
}

/// A system.
struct Line {
    name: String,
    owner: String,
    operator: String,
    level: String,
    status: Option<DossierStatus>,
    decision: String,
    regulation: String,
    approval_expected: String,
    plan: Option<Plan>,
    plan_expected: String,
    assessed: Vec<Assessed>,
    is_classified: bool,
    /// A person must look: facts are missing that could raise the level, or a case is not clear.
    needs_review: bool,
    /// The last day that is stated for what is not done yet.
    expected: Option<Date>,
    lang: Lang,
    /// Cells that nobody filled and that are not empty by their nature.
    missing: usize,
}

impl Line {
    fn of(inventory: &Inventory, levels: &Levels, index: SystemIndex, date: Date, lang: Lang) -> Self {
        let system = inventory.system(index);
        let name_of = |tenures| {
            holder(tenures, date)
                .map_or("", |tenure| inventory.organisation_name(&tenure.organisation))
                .to_owned()
        };
        let judgement = levels.decrees().in_force(date).map(|decree| inventory.judge(index, decree));
        let computed = judgement.as_ref().map_or(0, |judgement| judgement.level);
        let needs_review = judgement.as_ref().is_some_and(|judgement| judgement.needs_review());
        let approved = system.level();
        let level = proposed(computed, needs_review, approved, lang);
        let dossier = system.dossier.clone().unwrap_or_default();
        let status = dossier.status.or((approved > 0).then_some(DossierStatus::Approved));
        let is_approved = status == Some(DossierStatus::Approved);
        let empty = [
            status.is_none(),
            dossier.regulation.is_empty(),
            !is_approved && dossier.approval_expected.is_none(),
            dossier.plan.is_none(),
            dossier.plan != Some(Plan::Full) && dossier.plan_expected.is_none(),
        ];
        let expected = [
            dossier.approval_expected.filter(|_| !is_approved),
            dossier.plan_expected.filter(|_| dossier.plan != Some(Plan::Full)),
        ];
        let day = |day: Option<Date>| day.map(shown).unwrap_or_default();
        Self {
            name: system.name.clone(),
            owner: name_of(&system.owner),
            operator: name_of(&system.operator),
            level,
            status,
            decision: system
                .level
                .as_ref()
                .map(|level| format!("{}, {}, {}", level.decision, as_shown(&level.date), level.authority))
                .unwrap_or_default(),
            regulation: dossier.regulation,
            approval_expected: day(dossier.approval_expected),
            plan: dossier.plan,
            plan_expected: day(dossier.plan_expected),
            assessed: dossier.assessed,
            is_classified: (computed > 0 && !needs_review) || approved > 0,
            needs_review,
            expected: expected.into_iter().flatten().max(),
            lang,
            missing: empty.iter().filter(|empty| **empty).count(),
        }
    }

    fn cells(self, number: usize) -> Vec<String> {
        let lang = self.lang;
        vec![
            number.to_string(),
            self.name,
            self.owner,
            self.operator,
            self.level,
            self.status.map_or_else(String::new, |status| said_status(status, lang).to_owned()),
            self.decision,
            self.regulation,
            self.approval_expected,
            self.plan.map_or_else(String::new, |plan| said_plan(plan, lang).to_owned()),
            self.plan_expected,
            self.assessed.iter().map(|when| said_assessed(*when, lang)).collect::<Vec<_>>().join("; "),
        ]
    }

    fn has_reached(&self, status: DossierStatus) -> bool {
        self.status.is_some_and(|own| own >= status)
    }
}

/// The level that the decree computes, and the approved one where it differs. A level that is the least that it can be says so.
fn proposed(computed: u8, needs_review: bool, approved: u8, lang: Lang) -> String {
    let least = if needs_review { lang.pick("ít nhất ", "at least ") } else { "" };
    match (computed, approved) {
        (0, 0) => String::new(),
        (0, level) => level.to_string(),
        (level, 0) => format!("{least}{level}"),
        (computed, approved) if computed == approved && !needs_review => approved.to_string(),
        (computed, approved) => {
            format!("{least}{computed} ({} {approved})", lang.pick("đã phê duyệt", "approved"))
        }
    }
}

/// A day that the inventory has as text.
fn as_shown(day: &str) -> String {
    day.parse().map_or_else(|_| day.to_owned(), shown)
}

/// The words of the form.
fn said_status(status: DossierStatus, lang: Lang) -> &'static str {
    match status {
        DossierStatus::Draft => lang.pick("Đang dự thảo", "draft"),
        DossierStatus::Submitted => lang.pick("Đã gửi thẩm định", "submitted"),
        DossierStatus::Appraised => lang.pick("Đã thẩm định", "appraised"),
        DossierStatus::Approved => lang.pick("Đã được phê duyệt", "approved"),
    }
}

fn said_plan(plan: Plan, lang: Lang) -> &'static str {
    match plan {
        Plan::None => lang.pick("Chưa triển khai", "not yet"),
        Plan::Partly => lang.pick("Đã triển khai một số hạng mục", "in part"),
        Plan::Full => lang.pick("Đã triển khai đầy đủ", "in full"),
    }
}

fn said_assessed(when: Assessed, lang: Lang) -> &'static str {
    match when {
        Assessed::BeforeUse => lang.pick("Trước khi đưa vào sử dụng", "before use"),
        Assessed::Periodic => lang.pick("Định kỳ", "periodically"),
    }
}

fn totals(rows: &[Line], lang: Lang) -> Vec<Fact> {
    let count = |holds: &dyn Fn(&Line) -> bool| rows.iter().filter(|line| holds(line)).count();
    let said = |vi: &str, en: &str, value: String| Fact {
        label: lang.pick(vi, en).to_owned(),
        value,
        before: String::new(),
        is_bad: false,
    };
    let fact = |vi: &str, en: &str, number: usize| said(vi, en, number.to_string());
    let review = count(&|line| line.needs_review);
    let expected = rows.iter().filter_map(|line| line.expected).max();
    let expected = expected.map_or_else(|| "–".to_owned(), shown);
    vec![
        fact("Tổng số hệ thống", "Systems", rows.len()),
        fact("Đã phân loại, xác định cấp độ", "Classified", count(&|line| line.is_classified)),
        Fact { is_bad: review > 0, ..fact("Cần xem xét", "To be looked at", review) },
        fact("Đã lập hồ sơ", "Dossier built", count(&|line| line.status.is_some())),
        fact("Đã thẩm định", "Appraised", count(&|line| line.has_reached(DossierStatus::Appraised))),
        fact("Đã được phê duyệt", "Approved", count(&|line| line.has_reached(DossierStatus::Approved))),
        fact(
            "Đã phê duyệt và kiểm tra, đánh giá",
            "Approved and assessed",
            count(&|line| line.has_reached(DossierStatus::Approved) && !line.assessed.is_empty()),
        ),
        fact("Triển khai đầy đủ phương án", "Plan in full", count(&|line| line.plan == Some(Plan::Full))),
        said("Dự kiến hoàn thành", "Completion expected", expected),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::civil::date;

    use super::*;
    use crate::people::report::period::Length;

    #[test]
    fn the_form_has_twelve_columns_and_a_row_for_each_system_of_the_sample() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let inventory = Inventory::open(&root.join("deploy/systems")).unwrap();
        let levels = Levels::load(&root.join("rules/levels"), date(2026, 12, 14)).unwrap();
        let period = Length::LevelYear.around(date(2026, 12, 14)).unwrap();
        for lang in [Lang::Vi, Lang::En] {
            let page = page(&inventory, &levels, period, lang);
            let Block::Table(table) = &page.blocks[1] else { panic!("{:?}", page.blocks[1]) };
            // What a person must look at first does not look certain.
            let row = table.rows.iter().find(|row| row[1].contains("Quản lý văn bản")).unwrap();
            assert!(table.bad.contains(&table.rows.iter().position(|one| one == row).unwrap()));
            let said = table.rows.iter().filter(|row| row[4].starts_with(lang.pick("ít nhất", "at least")));
            assert_eq!(said.count(), table.bad.len());
            assert_eq!(row[4], lang.pick("ít nhất 2 (đã phê duyệt 2)", "at least 2 (approved 2)"));
            let Block::Table(owners) = &page.blocks[2] else { panic!("{:?}", page.blocks[2]) };
            let systems: usize = owners.rows.iter().map(|row| row[5].parse::<usize>().unwrap()).sum();
            assert_eq!(systems, 28, "every system has one owner");
            let Block::Table(units) = &page.blocks[3] else { panic!("{:?}", page.blocks[3]) };
            assert_eq!(
                units.rows[0][2..],
                ["Trần Thị Mẫu, Giám đốc", "0200 000 0001", "ttdl@example.gov.vn"]
            );
            assert_eq!((table.headings.len(), table.rows.len()), (12, 28));
            assert!(table.rows.iter().all(|row| row.len() == 12));
            let Block::Facts(facts) = &page.blocks[0] else { panic!("{:?}", page.blocks[0]) };
            assert_eq!(facts[0].value, "28");
            // What is approved was appraised, and what was appraised was built.
            let numbers: Vec<usize> = facts[3..7].iter().map(|fact| fact.value.parse().unwrap()).collect();
            assert!(numbers.is_sorted_by(|one, other| one >= other) && numbers[3] > 0, "{numbers:?}");
        }
    }
}
