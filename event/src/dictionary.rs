//! The one field dictionary: what each typed column of the store means and which native fields fill it.
//!
//! `fields.toml` is compiled in. From it come the checks of the store's columns and rows, and `FIELDS.md`, the documented
//! message structure ([`Dictionary::to_markdown`]); tests keep them equal. The dictionary names columns by their index in
//! [`Dictionary::fields`], so that a row is filled by an array of setters and not by comparing names.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde::Deserialize;
use thiserror::Error;

/// The dictionary as it is shipped.
const FIELDS: &str = include_str!("../fields.toml");

/// The dictionary of the table `flows`.
const FLOWS: &str = include_str!("../flows.toml");

/// What stands behind the table in `FIELDS.md`: the words and native fields of each parser.
const PARSERS: &str = include_str!("parse/FIELDS.md");

/// The key of `native` for every service that has no table of its own.
const ANY: &str = "any";

/// Why the dictionary cannot be read.
#[derive(Debug, Error)]
pub enum DictionaryError {
    #[error("fields.toml: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("fields.toml: column {column} stands twice")]
    Doubled { column: String },
    #[error("fields.toml: native name {native} of {service} fills both {first} and {second}")]
    Ambiguous { native: String, service: String, first: String, second: String },
}

/// One typed column of the store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreField {
    /// Column of the table `events`.
    pub name: String,
    /// ClickHouse type.
    #[serde(rename = "type")]
    pub column_type: String,
    /// Unit of a number or a time.
    pub unit: Option<String>,
    /// Longest value in bytes.
    pub length_max: Option<usize>,
    pub presence: Presence,
    pub filled_by: FilledBy,
    /// What it means, in English.
    pub en: String,
    /// What it means, in Vietnamese.
    pub vi: String,
    pub example: String,
    /// Native names that fill it, by service.
    #[serde(default)]
    pub native: BTreeMap<String, Vec<String>>,
}

/// Whether every event has the field.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    Mandatory,
    Optional,
}

/// Who fills the field.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum FilledBy {
    /// The sender's batch states it.
    Agent,
    /// A parser reads it from the record.
    Parser,
    /// The collector decides it.
    Collector,
}

/// All core fields, in the order of the table.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// In the order of the table's columns.
    pub fields: Vec<CoreField>,
    by_native: HashMap<String, Columns>,
}

/// The names under which one log source fills columns. Look it up once per event, or once per batch.
#[derive(Clone, Copy, Debug)]
pub struct Natives<'d>(Option<&'d Columns>);

/// Columns by native name. Nobody outside adds names, so the hash needs no defence.
type Columns = HashMap<String, usize, foldhash::fast::FixedState>;

impl Dictionary {
    /// The dictionary that is compiled in.
    pub fn shipped() -> Result<Self, DictionaryError> {
        Self::read(FIELDS)
    }

    /// The dictionary of flow records.
    pub fn flows() -> Result<Self, DictionaryError> {
        Self::read(FLOWS)
    }

    /// Reads a dictionary in the form of `fields.toml`.
    pub fn read(text: &str) -> Result<Self, DictionaryError> {
        let fields = toml::from_str::<File>(text)?.field;
        let mut by_native = HashMap::<_, Columns>::new();
        for (index, field) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|other| other.name == field.name) {
                return Err(DictionaryError::Doubled { column: field.name.clone() });
            }
            for (service, natives) in &field.native {
                let known = by_native.entry(service.clone()).or_default();
                for native in natives {
                    if let Some(first) = known.insert(native.clone(), index) {
                        return Err(ambiguous(native, service, fields.get(first), field));
                    }
                }
            }
        }
        Ok(Self { fields, by_native })
    }

    /// The native names of a Sigma service (or of any other, where the service has no table of its own).
    pub fn natives(&self, service: &str) -> Natives<'_> {
        Natives(self.by_native.get(service).or_else(|| self.by_native.get(ANY)))
    }

    /// The index of a column.
    pub fn index(&self, column: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == column)
    }

    /// `FIELDS.md`: the documented message structure of events.
    pub fn to_markdown(&self) -> String {
        self.page(INTRODUCTION) + "\n" + PARSERS
    }

    /// `FLOWS.md`: that of flow records, for [`Dictionary::flows`].
    pub fn flows_to_markdown(&self) -> String {
        self.page(FLOWS_INTRODUCTION)
    }

    fn page(&self, introduction: &str) -> String {
        let mut page = introduction.to_owned();
        for (number, field) in (1_u32..).zip(&self.fields) {
            field.describe(number, &mut page);
        }
        page
    }
}

