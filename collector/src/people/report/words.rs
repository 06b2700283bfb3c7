//! Words of the store in the reader's language: as SQL that names a column's value, or of one value.

use crate::level::Lang;

/// What is stored, and its name in Vietnamese and English.
type Names<'n> = [(&'n str, &'n str, &'n str)];

const SEVERITIES: &Names<'_> = &[
    ("critical", "nghiêm trọng", "critical"),
    ("high", "cao", "high"),
    ("medium", "trung bình", "medium"),
    ("low", "thấp", "low"),
    ("informational", "thông tin", "informational"),
];
const CLOCKS: &Names<'_> = &[
    ("acknowledge", "tiếp nhận", "acknowledge"),
    ("contain", "ngăn chặn", "contain"),
    ("close", "đóng", "close"),
];
const VERDICTS: &Names<'_> = &[
    ("true_positive", "tấn công thật", "true positive"),
    ("false_positive", "báo động giả", "false positive"),
    ("benign", "hoạt động hợp lệ", "benign"),
    ("duplicate", "trùng lặp", "duplicate"),
];

/// Severities of rules.
pub(super) fn severity(lang: Lang, column: &str) -> String {
    named(lang, column, SEVERITIES)
}

/// The same of one that is known here.
pub(in crate::people) fn severity_name(severity: &str, lang: Lang) -> &str {
    name(SEVERITIES, severity, lang)
}

/// Response clocks.
pub(super) fn clock(lang: Lang, column: &str) -> String {
    named(lang, column, CLOCKS)
}

/// What an alert turned out to be.
pub(super) fn verdict(lang: Lang, column: &str) -> String {
    named(lang, column, VERDICTS)
}

/// The same of one that is known here.
pub(super) fn verdict_name(verdict: &str, lang: Lang) -> &str {
    name(VERDICTS, verdict, lang)
}

fn name<'n>(names: &Names<'n>, stored: &'n str, lang: Lang) -> &'n str {
    let known = names.iter().find(|(name, ..)| *name == stored);
    known.map_or(stored, |(_, vietnamese, english)| lang.pick(*vietnamese, *english))
}

/// What no name is known for stays as it is.
fn named(lang: Lang, column: &str, names: &Names<'_>) -> String {
    let quoted =
        |names: Vec<&str>| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let stored = quoted(names.iter().map(|(stored, ..)| *stored).collect());
    let shown =
        quoted(names.iter().map(|(_, vietnamese, english)| lang.pick(*vietnamese, *english)).collect());
    format!("transform(toString({column}), [{stored}], [{shown}], toString({column}))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_named_and_what_is_not_known_stays() {
        assert_eq!(verdict_name("false_positive", Lang::En), "false positive");
        assert_eq!(verdict_name("unheard of", Lang::Vi), "unheard of");
        assert_eq!(
            clock(Lang::Vi, "c"),
            "transform(toString(c), ['acknowledge', 'contain', 'close'], ['tiếp nhận', 'ngăn chặn', 'đóng'], toString(c))"
        );
    }
}
