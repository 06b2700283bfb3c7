//! A report as Office Open XML (ECMA-376, WordprocessingML): the few parts that Word and LibreOffice need, on A4. Pictures stand
//! as tables. Parts are stored in one order with one date, so the same report gives the same bytes.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use anyhow::Result;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::people::escape::shown;
use crate::people::report::page::{Block, Fact, Page, Table};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

const CONTENT_TYPES: &str = "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
    <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
    <Default Extension=\"xml\" ContentType=\"application/xml\"/>\
    <Override PartName=\"/word/document.xml\" \
    ContentType=\"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/>\
    <Override PartName=\"/word/styles.xml\" \
    ContentType=\"application/vnd.openxmlformats-officedocument.wordprocessingml.styles+xml\"/></Types>";

const RELATIONS: &str = "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
    <Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" \
    Target=\"word/document.xml\"/></Relationships>";

const DOCUMENT_RELATIONS: &str = "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
    <Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles\" \
    Target=\"styles.xml\"/></Relationships>";

const NAMESPACE: &str = "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"";

/// Times New Roman: what Decree 30/2020 asks of documents of the state.
const STYLES: &str = "<w:docDefaults><w:rPrDefault><w:rPr><w:rFonts w:ascii=\"Times New Roman\" w:hAnsi=\"Times New Roman\" \
    w:cs=\"Times New Roman\" w:eastAsia=\"Times New Roman\"/><w:sz w:val=\"22\"/></w:rPr></w:rPrDefault>\
    <w:pPrDefault><w:pPr><w:spacing w:after=\"80\"/></w:pPr></w:pPrDefault></w:docDefaults>\
    <w:style w:type=\"paragraph\" w:default=\"1\" w:styleId=\"Normal\"><w:name w:val=\"Normal\"/></w:style>\
    <w:style w:type=\"paragraph\" w:styleId=\"Title\"><w:name w:val=\"Title\"/><w:rPr><w:b/><w:sz w:val=\"36\"/></w:rPr></w:style>\
    <w:style w:type=\"paragraph\" w:styleId=\"Heading1\"><w:name w:val=\"heading 1\"/><w:pPr><w:keepNext/>\
    <w:spacing w:before=\"320\" w:after=\"100\"/><w:outlineLvl w:val=\"0\"/></w:pPr><w:rPr><w:b/><w:color w:val=\"1F5A8A\"/>\
    <w:sz w:val=\"28\"/></w:rPr></w:style>\
    <w:style w:type=\"paragraph\" w:styleId=\"Heading2\"><w:name w:val=\"heading 2\"/><w:pPr><w:keepNext/>\
    <w:spacing w:before=\"160\" w:after=\"60\"/><w:outlineLvl w:val=\"1\"/></w:pPr><w:rPr><w:b/></w:rPr></w:style>";

/// Lines below each row and around none.
const TABLE: &str = "<w:tbl><w:tblPr><w:tblW w:w=\"5000\" w:type=\"pct\"/><w:tblBorders>\
    <w:top w:val=\"single\" w:sz=\"4\" w:color=\"5B6B7B\"/><w:bottom w:val=\"single\" w:sz=\"4\" w:color=\"5B6B7B\"/>\
    <w:insideH w:val=\"single\" w:sz=\"4\" w:color=\"D5DDE5\"/></w:tblBorders><w:tblCellMar>\
    <w:left w:w=\"70\" w:type=\"dxa\"/><w:right w:w=\"70\" w:type=\"dxa\"/></w:tblCellMar></w:tblPr><w:tblGrid>";

/// A row about which somebody must act.
const BAD: &str = "<w:b/><w:color w:val=\"A3262A\"/>";

/// Width of the text in twentieths of a point, upright and on its side: the paper without its margins.
const WIDTH: usize = 9_922;
const WIDTH_LANDSCAPE: usize = 14_854;
/// Width of a character of nine points in bold, and of a cell's margins.
const CHAR: usize = 105;
const CELL_MARGINS: usize = 140;
/// Characters of a word, and of a cell, beyond which a column gets no wider.
const WORD_CHARS: usize = 18;
const CELL_CHARS: usize = 90;