impl Natives<'_> {
    /// The index in [`Dictionary::fields`] of the column that a native field fills.
    pub fn column(&self, native: &str) -> Option<usize> {
        self.0.and_then(|names| names.get(native)).copied()
    }
}

impl CoreField {
    /// As much of a value as the column holds, cut at a character's end.
    pub fn clip<'v>(&self, text: &'v str) -> &'v str {
        let end = text.floor_char_boundary(self.length_max.unwrap_or(usize::MAX));
        text.get(..end).unwrap_or(text)
    }

    fn describe(&self, number: u32, page: &mut String) {
        let length = self.length_max.map_or_else(String::new, |max| format!(", at most {max} bytes"));
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!(", {unit}"));
        let presence = match self.presence {
            Presence::Mandatory => "mandatory / bắt buộc",
            Presence::Optional => "optional / không bắt buộc",
        };
        let by = match self.filled_by {
            FilledBy::Agent => "agent",
            FilledBy::Parser => "parser",
            FilledBy::Collector => "collector",
        };
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n### {number}. `{}`\n\n{}{length}{unit} · {presence} · filled by the {by}\n\n{}\n\n{}\n",
            self.name, self.column_type, self.en, self.vi
        );
        if !self.example.is_empty() {
            let _ = write!(page, "\nExample / ví dụ: `{}`\n", self.example);
        }
        for (service, names) in self.native.iter().filter(|(_, names)| !names.is_empty()) {
            let _ = write!(page, "\nNative names ({service}): `{}`\n", names.join("`, `"));
        }
    }
}

