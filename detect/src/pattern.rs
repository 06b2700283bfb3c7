//! From the selections of a rule to predicates: the value modifiers of Sigma 2.1.
//!
//! Modifiers are applied in the order in which they are written. What a combination would mean must be said by the
//! specification, else the rule is refused: a modifier that is ignored is a rule that does not do what it says.
//!
//! Decisions where the specification is silent: `|base64offset` looks for its fragments inside the value, since a fragment
//! that is the whole value cannot occur; `|windash` makes its five dashes equal on both sides, which is all permutations;
//! `|neq` needs the field to be there; encoded values that are not text must go on to a base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use rsigma_parser::fieldpath::unescape_brackets;
use rsigma_parser::{
    Detection, DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart,
};

use crate::Placeholders;
use crate::engine::Fields;
use crate::limits::{DEPTH_MAX, VALUE_VARIANTS_MAX};
use crate::network;
use crate::predicate::{Compare, Number, Predicate, TextOp};
use crate::problem::{Fault, Reason};
use crate::regular_expression::RegularExpression;
use crate::scan::{Item, Node};
use crate::text::{self, Form};
use crate::time::TimePart;

/// The characters that `|windash` takes for each other.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Makes predicates; knows the fields of all rules and the values of placeholders.
pub(crate) struct Compiler<'c> {
    pub(crate) fields: &'c mut Fields,
    pub(crate) placeholders: &'c Placeholders,
}