/// A4; on its side for tables as wide as Mẫu 08.
const PORTRAIT: &str = "<w:pgSz w:w=\"11906\" w:h=\"16838\"/>";
const LANDSCAPE: &str = "<w:pgSz w:w=\"16838\" w:h=\"11906\" w:orient=\"landscape\"/>";

pub(super) fn write(page: &Page) -> Result<Vec<u8>> {
    let styles = format!("<w:styles {NAMESPACE}>{STYLES}</w:styles>");
    let parts = [
        ("[Content_Types].xml", CONTENT_TYPES.to_owned()),
        ("_rels/.rels", RELATIONS.to_owned()),
        ("word/_rels/document.xml.rels", DOCUMENT_RELATIONS.to_owned()),
        ("word/document.xml", document(page)),
        ("word/styles.xml", styles),
    ];
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(name, options)?;
        zip.write_all(DECLARATION.as_bytes())?;
        zip.write_all(text.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}

fn document(page: &Page) -> String {
    let mut body = String::new();
    paragraph(&mut body, "Title", &page.title);
    paragraph(&mut body, "Normal", &page.subtitle);
    let width = if page.is_wide() { WIDTH_LANDSCAPE } else { WIDTH };
    for block in &page.blocks {
        match block {
            Block::Heading(text) => paragraph(&mut body, "Heading1", text),
            Block::Text(text) => paragraph(&mut body, "Normal", text),
            Block::Facts(facts) => write_table(&mut body, &facts_table(facts), width),
            Block::Table(table) => write_table(&mut body, table, width),
            Block::Columns(columns) => write_table(&mut body, &columns.table(page.lang), width),
            Block::Bars(bars) => write_table(&mut body, &bars.table(page.lang), width),
        }
    }
    let size = if page.is_wide() { LANDSCAPE } else { PORTRAIT };
    format!(
        "<w:document {NAMESPACE}><w:body>{body}<w:sectPr>{size}<w:pgMar w:top=\"1134\" w:right=\"850\" w:bottom=\"1134\" \
         w:left=\"1134\" w:header=\"567\" w:footer=\"567\" w:gutter=\"0\"/></w:sectPr></w:body></w:document>"
    )
}

fn facts_table(facts: &[Fact]) -> Table {
    let cells = |fact: &Fact| vec![fact.label.clone(), fact.value.clone(), fact.before.clone()];
    let bad = facts.iter().enumerate().filter(|(_, fact)| fact.is_bad).map(|(place, _)| place).collect();
    Table { rows: facts.iter().map(cells).collect(), bad, ..Table::default() }
}

/// How wide each column is: as its longest word at the least, and what is left over goes to those with long cells.
fn widths(table: &Table, columns: usize, width: usize) -> Vec<usize> {
    let wants = |column: usize| {
        let cells = || table.rows.iter().filter_map(|row| row.get(column)).chain(table.headings.get(column));
        let words = cells().flat_map(|cell| cell.split_whitespace());
        let word = words.map(|word| word.chars().count()).max().unwrap_or_default().clamp(3, WORD_CHARS);
        let cell = cells().map(|cell| cell.chars().count()).max().unwrap_or_default().min(CELL_CHARS);
        (CELL_MARGINS + word * CHAR, 1 + cell.saturating_sub(word))
    };
    let wants: Vec<(usize, usize)> = (0..columns).map(wants).collect();
    let least: usize = wants.iter().map(|(least, _)| least).sum();
    let more: usize = wants.iter().map(|(_, more)| more).sum();
    let share = |(own_least, own_more): &(usize, usize)| match width.checked_sub(least) {
        Some(rest) => own_least + rest * own_more / more.max(1),
        None => width * own_least / least.max(1),
    };
    wants.iter().map(share).collect()
}

fn write_table(body: &mut String, table: &Table, width: usize) {
    if !table.title.is_empty() {
        paragraph(body, "Heading2", &table.title);
    }
    let columns = table.headings.len().max(table.rows.iter().map(Vec::len).max().unwrap_or_default());
    if table.rows.is_empty() || columns == 0 {
        return paragraph(body, "Normal", &table.empty);
    }
    body.push_str(TABLE);
    let widths = widths(table, columns, width);
    widths.iter().for_each(|width| body.push_str(&format!("<w:gridCol w:w=\"{width}\"/>")));
    body.push_str("</w:tblGrid>");
    if !table.headings.is_empty() {
        row(body, "<w:cantSplit/><w:tblHeader/>", &table.headings, "<w:b/>", table, &widths);
    }
    for (place, cells) in table.rows.iter().enumerate() {
        let run = if table.bad.contains(&place) { BAD } else { "" };
        row(body, "<w:cantSplit/>", cells, run, table, &widths);
    }
    body.push_str("</w:tbl>");
    // Two tables without a paragraph between them run into one.
    paragraph(body, "Normal", &table.note);
}

fn row(body: &mut String, properties: &str, cells: &[String], run: &str, table: &Table, widths: &[usize]) {
    let _infallible = write!(body, "<w:tr><w:trPr>{properties}</w:trPr>");
    for (column, cell) in cells.iter().enumerate() {
        let align = if table.is_numeric(column) { "<w:jc w:val=\"right\"/>" } else { "" };
        // Of a table the first cell is enough; of facts, which have no headings, the number is what counts.
        let run = if run == BAD && column > 0 && !table.headings.is_empty() { "" } else { run };
        let (text, width) = (escaped(cell), widths.get(column).copied().unwrap_or_default());
        let _infallible = write!(
            body,
            "<w:tc><w:tcPr><w:tcW w:w=\"{width}\" w:type=\"dxa\"/></w:tcPr><w:p><w:pPr>\
             <w:spacing w:before=\"20\" w:after=\"20\"/>{align}</w:pPr><w:r><w:rPr>{run}<w:sz w:val=\"18\"/></w:rPr>\
             <w:t xml:space=\"preserve\">{text}</w:t></w:r></w:p></w:tc>"
        );
    }
    body.push_str("</w:tr>");
}

fn paragraph(body: &mut String, style: &str, text: &str) {
    let text = escaped(text);
    let _infallible = write!(
        body,
        "<w:p><w:pPr><w:pStyle w:val=\"{style}\"/></w:pPr><w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r></w:p>"
    );
}

/// Text that XML may hold; control characters are made visible before.
fn escaped(text: &str) -> String {
    shown(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace(['\u{fffe}', '\u{ffff}'], "")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn page(text: &str) -> Page {
        let table = Table {
            title: text.to_owned(),
            headings: vec![text.to_owned(); 12],
            rows: vec![vec![text.to_owned(); 12]],
            bad: [0].into(),
            ..Table::default()
        };
        let blocks = vec![Block::Heading(text.to_owned()), Block::Table(table)];
        Page { lang: crate::level::Lang::Vi, title: text.to_owned(), subtitle: text.to_owned(), blocks }
    }

    #[test]
    fn the_same_report_gives_the_same_bytes_and_hostile_text_stays_text() {
        let hostile = "</w:t><w:x>&\"\u{1b}\u{ffff}";
        let bytes = write(&page(hostile)).unwrap();
        assert_eq!(bytes, write(&page(hostile)).unwrap());
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), 5);
        let mut text = String::new();
        zip.by_name("word/document.xml").unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.contains("<w:x>") && !text.contains('\u{1b}') && !text.contains('\u{ffff}'));
        assert_eq!(text.matches("&lt;w:x&gt;").count(), 28);
        assert!(text.contains("landscape"));
        assert_eq!(text.matches(BAD).count(), 1);
    }

    #[test]
    fn columns_have_room_for_their_words_and_long_cells_get_what_is_left() {
        let row = ["P1", "24/11/2026 09:12", &"word ".repeat(40)].map(str::to_owned).to_vec();
        let headings = ["Ưu tiên", "Lúc", "Bằng chứng"].map(str::to_owned).to_vec();
        let table = Table { headings, rows: vec![row], ..Table::default() };
        let found = widths(&table, 3, WIDTH);
        assert!(found[0] >= CELL_MARGINS + 4 * CHAR && found[1] >= CELL_MARGINS + 10 * CHAR, "{found:?}");
        assert!(found[2] > WIDTH / 2 && found.iter().sum::<usize>() <= WIDTH, "{found:?}");
        assert!(widths(&table, 3, 900).iter().sum::<usize>() <= 900);
    }
}
