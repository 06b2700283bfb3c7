//! Where a statement ends and its data begin.
//!
//! The engine's own reader of inline data loses rows of binary formats, so `INSERT ... FORMAT X <data>` and
//! `INSERT ... VALUES <data>` are split here and the data go through an insert stream. What is read is only the shape: words at
//! depth 0, with literals, comments, heredocs and brackets skipped. Whether the statement is good SQL is the engine's to say.
//!
//! `INTO OUTFILE` and `FROM INFILE` are refused here: the engine would carry them out on this machine's disk for whoever asks
//! over HTTP, which no ClickHouse server does.

use super::exception::Exception;

/// What a text is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Shape<'a> {
    /// A statement that is run as it stands.
    Whole {
        /// The format that it asks for at its end, and where that clause begins.
        format: Option<(&'a str, usize)>,
    },
    /// An INSERT with data: the statement without format, the format's name, the first byte of the data.
    Insert { statement: &'a [u8], format: &'a str, data_at: usize },
}

/// Tells the shape of `text`, which may be cut off somewhere in an INSERT's data.
pub(super) fn shape(text: &[u8]) -> Result<Shape<'_>, Exception> {
    let mut scan = Scan { text, at: 0, depth: 0 };
    match scan.next() {
        Some(Token { word: Some(first), .. }) if first.eq_ignore_ascii_case("INSERT") => insert(scan),
        Some(first) => whole(scan, first),
        None => Ok(Shape::Whole { format: None }),
    }
}

/// Whether a statement has `name` as a word or in quotes that make a name. Quotes with an escape may mean any name.
pub(super) fn names(text: &[u8], name: &str) -> bool {
    let mut scan = Scan { text, at: 0, depth: 0 };
    while let Some(token) = scan.next() {
        let quoted = match token.word {
            Some(word) if word == name => return true,
            Some(_) => continue,
            None => &text[token.start..scan.at.min(text.len())],
        };
        let inner = match quoted {
            [b'"', inner @ .., b'"'] | [b'`', inner @ .., b'`'] => inner,
            _ => continue,
        };
        if inner == name.as_bytes() || inner.contains(&b'\\') {
            return true;
        }
    }
    false
}

/// Without the blanks around it and the semicolon behind it.
pub(super) fn bare(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_suffix(b";").unwrap_or(text)
}

/// Whether the statement is, but for spaces and case, this one.
pub(super) fn same_words(text: &[u8], other: &str) -> bool {
    let mut left = bare(text).iter().filter(|byte| !byte.is_ascii_whitespace());
    let mut right = other.bytes().filter(|byte| !byte.is_ascii_whitespace());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(&b) => {}
            _ => return false,
        }
    }
}

fn insert(mut scan: Scan<'_>) -> Result<Shape<'_>, Exception> {
    let text = scan.text;
    let mut previous = "";
    while let Some(token) = scan.next() {
        let Some(word) = token.word.filter(|_| token.depth == 0) else {
            previous = "";
            continue;
        };
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("INFILE") && previous.eq_ignore_ascii_case("FROM") {
            return Err(Exception::refused("FROM INFILE reads files of the server and is refused"));
        }
        if is("SELECT") || is("WITH") || is("EXPLAIN") {
            return whole(scan, token);
        }
        if is("VALUES") {
            return Ok(Shape::Insert { statement: &text[..token.start], format: "Values", data_at: scan.at });
        }
        if is("FORMAT")
            && let Some(Token { word: Some(format), .. }) = scan.peek()
        {
            scan.next();
            return Ok(Shape::Insert {
                statement: &text[..token.start],
                format,
                data_at: data_start(text, scan.at),
            });
        }
        previous = word;
    }
    Ok(Shape::Whole { format: None })
}

/// As ClickHouse: blanks behind the format's name and one line break are not data.
fn data_start(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\x0c')) {
        at += 1;
    }
    for expected in [b'\r', b'\n'] {
        at += usize::from(text.get(at) == Some(&expected));
    }
    at
}