impl Compiler<'_> {
    /// A selection of a rule.
    pub(crate) fn selection(
        &mut self,
        name: &str,
        detection: &Detection,
        depth: usize,
    ) -> Result<Node, Fault> {
        if depth > DEPTH_MAX {
            return Err(Reason::TooDeep { max: DEPTH_MAX }.into());
        }
        let empty = || Fault::near(Reason::EmptySelection { selection: name.to_owned() }, format!("{name}:"));
        match detection {
            Detection::AllOf(items) if items.is_empty() => Err(empty()),
            Detection::AllOf(items) => {
                items.iter().map(|item| self.item(item)).collect::<Result<Vec<_>, _>>().map(Node::All)
            }
            Detection::AnyOf(parts) | Detection::And(parts) if parts.is_empty() => Err(empty()),
            Detection::AnyOf(parts) => self.selections(name, parts, depth).map(Node::Any),
            Detection::And(parts) => self.selections(name, parts, depth).map(Node::All),
            Detection::Keywords(values) if values.is_empty() => Err(empty()),
            Detection::Keywords(values) if values.iter().any(|value| matches!(value, SigmaValue::Null)) => {
                Err(empty())
            }
            Detection::Keywords(values) => {
                let field = FieldSpec::new(None, Vec::new());
                self.item(&DetectionItem { field, values: values.clone() })
            }
            Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
                let selection = name.to_owned();
                Err(Fault::near(Reason::ArraySelector { selection }, format!("{name}:")))
            }
        }
    }

    fn selections(&mut self, name: &str, parts: &[Detection], depth: usize) -> Result<Vec<Node>, Fault> {
        parts.iter().map(|part| self.selection(name, part, depth.saturating_add(1))).collect()
    }

    fn item(&mut self, item: &DetectionItem) -> Result<Node, Fault> {
        let key = Key::of(&item.field);
        let result = self.compiled(&key, item);
        result.map_err(|reason| Fault::near(reason, key.text.clone()))
    }

    fn compiled(&mut self, key: &Key, item: &DetectionItem) -> Result<Node, Reason> {
        if item.values.is_empty() {
            return Err(Reason::NoValue { item: key.text.clone() });
        }
        let recipe = Recipe::of(key, &item.field.modifiers)?;
        let field = key.field.as_deref().map(|name| self.fields.intern(name));
        if recipe.operator == Operator::Exists {
            return exists(key, field, &item.values);
        }
        if field.is_none() {
            recipe.check_keyword(key)?;
        }
        let mut predicates = Vec::new();
        for value in &item.values {
            self.value(key, &recipe, field.is_none(), value, &mut predicates)?;
        }
        Ok(node(field, &recipe, predicates, item.values.len()))
    }

    /// The predicates of one value. Where it becomes several, any of them will do.
    fn value(
        &mut self,
        key: &Key,
        recipe: &Recipe,
        keyword: bool,
        value: &SigmaValue,
        out: &mut Vec<Vec<Predicate>>,
    ) -> Result<(), Reason> {
        let predicates = match recipe.operator {
            Operator::Text(op) if recipe.transforms_nothing() => {
                self.plain(key, recipe, op, keyword, value)?
            }
            Operator::Text(op) => self.transformed(key, recipe, op, keyword, value)?,
            Operator::Regex { .. } => vec![regex(key, recipe, value)?],
            Operator::Network => vec![network(key, value)?],
            Operator::Compare(compare) => vec![Predicate::Number { compare, number: number(key, value)? }],
            Operator::Time(part, compare) => {
                vec![Predicate::Time { part, compare, number: number(key, value)? }]
            }
            Operator::FieldRef(op) => vec![self.field_ref(key, recipe, op, value)?],
            Operator::Exists => Vec::new(),
        };
        out.push(predicates);
        Ok(())
    }

    /// A value without transformations: of any type.
    fn plain(
        &mut self,
        key: &Key,
        recipe: &Recipe,
        op: TextOp,
        keyword: bool,
        value: &SigmaValue,
    ) -> Result<Vec<Predicate>, Reason> {
        let as_text = keyword || op != TextOp::Equals;
        Ok(match value {
            SigmaValue::String(_) => return self.transformed(key, recipe, op, keyword, value),
            SigmaValue::Null if as_text => return Err(key.value(value, "expected text")),
            SigmaValue::Null => vec![Predicate::Null],
            _ if as_text => {
                let tokens = vec![Token::Literal(value.to_string())];
                vec![text_predicate(key, &tokens, keyword_op(op, keyword), recipe.form())?]
            }
            SigmaValue::Integer(int) => vec![equal(Number::Int(*int))],
            SigmaValue::Float(float) => vec![equal(Number::Float(*float))],
            SigmaValue::Bool(bool) => vec![Predicate::Bool(*bool)],
        })
    }

    /// A text, through all transformations in the order in which they are written.
    fn transformed(
        &mut self,
        key: &Key,
        recipe: &Recipe,
        op: TextOp,
        keyword: bool,
        value: &SigmaValue,
    ) -> Result<Vec<Predicate>, Reason> {
        let SigmaValue::String(string) = value else { return Err(key.value(value, "expected text")) };
        let mut drafts = vec![Draft::Tokens(tokens(string))];
        for transform in &recipe.transforms {
            drafts = match transform {
                Transform::Expand => self.expand(key, string)?,
                other => apply(key, *other, drafts)?,
            };
            if drafts.len() > VALUE_VARIANTS_MAX {
                let detail = format!("it becomes more than {VALUE_VARIANTS_MAX} texts");
                return Err(key.value(value, &detail));
            }
        }
        let op = keyword_op(op, keyword);
        drafts
            .into_iter()
            .map(|draft| text_predicate(key, &draft.into_tokens(key)?, op, recipe.form()))
            .collect()
    }

    /// `%name%` by each of its values, which may have wildcards; `\%` is a per cent sign.
    fn expand(&self, key: &Key, string: &SigmaString) -> Result<Vec<Draft>, Reason> {
        let mut texts = vec![String::new()];
        let mut rest = string.original.as_str();
        while let Some(at) = rest.find('%') {
            let (before, after) =
                (rest.get(..at).unwrap_or_default(), rest.get(at.saturating_add(1)..).unwrap_or_default());
            let name = after.split_once('%');
            let (pieces, left) = match (before.strip_suffix('\\'), name) {
                (Some(before), _) => (vec![format!("{before}%")], after),
                (None, Some((name, left))) if !name.is_empty() => (self.filled(key, before, name)?, left),
                (None, _) => (vec![format!("{before}%")], after),
            };
            texts = texts
                .iter()
                .flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}")))
                .collect();
            if texts.len() > VALUE_VARIANTS_MAX {
                break;
            }
            rest = left;
        }
        Ok(texts
            .iter()
            .map(|text| Draft::Tokens(tokens(&SigmaString::new(&format!("{text}{rest}")))))
            .collect())
    }

    fn filled(&self, key: &Key, before: &str, name: &str) -> Result<Vec<String>, Reason> {
        match self.placeholders.get(name) {
            Some(values) if !values.is_empty() => {
                Ok(values.iter().map(|value| format!("{before}{value}")).collect())
            }
            _ => Err(Reason::Placeholder { item: key.text.clone(), name: name.to_owned() }),
        }
    }

    fn field_ref(
        &mut self,
        key: &Key,
        recipe: &Recipe,
        op: TextOp,
        value: &SigmaValue,
    ) -> Result<Predicate, Reason> {
        let name = match value {
            SigmaValue::String(string) => string.as_plain(),
            _ => None,
        };
        match name {
            Some(name) if !name.is_empty() => {
                let field = self.fields.intern(&unescape_brackets(&name));
                Ok(Predicate::FieldRef { field, op, form: recipe.form() })
            }
            _ => Err(key.value(value, "expected the name of a field, without wildcards")),
        }
    }
}

