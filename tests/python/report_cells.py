"""Holds the four formats of reports against each other: the rows that HTML, Markdown and DOCX tell are those of the CSV, cell by cell
and in its order, and the same rows are marked as bad. No part of it is the product's: the parsers are Python's own.

    report_cells.py FOLDER    compares FOLDER/NAME.{html,md,docx,csv} of each NAME; prints NAME, how many rows, how many are marked

Every part of a docx must be XML, and its zip whole. Pictures are in HTML only, so HTML has some of the rows, the others all.
"""

import csv
import html.parser
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree
import zipfile

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
BAD = "A3262A"


def plain(cell):
    return " ".join(cell.split())


def of_csv(path):
    """Rows with more than one cell; what a spreadsheet would run has an apostrophe in front."""
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if len(row) > 1:
                yield [plain(cell[1:] if re.match("'[=+\\-@']", cell) else cell) for cell in row]


def of_docx(path):
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None, path
        parts = {name: ElementTree.fromstring(file.read(name)) for name in file.namelist()}
    for row in parts["word/document.xml"].iter(W + "tr"):
        cells = [plain("".join(text.text or "" for text in cell.iter(W + "t"))) for cell in row.iter(W + "tc")]
        is_bad = any(color.get(W + "val") == BAD for color in row.iter(W + "color"))
        yield cells, is_bad


def unescaped(text):
    return plain(re.sub(r"\\(.)", r"\1", text))


def of_markdown(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        fact = re.fullmatch(r"- (.*?): (\*\*)?(.*?)(?:\*\*)?(?: \((.*)\))?", line)
        if fact:
            label, mark, value, before = fact.groups()
            yield [unescaped(label), unescaped(value), unescaped(before or "")], bool(mark)
        elif line.startswith("|") and not line.startswith("|--"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]
            is_bad = cells[0].startswith("**")
            yield [unescaped(cell[2:-2] if cell.startswith("**") else cell) for cell in cells], is_bad


class Html(html.parser.HTMLParser):
    """Rows of tables, and facts (dl) as rows of three cells."""

    def __init__(self):
        super().__init__()
        self.rows, self.row, self.cell, self.bad = [], None, None, False

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "img", "link"), tag
        in_facts = tag == "div"
        if tag == "tr" or in_facts:
            self.row, self.bad = [], dict(attributes).get("class") == "bad"
        elif tag in ("td", "th", "dt", "dd") and self.row is not None:
            self.cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th", "dt", "dd") and self.cell is not None:
            self.row.append(plain(self.cell))
            self.cell = None
        elif tag in ("tr", "div") and self.row is not None:
            self.rows.append((self.row, self.bad))
            self.row = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


def of_html(path):
    parser = Html()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.rows


def compare(name, found, told, whole):
    """`found` stand in `told` in its order; if `whole`, they are all of it."""
    rest = iter(told)
    for row, _ in found:
        assert any(row == other for other in rest), f"{name}: not in the CSV, or not at its place: {row}"
    assert not whole or len(found) == len(told), f"{name}: {len(found)} rows, the CSV has {len(told)}"


def main(folder):
    for path in sorted(pathlib.Path(folder).glob("*.csv")):
        told = list(of_csv(path))
        marked = []
        for suffix, read in ((".docx", of_docx), (".md", of_markdown), (".html", of_html)):
            rows = [(row, bad) for row, bad in read(path.with_suffix(suffix)) if len(row) > 1]
            compare(f"{path.stem}{suffix}", rows, told, suffix != ".html")
            marked.append([row for row, bad in rows if bad])
        assert marked[0] == marked[1] == marked[2], f"{path.stem}: other rows are marked: {marked}"
        print(path.stem, len(told), len(marked[0]))


main(sys.argv[1])
