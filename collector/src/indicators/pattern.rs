//! Patterns of STIX 2.1, as far as they say nothing but "this value, or that one": comparisons by `=` or `IN`, joined by `OR`,
//! inside brackets or between them. What also asks for something else (AND, FOLLOWEDBY, NOT, LIKE, qualifiers ...) is not
//! understood, since a value of it alone would match too much.

use detect::IndicatorKind;

/// Objects and properties whose values are looked for, in lower case and without quotes.
const PATHS: [(&str, IndicatorKind); 14] = [
    ("ipv4-addr:value", IndicatorKind::Address),
    ("ipv6-addr:value", IndicatorKind::Address),
    ("network-traffic:src_ref.value", IndicatorKind::Address),
    ("network-traffic:dst_ref.value", IndicatorKind::Address),
    ("domain-name:value", IndicatorKind::Domain),
    ("hostname:value", IndicatorKind::Domain),
    ("url:value", IndicatorKind::Url),
    ("file:hashes.md5", IndicatorKind::Md5),
    ("file:hashes.sha-1", IndicatorKind::Sha1),
    ("file:hashes.sha1", IndicatorKind::Sha1),
    ("file:hashes.sha-256", IndicatorKind::Sha256),
    ("file:hashes.sha256", IndicatorKind::Sha256),
    ("artifact:hashes.md5", IndicatorKind::Md5),
    ("artifact:hashes.sha-256", IndicatorKind::Sha256),
];

/// The values that a pattern asks for. A path that is not looked for may stand beside others that are: any of them is enough.
pub(super) fn values(pattern: &str) -> Result<Vec<(IndicatorKind, String)>, String> {
    let mut rest = Cursor(pattern);
    let (mut found, mut unknown) = (Vec::new(), None);
    loop {
        rest.observation(&mut found, &mut unknown)?;
        if rest.is_at_end() {
            break;
        }
        rest.word("OR")?;
    }
    match unknown {
        Some(path) if found.is_empty() => Err(format!("{path} is not looked for")),
        _ => Ok(found),
    }
}

/// What of a pattern is not read yet.
struct Cursor<'p>(&'p str);

impl<'p> Cursor<'p> {
    /// `[comparison OR comparison ...]`, some of them in parentheses, which change nothing among values joined by OR.
    fn observation(
        &mut self,
        found: &mut Vec<(IndicatorKind, String)>,
        unknown: &mut Option<String>,
    ) -> Result<(), String> {
        self.sign('[')?;
        let mut open = 0_usize;
        loop {
            while self.takes_sign('(') {
                open += 1;
            }
            let path = self.path();
            let kind = PATHS.iter().find(|(known, _)| *known == path).map(|(_, kind)| *kind);
            for value in self.compared()? {
                match kind {
                    Some(kind) => found.push((kind, value)),
                    None => *unknown = Some(path.clone()),
                }
            }
            while open > 0 && self.takes_sign(')') {
                open -= 1;
            }
            if open == 0 && self.takes_sign(']') {
                return Ok(());
            }
            self.word("OR")?;
        }
    }

    /// `= 'value'` or `IN ('value', ...)`
    fn compared(&mut self) -> Result<Vec<String>, String> {
        if self.takes_sign('=') {
            return Ok(vec![self.text()?]);
        }
        self.word("IN")?;
        self.sign('(')?;
        let mut values = vec![self.text()?];
        while self.takes_sign(',') {
            values.push(self.text()?);
        }
        self.sign(')')?;
        Ok(values)
    }

    /// `file:hashes.'SHA-256'`: up to white space or an operator.
    fn path(&mut self) -> String {
        self.skip_space();
        let end = self.0.find(|char: char| char.is_whitespace() || "=!<>])".contains(char));
        let (path, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        path.replace(['\'', '"'], "").to_lowercase()
    }

    /// `'value'`, in which a backslash makes the next character plain.
    fn text(&mut self) -> Result<String, String> {
        self.sign('\'')?;
        let mut text = String::new();
        let mut chars = self.0.chars();
        while let Some(char) = chars.next() {
            match char {
                '\'' => {
                    self.0 = chars.as_str();
                    return Ok(text);
                }
                '\\' => text.extend(chars.next()),
                _ => text.push(char),
            }
        }
        Err("a text without an end in the pattern".into())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        self.skip_space();
        match self.0.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|next: char| next.is_alphanumeric()) => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn takes_sign(&mut self, sign: char) -> bool {
        self.skip_space();
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.0.is_empty()
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start();
    }

    /// The reason, without values: faults are gathered by it.
    fn unexpected(&self) -> String {
        let word: String = self.0.chars().take_while(char::is_ascii_uppercase).take(16).collect();
        let what = if word.is_empty() { "something else".to_owned() } else { word };
        format!("the pattern asks for more than values joined by OR: {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_joined_by_or() {
        use IndicatorKind::{Address, Domain, Sha256, Url};
        for (pattern, expected) in [
            ("[ipv4-addr:value = '192.0.2.7']", vec![(Address, "192.0.2.7")]),
            (
                " [ domain-name:value='a.example' OR url:value = 'http://a.example/\\'x\\'' ] ",
                vec![(Domain, "a.example"), (Url, "http://a.example/'x'")],
            ),
            (
                "[file:hashes.'SHA-256' = 'aa'] OR [file:hashes.\"SHA-256\" = 'bb']",
                vec![(Sha256, "aa"), (Sha256, "bb")],
            ),
            (
                "[ipv6-addr:value IN ('2001:db8::1', '2001:db8::/48')]",
                vec![(Address, "2001:db8::1"), (Address, "2001:db8::/48")],
            ),
            ("[file:name = 'x' OR file:hashes.'SHA-256' = 'aa']", vec![(Sha256, "aa")]),
            (
                "[((domain-name:value = 'a.example') OR (url:value = 'b.example/' OR url:value = 'c.example/'))]",
                vec![(Domain, "a.example"), (Url, "b.example/"), (Url, "c.example/")],
            ),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(kind, value)| (kind, value.to_owned())).collect();
            assert_eq!(values(pattern), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn rejects_what_asks_for_more_than_a_value() {
        for (pattern, reason) in [
            ("[file:name = 'x' AND file:size = 3]", "AND"),
            ("[domain-name:value LIKE '%.example']", "LIKE"),
            ("[ipv4-addr:value = '192.0.2.7'] FOLLOWEDBY [url:value = 'x']", "FOLLOWEDBY"),
            ("[ipv4-addr:value = '192.0.2.7'] WITHIN 5 MINUTES", "WITHIN"),
            ("[NOT ipv4-addr:value = '192.0.2.7']", "something else"),
            ("[ipv4-addr:value != '192.0.2.7']", "something else"),
            ("[file:name = 'x']", "file:name is not looked for"),
            ("[ipv4-addr:value = '192", "without an end"),
            ("[ipv4-addr:value = 'x' ORDER", "more than values"),
            ("[(ipv4-addr:value = 'x']", "something else"),
            ("[ipv4-addr:value = 'x')]", "something else"),
            ("[(ipv4-addr:value = 'x' AND file:size = 3)]", "AND"),
            ("[", "something else"),
            ("", "something else"),
        ] {
            let error = values(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }
}