/// The key of an item: `CommandLine|contains|all`.
struct Key {
    text: String,
    field: Option<String>,
}

impl Key {
    fn of(field: &FieldSpec) -> Self {
        let name = field.name.as_deref().map(|name| unescape_brackets(name).into_owned());
        let mut text = name.clone().unwrap_or_default();
        for modifier in &field.modifiers {
            text.push('|');
            text.push_str(modifier_name(*modifier));
        }
        Self { text, field: name }
    }

    fn modifier(&self, detail: impl Into<String>) -> Reason {
        Reason::Modifier { item: self.text.clone(), detail: detail.into() }
    }

    fn value(&self, value: &SigmaValue, detail: &str) -> Reason {
        Reason::Value { item: self.text.clone(), value: format!("`{value}`"), detail: detail.to_owned() }
    }
}

/// What the modifiers of an item ask for.
struct Recipe {
    operator: Operator,
    transforms: Vec<Transform>,
    all: bool,
    negated: bool,
    cased: bool,
    /// `|windash` at the end: compared dash for dash.
    dashed: bool,
}

/// How values are compared in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Text(TextOp),
    Regex { insensitive: bool, lines: bool, dot_all: bool },
    Network,
    Exists,
    FieldRef(TextOp),
    Compare(Compare),
    Time(TimePart, Compare),
}

/// How a value is changed before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transform {
    Expand,
    Dashes,
    Utf16Le,
    Utf16Be,
    /// With byte order mark, little endian, as the specification's example shows.
    Utf16,
    Base64,
    Base64Offset,
}

impl Recipe {
    fn of(key: &Key, modifiers: &[Modifier]) -> Result<Self, Reason> {
        let mut recipe = Self {
            operator: Operator::Text(TextOp::Equals),
            transforms: Vec::new(),
            all: false,
            negated: false,
            cased: false,
            dashed: false,
        };
        for modifier in modifiers {
            recipe.add(key, *modifier)?;
        }
        recipe.finish(key)
    }

    fn add(&mut self, key: &Key, modifier: Modifier) -> Result<(), Reason> {
        use Modifier as M;
        match modifier {
            M::All => self.all = true,
            M::Cased => self.cased = true,
            M::Neq => self.negated = true,
            M::Contains => self.set_text(key, TextOp::Contains)?,
            M::StartsWith => self.set_text(key, TextOp::StartsWith)?,
            M::EndsWith => self.set_text(key, TextOp::EndsWith)?,
            M::Expand => self.transforms.push(Transform::Expand),
            M::WindAsh => self.transforms.push(Transform::Dashes),
            M::Wide => self.encode(key, Transform::Utf16Le)?,
            M::Utf16be => self.encode(key, Transform::Utf16Be)?,
            M::Utf16 => self.encode(key, Transform::Utf16)?,
            M::Base64 => self.encode(key, Transform::Base64)?,
            M::Base64Offset => self.encode(key, Transform::Base64Offset)?,
            M::Re => self.set(key, Operator::Regex { insensitive: false, lines: false, dot_all: false })?,
            M::Cidr => self.set(key, Operator::Network)?,
            M::Exists => self.set(key, Operator::Exists)?,
            M::FieldRef => self.set(key, Operator::FieldRef(TextOp::Equals))?,
            M::IgnoreCase | M::Multiline | M::DotAll => self.flag(key, modifier)?,
            M::Gt | M::Gte | M::Lt | M::Lte => self.compare(key, modifier)?,
            M::Minute | M::Hour | M::Day | M::Week | M::Month | M::Year => {
                self.set(key, Operator::Time(time_part(modifier), Compare::Equal))?;
            }
        }
        Ok(())
    }