fn whole<'a>(mut scan: Scan<'a>, first: Token<'a>) -> Result<Shape<'a>, Exception> {
    let mut format = None;
    let mut previous = first.word.unwrap_or("");
    while let Some(token) = scan.next() {
        let word = token.word.unwrap_or("");
        if word.eq_ignore_ascii_case("OUTFILE") && previous.eq_ignore_ascii_case("INTO") {
            return Err(Exception::refused("INTO OUTFILE writes files of the server and is refused"));
        }
        if token.depth == 0 && word.eq_ignore_ascii_case("FORMAT") {
            format = scan.closing_word().map(|name| (name, token.start)).or(format);
        }
        previous = word;
    }
    Ok(Shape::Whole { format })
}

#[derive(Clone, Copy)]
struct Token<'a> {
    start: usize,
    /// Brackets that are open around it.
    depth: usize,
    /// A bare word; anything else has none.
    word: Option<&'a str>,
}

#[derive(Clone)]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let start = self.at;
        let first = *self.text.get(start)?;
        let mut depth = self.depth;
        let word = is_word(first).then(|| self.take_word()).flatten();
        if word.is_none() {
            match first {
                b'\'' | b'"' | b'`' => self.skip_quoted(first),
                b'$' => self.skip_heredoc(),
                _ => self.at = start + 1,
            }
            match first {
                b'(' | b'[' | b'{' => self.depth += 1,
                b')' | b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    depth = self.depth;
                }
                _ => {}
            }
        }
        Some(Token { start, depth, word })
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.clone().next()
    }

    /// The word that comes next, when the statement ends behind it or goes on with SETTINGS.
    fn closing_word(&self) -> Option<&'a str> {
        let mut ahead = self.clone();
        let name = ahead.next()?.word?;
        let closed = match ahead.next() {
            None => true,
            Some(Token { word: Some(word), .. }) => {
                word.eq_ignore_ascii_case("SETTINGS") || word.eq_ignore_ascii_case("INTO")
            }
            Some(token) => self.text[token.start] == b';',
        };
        closed.then_some(name)
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let step = match rest {
                // Outside quotes, ClickHouse's lexer takes what is beyond ASCII for a blank or for an error.
                [byte, ..] if byte.is_ascii_whitespace() || *byte == b'\x0b' || !byte.is_ascii() => 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => until(rest, b"\n"),
                [b'/', b'*', ..] => 2 + until(&rest[2..], b"*/"),
                _ => return,
            };
            self.at += step;
        }
    }

    fn take_word(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !is_word(byte)).unwrap_or(rest.len());
        self.at += length;
        str::from_utf8(&rest[..length]).ok()
    }

    fn skip_quoted(&mut self, quote: u8) {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                _ if byte == quote && self.text.get(self.at) == Some(&quote) => self.at += 1,
                _ if byte == quote => return,
                _ => {}
            }
        }
        self.at = self.text.len();
    }

    /// `$tag$ ... $tag$`; a lone dollar is skipped.
    fn skip_heredoc(&mut self) {
        let rest = self.rest();
        let name = rest[1..].iter().take_while(|&&byte| is_word(byte)).count();
        let tag = &rest[..=name];
        if rest.get(name + 1) != Some(&b'$') {
            self.at += 1;
            return;
        }
        let closing = [tag, b"$"].concat();
        let body = &rest[closing.len()..];
        self.at += closing.len() + until(body, &closing);
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length up to the end of `needle`, or of everything.
fn until(text: &[u8], needle: &[u8]) -> usize {
    let found = text.windows(needle.len()).position(|window| window == needle);
    found.map_or(text.len(), |at| at + needle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(String, String, String)> {
        match shape(text.as_bytes()).unwrap() {
            Shape::Insert { statement, format, data_at } => Some((
                String::from_utf8(statement.to_vec()).unwrap(),
                format.to_owned(),
                text[data_at..].to_owned(),
            )),
            Shape::Whole { .. } => None,
        }
    }

    #[test]
    fn splits_an_insert_from_its_data() {
        let cases = [
            ("INSERT INTO t FORMAT CSV\n1;2", "INSERT INTO t ", "CSV", "1;2"),
            (
                "insert into t (a, `format`) format JSONEachRow {\"a\":1}",
                "insert into t (a, `format`) ",
                "JSONEachRow",
                "{\"a\":1}",
            ),
            ("INSERT INTO t VALUES (1, 'FORMAT x')", "INSERT INTO t ", "Values", " (1, 'FORMAT x')"),
            (
                "INSERT INTO t (values) SETTINGS a='it''s \\' FORMAT' FORMAT TSV  \r\n\n",
                "INSERT INTO t (values) SETTINGS a='it''s \\' FORMAT' ",
                "TSV",
                "\n",
            ),
            (
                "/* FORMAT */ INSERT -- VALUES\n INTO \"FORMAT x\" FORMAT Native\n",
                "/* FORMAT */ INSERT -- VALUES\n INTO \"FORMAT x\" ",
                "Native",
                "",
            ),
        ];
        for (text, statement, format, data) in cases {
            assert_eq!(split(text), Some((statement.into(), format.into(), data.into())), "{text}");
        }
    }

    #[test]
    fn leaves_an_insert_without_data_whole() {
        for text in [
            "INSERT INTO t SELECT * FROM u FORMAT JSON",
            "INSERT INTO t WITH 1 AS x SELECT x",
            "INSERT INTO t",
            "SELECT 'INSERT INTO t FORMAT CSV'",
            "",
            "-- INSERT INTO t FORMAT CSV",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn finds_the_format_asked_for() {
        for (text, expected) in [
            ("SELECT 1 FORMAT JSON", Some("JSON")),
            ("SELECT 1 FORMAT JSON;", Some("JSON")),
            ("SELECT 1 FORMAT JSON SETTINGS max_threads=1", Some("JSON")),
            ("SELECT format FROM t", None),
            ("SELECT (SELECT 1 FORMAT x)", None),
            ("SELECT $a$ FORMAT JSON $b$ $a$ FORMAT CSV", Some("CSV")),
            ("SELECT 1 -- FORMAT JSON", None),
        ] {
            let Shape::Whole { format } = shape(text.as_bytes()).unwrap() else { panic!("{text}") };
            assert_eq!(format.map(|(name, _)| name), expected, "{text}");
        }
    }

    #[test]
    fn refuses_files_of_the_server() {
        for text in [
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "select 1 into/**/outfile '/tmp/x' format CSV",
            "SELECT * FROM (SELECT 1 INTO OUTFILE 'x')",
            "SELECT 1 INTO\u{3000}OUTFILE\u{a0}'x'",
            "SELECT 1 INTO\x0bOUTFILE 'x'",
            "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
            "INSERT INTO t (a) from\n--x\n infile '/etc/passwd' FORMAT CSV",
            "INSERT INTO t SELECT 1 INTO OUTFILE 'x'",
        ] {
            assert!(shape(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["SELECT 'INTO OUTFILE'", "SELECT * FROM infile", "INSERT INTO outfile VALUES (1)"] {
            assert!(shape(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn finds_a_name_however_it_is_written() {
        for text in [
            "SELECT file('/etc/passwd')",
            "SELECT\u{3000}file/**/('/etc/passwd')",
            "SELECT \"file\"('x')",
            "SELECT `file`('x')",
            "SELECT `f\\x69le`('x')",
            "SELECT \u{201c}file\u{201d}('x')",
            "SELECT * APPLY file FROM (SELECT 'x')",
            "SELECT arrayMap(file, ['x'])",
            "SELECT 'it''s', file('x')",
            "SELECT $a$ ' $a$, file('x')",
        ] {
            assert!(names(text.as_bytes(), "file"), "{text}");
        }
        for text in
            ["SELECT 'file'", "SELECT rule_file, `a file` FROM files", "SELECT 1 -- file", "SELECT \"", "`"]
        {
            assert!(!names(text.as_bytes(), "file"), "{text}");
        }
    }

    #[test]
    fn survives_what_is_cut_off() {
        for text in [
            "INSERT INTO t FORMAT",
            "SELECT 'a",
            "SELECT /* a",
            "SELECT $a$ b",
            "$",
            "'\\",
            "INSERT INTO t (",
        ] {
            assert!(shape(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
