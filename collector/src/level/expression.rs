//! The expression language of conditions, read into a [`Condition`] with its types checked.
//!
//! ```text
//! or         = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | "(" or ")" | "known" "(" INPUT ")" | comparison
//! comparison = INPUT                                        a bool
//!            | INPUT ( "<" | "<=" | "==" | "!=" | ">=" | ">" ) NUMBER
//!            | INPUT ( "==" | "!=" ) NAME                   a choice
//!            | INPUT ( "==" | "!=" ) "{" NAME { "," NAME } "}"   a set that is this and nothing else
//!            | INPUT "in" "{" NAME { "," NAME } "}"         a choice that is one of these
//!            | NAME "in" INPUT                              a set that has this
//! ```
//!
//! Limits: `BYTES_MAX`, `DEPTH_MAX`. An error tells its place in the expression.

use crate::level::condition::{Comparison, Condition};
use crate::level::input::{Input, Kind};

/// Longest expression, in bytes: ten times the longest that a decree has needed.
const BYTES_MAX: usize = 4096;
/// Deepest nesting of brackets and `not`.
const DEPTH_MAX: usize = 32;
/// Words that name no input and no value.
const RESERVED: [&str; 5] = ["and", "or", "not", "in", "known"];

/// What is wrong with an expression, and where: bytes from its start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Reads an expression over these inputs.
pub(super) fn read(text: &str, inputs: &[Input]) -> Result<Condition, Fault> {
    if text.len() > BYTES_MAX {
        return Err(Fault {
            offset: 0,
            message: format!("expected at most {BYTES_MAX} bytes, found {}", text.len()),
        });
    }
    let mut reader = Reader { text, tokens: tokens(text)?, at: 0, depth: 0, inputs };
    let condition = reader.any()?;
    match reader.peek() {
        None => Ok(condition),
        Some(_) => Err(reader.expected("\"and\", \"or\" or the end")),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Number(i64),
    Compare(Comparison),
    /// One of `( ) { } ,`
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let offset = text.len().saturating_sub(rest.len());
        let (token, after) = token(rest, first).ok_or_else(|| Fault {
            offset,
            message: format!("expected a name, a number, a comparison or a bracket, found {first:?}"),
        })?;
        tokens.push((offset, token));
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Option<(Token<'_>, &str)> {
    for (sign, comparison) in [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ] {
        if let Some(after) = rest.strip_prefix(sign) {
            return Some((Token::Compare(comparison), after));
        }
    }
    if "(){},".contains(first) {
        return Some((Token::Sign(first), rest.get(1..)?));
    }
    let end = rest.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_')).unwrap_or(rest.len());
    let (word, after) = rest.split_at_checked(end)?;
    if first.is_ascii_digit() {
        return Some((Token::Number(word.replace('_', "").parse().ok()?), after));
    }
    first.is_ascii_alphabetic().then_some((Token::Word(word), after))
}

struct Reader<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token<'t>)>,
    at: usize,
    depth: usize,
    inputs: &'t [Input],
}

impl<'t> Reader<'t> {
    fn any(&mut self) -> Result<Condition, Fault> {
        let mut conditions = vec![self.all()?];
        while self.takes_word("or") {
            conditions.push(self.all()?);
        }
        Ok(one_or(conditions, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, Fault> {
        let mut conditions = vec![self.nested()?];
        while self.takes_word("and") {
            conditions.push(self.nested()?);
        }
        Ok(one_or(conditions, Condition::All))
    }

    /// A condition below the present one, within the limit of depth.
    fn nested(&mut self) -> Result<Condition, Fault> {
        if self.depth >= DEPTH_MAX {
            return Err(self.expected(&format!("at most {DEPTH_MAX} conditions within each other")));
        }
        self.depth = self.depth.saturating_add(1);
        let condition = self.single();
        self.depth = self.depth.saturating_sub(1);
        condition
    }

    fn single(&mut self) -> Result<Condition, Fault> {
        if self.takes_word("not") {
            return Ok(Condition::Not(Box::new(self.nested()?)));
        }
        if self.takes(Token::Sign('(')) {
            let condition = self.any()?;
            self.needs(')')?;
            return Ok(condition);
        }
        if self.takes_word("known") {
            self.needs('(')?;
            let input = self.input()?.0;
            self.needs(')')?;
            return Ok(Condition::Known(input));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, Fault> {
        if let Some((_, Token::Word("in"))) = self.tokens.get(self.at.saturating_add(1)) {
            return self.membership();
        }
        let (input, kind) = self.input()?;
        let comparison = match self.peek() {
            Some(Token::Compare(comparison)) => comparison,
            _ if *kind == Kind::Bool => return Ok(Condition::Is(input)),
            _ => return Err(self.expected("a comparison, because this input is no bool")),
        };
        self.advance();
        match kind {
            Kind::Bool => Err(self.back().expected("no comparison, because this input is a bool")),
            Kind::Integer { .. } => Ok(Condition::Number { input, comparison, number: self.number(kind)? }),
            Kind::Choice { .. } => {
                let negative = self.is_negative(comparison)?;
                Ok(negated(negative, Condition::Has { input, names: self.name(kind)? }))
            }
            Kind::Set { .. } => {
                let negative = self.is_negative(comparison)?;
                Ok(negated(negative, Condition::Equals { input, names: self.names(kind)? }))
            }
        }
    }

    /// `NAME in SET` or `CHOICE in {NAME, ...}`.
    fn membership(&mut self) -> Result<Condition, Fault> {
        let left = self.at;
        self.at = self.at.saturating_add(2);
        if self.peek() != Some(Token::Sign('{')) {
            let (input, kind) = self.input()?;
            if !matches!(kind, Kind::Set { .. }) {
                return Err(self.back().expected("an input that is a set, or a list of names in { }"));
            }
            let after = std::mem::replace(&mut self.at, left);
            let names = self.name(kind)?;
            self.at = after;
            return Ok(Condition::Has { input, names });
        }
        let after = std::mem::replace(&mut self.at, left);
        let (input, kind) = self.input()?;
        if !matches!(kind, Kind::Choice { .. }) {
            return Err(self.back().expected("an input that is a choice"));
        }
        self.at = after;
        Ok(Condition::Has { input, names: self.names(kind)? })
    }

    fn input(&mut self) -> Result<(usize, &'t Kind), Fault> {
        let inputs = self.inputs;
        let Some(Token::Word(name)) = self.peek().filter(|token| !is_reserved(token)) else {
            return Err(self.expected("the name of an input"));
        };
        let found = inputs.iter().enumerate().find(|(_, input)| input.name == name);
        let (position, input) = found.ok_or_else(|| self.expected("the name of an input"))?;
        self.advance();
        Ok((position, &input.kind))
    }

    fn name(&mut self, kind: &Kind) -> Result<u64, Fault> {
        let bit = match self.peek() {
            Some(Token::Word(name)) => kind.bit(name),
            _ => None,
        };
        let bit = bit.ok_or_else(|| {
            self.expected(&format!("{}: its type is {}", "a value of the input", kind.expected()))
        })?;
        self.advance();
        Ok(bit)
    }

    fn names(&mut self, kind: &Kind) -> Result<u64, Fault> {
        self.needs('{')?;
        let mut names = self.name(kind)?;
        while self.takes(Token::Sign(',')) {
            names |= self.name(kind)?;
        }
        self.needs('}')?;
        Ok(names)
    }

    fn number(&mut self, kind: &Kind) -> Result<i64, Fault> {
        let Kind::Integer { min, max } = kind else { return Err(self.expected("no number")) };
        match self.peek() {
            Some(Token::Number(number)) if (min..=max).contains(&&number) => {
                self.advance();
                Ok(number)
            }
            _ => Err(self.expected(&kind.expected())),
        }
    }

    fn is_negative(&mut self, comparison: Comparison) -> Result<bool, Fault> {
        match comparison {
            Comparison::Equal => Ok(false),
            Comparison::NotEqual => Ok(true),
            _ => Err(self.back().expected("== or !=, because names have no order")),
        }
    }

    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).map(|(_, token)| *token)
    }

    fn advance(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Goes to the token before: the one that is wrong.
    fn back(&mut self) -> &Self {
        self.at = self.at.saturating_sub(1);
        self
    }

    fn takes(&mut self, token: Token<'_>) -> bool {
        let taken = self.peek() == Some(token);
        if taken {
            self.advance();
        }
        taken
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(Token::Word(word))
    }

    fn needs(&mut self, sign: char) -> Result<(), Fault> {
        if self.takes(Token::Sign(sign)) { Ok(()) } else { Err(self.expected(&format!("{sign:?}"))) }
    }

    fn expected(&self, expected: &str) -> Fault {
        let end = (self.text.len(), None);
        let (offset, token) = self.tokens.get(self.at).map_or(end, |(offset, token)| (*offset, Some(token)));
        let found = match token {
            None => "the end".to_owned(),
            Some(Token::Word(word)) => format!("{word:?}"),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Compare(_)) => "a comparison".to_owned(),
            Some(Token::Sign(sign)) => format!("{sign:?}"),
        };
        Fault { offset, message: format!("expected {expected}, found {found}") }
    }
}

fn is_reserved(token: &Token<'_>) -> bool {
    matches!(token, Token::Word(word) if RESERVED.contains(word))
}

fn one_or(mut conditions: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match (conditions.pop(), conditions.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            conditions.extend(last);
            several(conditions)
        }
    }
}

fn negated(negative: bool, condition: Condition) -> Condition {
    if negative { Condition::Not(Box::new(condition)) } else { condition }
}