    /// An operator that stands alone.
    fn set(&mut self, key: &Key, operator: Operator) -> Result<(), Reason> {
        if self.operator != Operator::Text(TextOp::Equals) || !self.transforms.is_empty() {
            return Err(
                key.modifier("these modifiers contradict each other: only one may say how to compare")
            );
        }
        self.operator = operator;
        Ok(())
    }

    fn set_text(&mut self, key: &Key, op: TextOp) -> Result<(), Reason> {
        self.operator = match self.operator {
            Operator::Text(TextOp::Equals) => Operator::Text(op),
            Operator::FieldRef(TextOp::Equals) => Operator::FieldRef(op),
            _ => {
                return Err(
                    key.modifier("these modifiers contradict each other: only one may say how to compare")
                );
            }
        };
        Ok(())
    }

    fn compare(&mut self, key: &Key, modifier: Modifier) -> Result<(), Reason> {
        let compare = match modifier {
            Modifier::Gt => Compare::Greater,
            Modifier::Gte => Compare::GreaterOrEqual,
            Modifier::Lt => Compare::Less,
            _ => Compare::LessOrEqual,
        };
        if let Operator::Time(part, Compare::Equal) = self.operator {
            self.operator = Operator::Time(part, compare);
            return Ok(());
        }
        self.set(key, Operator::Compare(compare))
    }

    fn flag(&mut self, key: &Key, modifier: Modifier) -> Result<(), Reason> {
        let Operator::Regex { insensitive, lines, dot_all } = &mut self.operator else {
            return Err(key.modifier("i, m and s are sub-modifiers of re"));
        };
        match modifier {
            Modifier::IgnoreCase => *insensitive = true,
            Modifier::Multiline => *lines = true,
            _ => *dot_all = true,
        }
        Ok(())
    }

    fn encode(&mut self, key: &Key, transform: Transform) -> Result<(), Reason> {
        if self.operator != Operator::Text(TextOp::Equals) {
            return Err(key.modifier(
                "an encoding must stand before what says how to compare: modifiers apply in order",
            ));
        }
        self.transforms.push(transform);
        Ok(())
    }

    fn finish(mut self, key: &Key) -> Result<Self, Reason> {
        let is_text = matches!(self.operator, Operator::Text(_));
        if !is_text && !self.transforms.is_empty() {
            return Err(key.modifier("expand, windash and encodings need a comparison of text"));
        }
        if self.transforms.iter().skip(1).any(|transform| *transform == Transform::Expand) {
            return Err(key.modifier("expand must stand before windash and encodings"));
        }
        let encodes = |transform: &Transform| !matches!(transform, Transform::Dashes | Transform::Expand);
        let after_encoding = self.transforms.iter().skip_while(|transform| !encodes(transform));
        if after_encoding.clone().any(|transform| *transform == Transform::Dashes) {
            return Err(key.modifier("windash must stand before encodings"));
        }
        if after_encoding.count() == 0 && self.transforms.contains(&Transform::Dashes) {
            self.transforms.retain(|transform| *transform != Transform::Dashes);
            self.dashed = true;
        }
        if self.transforms.contains(&Transform::Base64Offset)
            && self.operator == Operator::Text(TextOp::Equals)
        {
            self.operator = Operator::Text(TextOp::Contains);
        }
        Ok(self)
    }

    fn check_keyword(&self, key: &Key) -> Result<(), Reason> {
        match self.operator {
            Operator::Text(_) | Operator::Regex { .. } if !self.negated => Ok(()),
            _ => Err(key.modifier("keywords have no field: expected text or re")),
        }
    }