fn ambiguous(native: &str, service: &str, first: Option<&CoreField>, second: &CoreField) -> DictionaryError {
    DictionaryError::Ambiguous {
        native: native.to_owned(),
        service: service.to_owned(),
        first: first.map_or_else(String::new, |field| field.name.clone()),
        second: second.name.clone(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    field: Vec<CoreField>,
}

const INTRODUCTION: &str = "\
<!-- Generated from fields.toml and src/parse/FIELDS.md: UPDATE=1 cargo test -p event -->
# The fields of an event / Cấu trúc bản tin sự kiện

Every event is one row of the table `events`. This page documents its structure as QĐ 1775 (2.g) asks: mandatory and optional
fields; type, length, separators; description; explanation with an example.

Mỗi sự kiện là một dòng của bảng `events`. Trang này mô tả cấu trúc bản tin theo yêu cầu của QĐ 1775 (mục 2.g): trường bắt buộc
và không bắt buộc; kiểu, độ dài, ký tự phân tách; mô tả; giải thích kèm ví dụ.

**Separators / ký tự phân tách.** A row has typed columns: nothing separates them but their types. On the wire each field stands
behind its length (WIRE.md). Within `message`, the records of one event are separated by a line feed (U+000A); within `fields`,
values of a name that stands several times are separated by a line feed too. / Mỗi dòng gồm các cột có kiểu nên không cần ký tự phân
tách. Trên đường truyền, mỗi trường đứng sau độ dài của nó (WIRE.md). Trong `message`, các bản ghi của cùng một sự kiện được phân tách bằng ký tự xuống
dòng (U+000A); trong `fields`, nhiều giá trị của cùng một tên cũng được phân tách như vậy.

**Length / độ dài.** In bytes of UTF-8. What is longer is cut at a character's end; `message` and `raw` keep the whole. / Tính theo byte
UTF-8. Giá trị dài hơn bị cắt ở ranh giới ký tự; `message` và `raw` giữ nguyên toàn bộ.

**Names / tên.** A rule reads the native names that a log source gives its fields; a query reads the columns. `Native names` says which
native field fills which column, by Sigma service: a service that is named has its own table, every other reads `any`. The first
field of an event that fills a column wins; the others stay in `fields`. / Luật phát hiện đọc tên gốc của nguồn log; câu truy vấn đọc các cột.
`Native names` cho biết trường gốc nào điền vào cột nào, theo service của Sigma.

## Columns / các cột
";

const FLOWS_INTRODUCTION: &str = "\
<!-- Generated from flows.toml: UPDATE=1 cargo test -p event -->
# Flow records / Bản ghi luồng mạng

A flow is what a pair of endpoints exchanged between two moments. Every record is one row of the table `flows`, whoever made it:
our own meter from packets, or a switch, router or firewall by NetFlow, IPFIX or sFlow. On the way it is one line of JSON with
`\"kind\":\"flow\"` whose fields have the names of the columns; times are integers in microseconds, what is 0 or empty may be
absent. Lines of the kinds `dns`, `tls`, `http`, `ssh`, `smb` and `dce_rpc` tell what the first bytes of a flow said; they are events
(FIELDS.md) with the flow's addresses and Community ID. Lines of the kind `interface` tell every five minutes what an interface itself
counted, in the events' `fields`: `rx_bytes`, `tx_bytes`, `rx_packets`, `tx_packets`, `rx_dropped`, `tx_dropped`, `duration_us`.

Luồng là lưu lượng trao đổi giữa hai đầu cuối trong một khoảng thời gian. Mỗi bản ghi là một dòng của bảng `flows`, dù do hệ thống tự đo
từ gói tin hay do thiết bị mạng xuất qua NetFlow, IPFIX, sFlow. Trên đường truyền, mỗi bản ghi là một dòng JSON có
`\"kind\":\"flow\"`, tên trường trùng tên cột; thời gian là số nguyên micro giây, giá trị 0 hoặc rỗng có thể vắng mặt. Các dòng loại `dns`, `tls`,
`http`, `ssh`, `smb`, `dce_rpc` cho biết nội dung các byte đầu của luồng; chúng là sự kiện (FIELDS.md) mang địa chỉ và Community ID của luồng.
Các dòng loại `interface` cho biết mỗi năm phút bộ đếm của giao diện mạng, trong `fields` của sự kiện.

## Columns / các cột
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_shipped_dictionary_and_finds_columns_by_native_name() {
        let dictionary = Dictionary::shipped().unwrap();
        let column = |service: &str, native: &str| {
            Some(&*dictionary.fields[dictionary.natives(service).column(native)?].name)
        };
        assert_eq!(column("", "c-ip"), Some("src_ip"));
        assert_eq!(column("sshd", "hostname"), Some("hostname"));
        assert_eq!(column("auditd", "hostname"), None, "auditd's hostname is the peer, not the host");
        assert_eq!(column("auditd", "exe"), Some("process_path"));
        assert_eq!(column("sshd", "exe"), None);
    }

    #[test]
    fn rejects_a_native_name_that_fills_two_columns() {
        let field = |name: &str| {
            format!(
                "[[field]]\nname='{name}'\ntype='String'\npresence='optional'\nfilled_by='parser'\nen=''\nvi=''\n\
                 example=''\nnative={{any=['x']}}\n"
            )
        };
        assert!(Dictionary::read(&field("a")).is_ok());
        let error = Dictionary::read(&(field("a") + &field("b"))).unwrap_err();
        assert_eq!(error.to_string(), "fields.toml: native name x of any fills both a and b");
        assert!(matches!(
            Dictionary::read(&(field("a") + &field("a"))),
            Err(DictionaryError::Doubled { .. })
        ));
    }

    #[test]
    fn clips_at_a_characters_end() {
        let dictionary = Dictionary::shipped().unwrap();
        let outcome = &dictionary.fields[dictionary.index("outcome").unwrap()];
        assert_eq!(outcome.clip("aaaaaaaaaaaaaaa").len(), 15);
        assert_eq!(outcome.clip("aaaaaaaaaaaaaaaa").len(), 16);
        assert_eq!(outcome.clip("aaaaaaaaaaaaaaađ"), "aaaaaaaaaaaaaaa");
    }

    /// `UPDATE=1` rewrites the pages.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the pages that it checks")]
    fn the_pages_say_what_the_dictionaries_say() {
        let events = Dictionary::shipped().unwrap().to_markdown();
        let flows = Dictionary::flows().unwrap().flows_to_markdown();
        for (name, page) in [("FIELDS.md", events), ("FLOWS.md", flows)] {
            let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &page).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == page, "{name} is stale: UPDATE=1 cargo test -p event");
        }
    }
}
