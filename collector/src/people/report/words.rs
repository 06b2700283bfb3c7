//! Words of the store in the reader's language: as SQL that names a column's value, or of one value.

use crate::level::Lang;

const SEVERITIES: [(&str, &str); 5] = [
    ("critical", "nghiêm trọng"),
    ("high", "cao"),
    ("medium", "trung bình"),
    ("low", "thấp"),
    ("informational", "thông tin"),
];

/// Severities of rules.
pub(super) fn severity(lang: Lang, column: &str) -> String {
    named(lang, column, &SEVERITIES)
}

/// The same of one that is known here.
pub(in crate::people) fn severity_name(severity: &str, lang: Lang) -> &str {
    name(&SEVERITIES, severity, lang)
}

/// Response clocks.
pub(super) fn clock(lang: Lang, column: &str) -> String {
    named(lang, column, &[("acknowledge", "tiếp nhận"), ("contain", "ngăn chặn"), ("close", "đóng")])
}

const VERDICTS: [(&str, &str); 4] = [
    ("true_positive", "tấn công thật"),
    ("false_positive", "báo động giả"),
    ("benign", "hoạt động hợp lệ"),
    ("duplicate", "trùng lặp"),
];

/// What an alert turned out to be.
pub(super) fn verdict(lang: Lang, column: &str) -> String {
    named(lang, column, &VERDICTS)
}

/// The same of one that is known here.
pub(super) fn verdict_name(verdict: &str, lang: Lang) -> &str {
    name(&VERDICTS, verdict, lang)
}

fn name<'n>(names: &[(&str, &'n str)], stored: &'n str, lang: Lang) -> &'n str {
    let known = names.iter().find(|(name, _)| *name == stored);
    known.map_or(stored, |(_, vietnamese)| lang.pick(*vietnamese, stored))
}

/// What no name is known for stays as it is.
fn named(lang: Lang, column: &str, names: &[(&str, &str)]) -> String {
    if lang == Lang::En {
        return format!("toString({column})");
    }
    let list = |of: fn(&(&str, &str)) -> String| names.iter().map(of).collect::<Vec<_>>().join(", ");
    let (stored, shown) = (list(|pair| format!("'{}'", pair.0)), list(|pair| format!("'{}'", pair.1)));
    format!("transform(toString({column}), [{stored}], [{shown}], toString({column}))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_named_and_what_is_not_known_stays() {
        assert_eq!(clock(Lang::En, "c"), "toString(c)");
        assert_eq!(
            clock(Lang::Vi, "c"),
            "transform(toString(c), ['acknowledge', 'contain', 'close'], ['tiếp nhận', 'ngăn chặn', 'đóng'], toString(c))"
        );
    }
}