    fn transforms_nothing(&self) -> bool {
        self.transforms.is_empty() && !self.dashed
    }

    fn form(&self) -> Form {
        Form::new(self.cased, self.dashed)
    }
}

/// A value on its way through transformations.
enum Draft {
    Tokens(Vec<Token>),
    Bytes(Vec<u8>),
}

/// A piece of a text with wildcards.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Literal(String),
    One,
    Many,
}

impl Draft {
    fn into_tokens(self, key: &Key) -> Result<Vec<Token>, Reason> {
        match self {
            Self::Tokens(tokens) => Ok(tokens),
            Self::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(vec![Token::Literal(text)]),
                Err(_) => Err(key.modifier("what is encoded so is not text: expected a base64 after it")),
            },
        }
    }

    /// The text to encode, which must be plain.
    fn into_plain(self, key: &Key) -> Result<String, Reason> {
        match self.into_tokens(key)?.as_slice() {
            [] => Ok(String::new()),
            [Token::Literal(text)] => Ok(text.clone()),
            _ => Err(key.modifier("wildcards cannot be encoded")),
        }
    }

    fn into_bytes(self, key: &Key) -> Result<Vec<u8>, Reason> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            tokens @ Self::Tokens(_) => tokens.into_plain(key).map(String::into_bytes),
        }
    }
}

fn apply(key: &Key, transform: Transform, drafts: Vec<Draft>) -> Result<Vec<Draft>, Reason> {
    let mut out = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match transform {
            Transform::Expand => out.push(draft),
            Transform::Dashes => {
                let texts = dashes(&draft.into_plain(key)?).ok_or_else(|| {
                    key.modifier(format!("the dashes of one value make more than {VALUE_VARIANTS_MAX} texts"))
                })?;
                out.extend(texts.into_iter().map(|text| Draft::Tokens(vec![Token::Literal(text)])));
            }
            Transform::Utf16Le => out.push(utf16(&draft.into_plain(key)?, &[], u16::to_le_bytes)),
            Transform::Utf16Be => out.push(utf16(&draft.into_plain(key)?, &[], u16::to_be_bytes)),
            Transform::Utf16 => out.push(utf16(&draft.into_plain(key)?, &[0xff, 0xfe], u16::to_le_bytes)),
            Transform::Base64 => {
                out.push(Draft::Tokens(vec![Token::Literal(STANDARD.encode(draft.into_bytes(key)?))]));
            }
            Transform::Base64Offset => {
                let fragments = base64_fragments(&draft.into_bytes(key)?);
                if fragments.is_empty() {
                    return Err(key.modifier("the value is too short to be found inside a base64"));
                }
                out.extend(fragments.into_iter().map(|text| Draft::Tokens(vec![Token::Literal(text)])));
            }
        }
    }
    Ok(out)
}

/// All texts with each dash as each of the five. None when they are too many.
fn dashes(text: &str) -> Option<Vec<String>> {
    let mut texts = vec![String::with_capacity(text.len())];
    for char in text.chars() {
        if DASHES.contains(&char) {
            texts = texts
                .iter()
                .flat_map(|text| DASHES.iter().map(move |dash| format!("{text}{dash}")))
                .collect();
        } else {
            texts.iter_mut().for_each(|text| text.push(char));
        }
        if texts.len() > VALUE_VARIANTS_MAX {
            return None;
        }
    }
    Some(texts)
}

fn utf16(text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> Draft {
    Draft::Bytes(mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect())
}

/// What surely stands in the base64 of any bytes that hold these, for the three places where they may start: the characters
/// that depend on these bytes alone.
fn base64_fragments(bytes: &[u8]) -> Vec<String> {
    // Characters that the bytes before (shift 0, 1, 2) and the bytes after (rest 0, 1, 2) have a share in.
    const BEFORE: [usize; 3] = [0, 2, 3];
    const AFTER: [usize; 3] = [0, 3, 2];
    let mut fragments = Vec::with_capacity(BEFORE.len());
    for (shift, before) in BEFORE.into_iter().enumerate() {
        let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
        let encoded = STANDARD.encode(&padded);
        let after = AFTER.get(padded.len().checked_rem(3).unwrap_or_default()).copied().unwrap_or_default();
        let end = encoded.len().saturating_sub(after);
        if let Some(fragment) = encoded.get(before..end).filter(|fragment| !fragment.is_empty()) {
            fragments.push(fragment.to_owned());
        }
    }
    fragments
}

fn tokens(string: &SigmaString) -> Vec<Token> {
    string
        .parts
        .iter()
        .map(|part| match part {
            StringPart::Plain(text) => Token::Literal(text.clone()),
            StringPart::Special(SpecialChar::WildcardMulti) => Token::Many,
            StringPart::Special(SpecialChar::WildcardSingle) => Token::One,
        })
        .collect()
}

/// Keywords are looked for inside of what an event has.
fn keyword_op(op: TextOp, keyword: bool) -> TextOp {
    if keyword && op == TextOp::Equals { TextOp::Contains } else { op }
}

/// A text with its wildcards as the simplest predicate that means the same.
fn text_predicate(key: &Key, tokens: &[Token], op: TextOp, form: Form) -> Result<Predicate, Reason> {
    let mut pieces: Vec<Token> = Vec::with_capacity(tokens.len().saturating_add(2));
    let open_start = matches!(op, TextOp::Contains | TextOp::EndsWith).then_some(Token::Many);
    let open_end = matches!(op, TextOp::Contains | TextOp::StartsWith).then_some(Token::Many);
    for token in open_start.iter().chain(tokens).chain(&open_end) {
        if !(*token == Token::Many && pieces.last() == Some(&Token::Many)) {
            pieces.push(token.clone());
        }
    }
    let text = |op, needle: &str| Predicate::Text { op, form, needle: text::formed(needle, form) };
    Ok(match pieces.as_slice() {
        [] => text(TextOp::Equals, ""),
        [Token::Many] => text(TextOp::StartsWith, ""),
        [Token::Literal(needle)] => text(TextOp::Equals, needle),
        [Token::Literal(needle), Token::Many] => text(TextOp::StartsWith, needle),
        [Token::Many, Token::Literal(needle)] => text(TextOp::EndsWith, needle),
        [Token::Many, Token::Literal(needle), Token::Many] => {
            let needle = text::formed(needle, form);
            Predicate::Contains { form, finder: Box::new(Finder::new(needle.as_bytes()).into_owned()) }
        }
        pieces => wildcards(key, pieces, form)?,
    })
}

fn wildcards(key: &Key, pieces: &[Token], form: Form) -> Result<Predicate, Reason> {
    let mut pattern = String::from(r"(?s)\A");
    for piece in pieces {
        match piece {
            Token::Literal(text) => pattern.push_str(&regex::escape(&text::formed(text, form))),
            Token::One => pattern.push('.'),
            Token::Many => pattern.push_str(".*"),
        }
    }
    pattern.push_str(r"\z");
    Ok(Predicate::Pattern { form, regex: expression(key, &pattern)? })
}

fn regex(key: &Key, recipe: &Recipe, value: &SigmaValue) -> Result<Predicate, Reason> {
    let Operator::Regex { insensitive, lines, dot_all } = recipe.operator else {
        return Err(key.modifier("expected re"));
    };
    let pattern = match value {
        SigmaValue::String(string) => string.original.clone(),
        SigmaValue::Null => return Err(key.value(value, "expected a regular expression")),
        other => other.to_string(),
    };
    // Flags stand in the expression, so that its text says all of it.
    let flags = [(insensitive, "(?i)"), (lines, "(?m)"), (dot_all, "(?s)")];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    let regex = expression(key, &(flags + &text::formed(&pattern, Form::Exact)))?;
    Ok(Predicate::Pattern { form: Form::Exact, regex })
}

fn expression(key: &Key, pattern: &str) -> Result<Box<RegularExpression>, Reason> {
    let refused = |error| Reason::Regex { item: key.text.clone(), detail: one_line(&error) };
    RegularExpression::new(pattern).map(Box::new).map_err(refused)
}

/// The last line of the regex crate's drawing says what is wrong.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

fn network(key: &Key, value: &SigmaValue) -> Result<Predicate, Reason> {
    let SigmaValue::String(string) = value else { return Err(key.value(value, "expected a network")) };
    let network = network::network(&string.original);
    network.map(Predicate::Network).ok_or_else(|| key.value(value, "expected a network such as 10.0.0.0/8"))
}

fn number(key: &Key, value: &SigmaValue) -> Result<Number, Reason> {
    match value {
        SigmaValue::Integer(int) => Some(Number::Int(*int)),
        SigmaValue::Float(float) => Some(Number::Float(*float)),
        SigmaValue::String(string) => Number::parse(&string.original),
        SigmaValue::Bool(_) | SigmaValue::Null => None,
    }
    .ok_or_else(|| key.value(value, "expected a number"))
}

fn equal(number: Number) -> Predicate {
    Predicate::Number { compare: Compare::Equal, number }
}

fn exists(key: &Key, field: Option<usize>, values: &[SigmaValue]) -> Result<Node, Reason> {
    let Some(field) = field else { return Err(key.modifier("keywords have no field: expected text or re")) };
    match values {
        [SigmaValue::Bool(expected)] => Ok(Node::Exists { field, expected: *expected }),
        [SigmaValue::String(text)] if text.original.eq_ignore_ascii_case("true") => {
            Ok(Node::Exists { field, expected: true })
        }
        [SigmaValue::String(text)] if text.original.eq_ignore_ascii_case("false") => {
            Ok(Node::Exists { field, expected: false })
        }
        [value, ..] => Err(key.value(value, "expected one of true, false")),
        [] => Err(Reason::NoValue { item: key.text.clone() }),
    }
}

/// One item; or, with `|all` and values that became several, one for each value.
fn node(field: Option<usize>, recipe: &Recipe, predicates: Vec<Vec<Predicate>>, values: usize) -> Node {
    let one_each = predicates.iter().all(|variants| variants.len() == 1);
    let item = |predicates, all, negated| Node::Item(Item::new(field, predicates, all, negated));
    if !recipe.all || one_each {
        return item(predicates.into_iter().flatten().collect(), recipe.all && values > 1, recipe.negated);
    }
    let each = predicates.into_iter().map(|variants| item(variants, false, false)).collect();
    match field {
        Some(field) if recipe.negated => {
            let is_there = Node::Exists { field, expected: true };
            Node::All(vec![is_there, Node::Not(Box::new(Node::All(each)))])
        }
        _ if recipe.negated => Node::Not(Box::new(Node::All(each))),
        _ => Node::All(each),
    }
}

fn time_part(modifier: Modifier) -> TimePart {
    match modifier {
        Modifier::Minute => TimePart::Minute,
        Modifier::Hour => TimePart::Hour,
        Modifier::Day => TimePart::Day,
        Modifier::Week => TimePart::Week,
        Modifier::Month => TimePart::Month,
        _ => TimePart::Year,
    }
}

/// The modifier as rules write it, so that its line can be found.
fn modifier_name(modifier: Modifier) -> &'static str {
    use Modifier as M;
    match modifier {
        M::Contains => "contains",
        M::StartsWith => "startswith",
        M::EndsWith => "endswith",
        M::All => "all",
        M::Base64 => "base64",
        M::Base64Offset => "base64offset",
        M::Wide => "wide",
        M::Utf16be => "utf16be",
        M::Utf16 => "utf16",
        M::WindAsh => "windash",
        M::Re => "re",
        M::Cidr => "cidr",
        M::Cased => "cased",
        M::Exists => "exists",
        M::Expand => "expand",
        M::FieldRef => "fieldref",
        M::Gt => "gt",
        M::Gte => "gte",
        M::Lt => "lt",
        M::Lte => "lte",
        M::Neq => "neq",
        M::IgnoreCase => "i",
        M::Multiline => "m",
        M::DotAll => "s",
        M::Minute => "minute",
        M::Hour => "hour",
        M::Day => "day",
        M::Week => "week",
        M::Month => "month",
        M::Year => "year",
    }
}
