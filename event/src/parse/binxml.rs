//! Binary XML as Windows event logs hold it ([MS-EVEN6] 2.2.12 and following): tokens in, the fields of an event out.
//!
//! A record is a template of its chunk, filled with values; both are walked at once and no tree is built, or the template is
//! compiled (`binxml/template.rs`). Elements become
//! fields by their place: those of `System` and `EventData` by their own name (`<Data Name="Image">` by the attribute), those
//! of `UserData` without the provider's element around them, deeper ones with dots, attributes behind an underscore
//! (`Provider_Name`); namespaces are no part of the event. An array is a field several times, an element without text is null,
//! and one that depends on a value that is not there (2.2.12, DependencyId) is not there.
//!
//! Values are written as Windows writes them: 64 bits hexadecimal as `0x1f`, times with seven digits, GUIDs in braces.
//!
//! Limits: [`FIELDS_MAX`] fields and [`TEXT_BYTES_MAX`] bytes of text an event, since a template may place a value as often
//! as it likes, also where it is no field and its text is cut off again; [`TOKENS_MAX`] tokens and values and [`DEPTH_MAX`] levels,
//! since templates may name one another; [`NAME_BYTES_MAX`] for a name with those around it, and [`NAMES_BYTES_MAX`] for all that
//! are remembered; [`BLOCK_TEXT_BYTES_MAX`] and [`BLOCK_CELLS_MAX`] for the records of a block together. Beyond the fields the rest
//! is left out; beyond the others the record ends there as one that is broken does.

mod template;

use std::collections::HashMap;
use std::io::Write as _;
use std::ops::Range;

use thiserror::Error;

use super::{text, time};
use crate::FIELDS_MAX;
use template::{Known, Programs};

/// Most text that is written of an event. A record has at most 64 KiB.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Text and fields of a block after which no further record is read. A block of 256 KiB comes to 1 MB and some ten thousand
/// fields; a template that records share may make a thousand times as much of it.
const BLOCK_TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
const BLOCK_CELLS_MAX: usize = 256 * 1024;

/// Text and fields for which room is kept from block to block.
const TEXT_BYTES_KEPT_MAX: usize = 4 * 1024 * 1024;
const CELLS_KEPT_MAX: usize = 64 * 1024;

/// Most tokens of a record and values of its templates: a thousand elements have some 8,000.
const TOKENS_MAX: usize = 64 * 1024;

/// Deepest nesting of elements and templates. `UserData` of Windows' own providers reaches 6.
const DEPTH_MAX: usize = 24;

/// Names are remembered by their place in the chunk. A power of two; a chunk has some hundred names.
const PLACES: usize = 512;

/// Longest name of a field, with the names that it lies in: as for JSON lines. A name may be as long as its chunk, and those of
/// one chunk may lie in each other.
const NAME_BYTES_MAX: usize = 512;

/// Bytes of names kept from block to block. Windows' providers use some thousands of names, 150 bytes each with what a table
/// needs for it.
const NAMES_BYTES_KEPT_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of names: as much again for a block that has other names than those before.
const NAMES_BYTES_MAX: usize = 2 * NAMES_BYTES_KEPT_MAX;

/// What a name takes besides its own bytes, which stand there twice.
const NAME_ENTRY_BYTES: usize = 96;

/// The `DependencyId` of an element that depends on nothing.
const INDEPENDENT: u16 = 0xffff;

/// Why a record ends before its end.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("{what} at byte {offset} of its chunk")]
pub(super) struct Broken {
    pub(super) what: &'static str,
    pub(super) offset: usize,
}

/// Why a name is not read.
const NAME_BEYOND: &str = "a name that is too long, or one too many";

/// Why a record is not begun.
const BLOCK_FULL: &str = "a record of a block that expands too far";

/// Fields of many events: names once, the text of all values in one.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) names: Names,
    /// Values, one a line: UTF-8, looked at once when all of it is there ([`Cells::take_text`]).
    text: Vec<u8>,
    pub(super) cells: Vec<(usize, Cell)>,
    programs: Programs,
}

/// A value: text is a piece of the common one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Range<usize>),
}

/// Names, each once.
#[derive(Debug)]
pub(super) struct Names {
    list: Vec<Name>,
    ids: HashMap<String, usize>,
    /// A name that is being read.
    spelt: Vec<u8>,
    /// What all of them take of memory, about.
    bytes: usize,
}

/// A name of a field.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) has_blank: bool,
}

/// Names that say where in the event an element stands, in the order of [`Names::default`].
const EVENT: usize = 0;
const SYSTEM: usize = 1;
const EVENT_DATA: usize = 2;
const USER_DATA: usize = 3;
const DATA: usize = 4;
const NAME: usize = 5;
const XMLNS: usize = 6;
const KNOWN: [&str; 7] = ["Event", "System", "EventData", "UserData", "Data", "Name", "xmlns"];

impl Default for Names {
    fn default() -> Self {
        let mut names = Self { list: Vec::new(), ids: HashMap::new(), spelt: Vec::new(), bytes: 0 };
        for name in KNOWN {
            let _id = names.id(name);
        }
        names
    }
}

impl Names {
    pub(super) fn get(&self, id: usize) -> Option<&Name> {
        self.list.get(id)
    }

    fn text(&self, id: usize) -> &str {
        self.get(id).map_or("", |name| &name.text)
    }

    /// The number of a name. `None`: it is too long, or there are too many.
    fn id(&mut self, name: &str) -> Option<usize> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        let bytes = name.len().saturating_mul(2).saturating_add(NAME_ENTRY_BYTES).saturating_add(self.bytes);
        if name.len() > NAME_BYTES_MAX || bytes > NAMES_BYTES_MAX {
            return None;
        }
        let id = self.list.len();
        self.bytes = bytes;
        self.list.push(Name { text: name.to_owned(), has_blank: name.contains(' ') });
        self.ids.insert(name.to_owned(), id);
        Some(id)
    }

    fn id_of_utf16(&mut self, bytes: &[u8]) -> Option<usize> {
        // A unit is a byte at least, so that a longer one need not be spelt.
        if bytes.len().div_euclid(2) > NAME_BYTES_MAX {
            return None;
        }
        let mut spelt = std::mem::take(&mut self.spelt);
        spelt.clear();
        text::push_utf16(&mut spelt, bytes);
        let id = self.id(str::from_utf8(&spelt).unwrap_or_default());
        self.spelt = spelt;
        id
    }

    fn join(&mut self, first: usize, between: char, second: usize) -> Option<usize> {
        self.id(&format!("{}{between}{}", self.text(first), self.text(second)))
    }
}

/// Reads the records of one chunk.
pub(super) struct Reader<'c, 'o> {
    chunk: &'c [u8],
    out: &'o mut Cells,
    /// Values of the templates that are being filled, the outermost first.
    slots: Vec<Slot>,
    /// By the lowest bits of a place in the chunk: the place and what its name belongs to, and the name in full.
    places: Vec<((usize, Within), usize)>,
    templates: Known,
    /// Whether templates are compiled. What is read is the same.
    compiles: bool,
    record: Limits,
}

/// What a record has used of its limits.
#[derive(Default)]
struct Limits {
    tokens: usize,
    depth: usize,
    /// Cells before the record.
    cells: usize,
    /// At which length the text of all cells is too long. What is cut off again makes it less.
    text_end: usize,
    /// Elements around that are not there.
    absent: usize,
    /// Where it ends in the chunk: names and templates stand where they are used first, never behind that.
    end: usize,
}

/// A value to fill in.
#[derive(Clone, Copy, Debug)]
struct Slot {
    kind: u8,
    start: usize,
    end: usize,
}

/// Which values a stream of tokens fills in.
#[derive(Clone, Copy)]
struct Scope {
    first: usize,
    count: usize,
    /// Elements of a template definition say what they depend on; those of a record do not.
    is_template: bool,
}

/// What a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Within {
    Nothing,
    Element(usize),
    AttributesOf(usize),
}

/// Where in the event an element stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Root,
    Event,
    /// `System`, `EventData`, or the one element within `UserData`: what is in it are fields.
    Fields,
    UserData,
    Field(usize),
    Nowhere,
}

/// An element, or an attribute, that is being read.
struct Element {
    at: At,
    value: Option<Cell>,
    /// Where its text starts.
    start: usize,
    /// It has no value because it has elements, or several values.
    is_null: bool,
}

/// A place in the chunk, and the end of the stream.
#[derive(Clone, Copy)]
struct Cursor<'c> {
    chunk: &'c [u8],
    at: usize,
    end: usize,
}

impl<'c> Cursor<'c> {
    fn take(&mut self, what: &'static str, need: usize) -> Result<&'c [u8], Broken> {
        let end = self.at.checked_add(need).filter(|end| *end <= self.end);
        let found = end.and_then(|end| Some((end, self.chunk.get(self.at..end)?)));
        let (end, bytes) = found.ok_or(Broken { what, offset: self.at })?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Broken> {
        let offset = self.at;
        self.take(what, N)?.try_into().map_err(|_| Broken { what, offset })
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Broken> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, Broken> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Broken> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A 32-bit place or length.
    fn size(&mut self, what: &'static str) -> Result<usize, Broken> {
        Ok(usize::try_from(self.u32(what)?).unwrap_or(usize::MAX))
    }

    /// UTF-16 behind the number of its characters.
    fn counted_text(&mut self, what: &'static str) -> Result<&'c [u8], Broken> {
        let units = usize::from(self.u16(what)?);
        self.take(what, units.saturating_mul(2))
    }

    fn peek(&self) -> Option<u8> {
        self.chunk.get(self.at).copied().filter(|_| self.at < self.end)
    }
}

impl<'c, 'o> Reader<'c, 'o> {
    pub(super) fn new(chunk: &'c [u8], out: &'o mut Cells) -> Self {
        let places = vec![((usize::MAX, Within::Nothing), 0); PLACES];
        let (slots, templates, record) = (Vec::new(), Known::new(), Limits::default());
        Self { chunk, out, slots, places, templates, compiles: true, record }
    }

    /// Reads the binary XML in a range of the chunk. What stood before a break is in the cells all the same.
    pub(super) fn record(&mut self, range: Range<usize>) -> Result<(), Broken> {
        let text_end = self.out.text.len().saturating_add(TEXT_BYTES_MAX).saturating_add(1);
        self.record = Limits { cells: self.out.cells.len(), text_end, end: range.end, ..Limits::default() };
        self.slots.clear();
        if self.out.is_full() {
            return Err(Broken { what: BLOCK_FULL, offset: range.start });
        }
        let mut cursor = self.cursor(range.start, range.end);
        let scope = Scope { first: 0, count: 0, is_template: false };
        self.content(&mut cursor, scope, &mut Element::new(At::Root))
    }

    /// How many cells and bytes of text there are.
    pub(super) fn written(&self) -> (usize, usize) {
        (self.out.cells.len(), self.out.text.len())
    }

    fn cursor(&self, at: usize, end: usize) -> Cursor<'c> {
        Cursor { chunk: self.chunk, at, end }
    }

    /// Reads what is in an element, behind its start, to its end or that of the stream.
    fn content(
        &mut self,
        cursor: &mut Cursor<'c>,
        scope: Scope,
        element: &mut Element,
    ) -> Result<(), Broken> {
        while let Some(token) = cursor.peek() {
            self.spend(cursor)?;
            if is_value(token) {
                self.value(cursor, scope, element)?;
                continue;
            }
            cursor.at = cursor.at.saturating_add(1);
            match token {
                0x00 | 0x04 => return Ok(()),
                0x01 | 0x41 => {
                    self.flush(element);
                    element.is_null = false;
                    self.nested(|reader| reader.element(cursor, scope, token == 0x41, element.at))?;
                }
                0x0a => drop(self.name(cursor, Within::Nothing)?),
                0x0b => drop(cursor.counted_text("instruction")?),
                0x0c => self.nested(|reader| reader.template(cursor, element))?,
                0x0f => drop(cursor.take("header of a fragment", 3)?),
                _ => return Err(Broken { what: "an unknown token", offset: cursor.at }),
            }
        }
        Ok(())
    }

    /// One level deeper.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Broken>) -> Result<(), Broken> {
        self.record.depth = self.record.depth.saturating_add(1);
        let done = if self.record.depth > DEPTH_MAX {
            Err(Broken { what: "too many levels", offset: 0 })
        } else {
            read(self)
        };
        self.record.depth = self.record.depth.saturating_sub(1);
        done
    }

    fn element(
        &mut self,
        cursor: &mut Cursor<'c>,
        scope: Scope,
        has_attributes: bool,
        parent: At,
    ) -> Result<(), Broken> {
        let depends_on = if scope.is_template { cursor.u16("dependency")? } else { INDEPENDENT };
        let _bytes = cursor.u32("size of an element")?;
        let within = if let At::Field(outer) = parent { Within::Element(outer) } else { Within::Nothing };
        let name = self.name(cursor, within)?;
        let is_absent = depends_on != INDEPENDENT && self.slot(scope, depends_on).is_none();
        self.record.absent = self.record.absent.saturating_add(usize::from(is_absent));
        let mut element = Element::new(child(parent, name));
        if has_attributes {
            let _bytes = cursor.u32("size of attributes")?;
            self.attributes(cursor, scope, parent, name, &mut element)?;
        }
        match cursor.u8("end of a start tag")? {
            0x02 => self.content(cursor, scope, &mut element)?,
            0x03 => {}
            _ => return Err(Broken { what: "a start tag without its end", offset: cursor.at }),
        }
        self.flush(&mut element);
        if element.is_null {
            self.push(element.at, Cell::Null);
        }
        self.record.absent = self.record.absent.saturating_sub(usize::from(is_absent));
        Ok(())
    }

    fn attributes(
        &mut self,
        cursor: &mut Cursor<'c>,
        scope: Scope,
        parent: At,
        element_name: usize,
        element: &mut Element,
    ) -> Result<(), Broken> {
        while let Some(0x06 | 0x46) = cursor.peek() {
            cursor.at = cursor.at.saturating_add(1);
            let mut behind = *cursor;
            if (parent, element_name) == (At::Fields, DATA)
                && self.name(&mut behind, Within::Nothing)? == NAME
            {
                *cursor = behind;
                element.at = self.data_name(cursor, scope)?.map_or(element.at, At::Field);
                continue;
            }
            let mut attribute = Element::new(At::Nowhere);
            if let At::Field(outer) = element.at {
                attribute.at = At::Field(self.name(cursor, Within::AttributesOf(outer))?);
            } else {
                self.name(cursor, Within::Nothing)?;
            }
            self.values(cursor, scope, &mut attribute)?;
            self.flush(&mut attribute);
            element.is_null &= attribute.is_null;
        }
        Ok(())
    }

    /// The name that an element `Data` has by its attribute; none when that is empty.
    fn data_name(&mut self, cursor: &mut Cursor<'c>, scope: Scope) -> Result<Option<usize>, Broken> {
        let place = (cursor.at, Within::Nothing);
        let is_text = cursor.peek() == Some(0x05);
        if let Some(name) = self.place(place).filter(|_| is_text) {
            cursor.take("value", 2)?;
            cursor.counted_text("text")?;
            return Ok(Some(name));
        }
        let mut attribute = Element::new(At::Nowhere);
        let start = self.out.text.len();
        self.value(cursor, scope, &mut attribute)?;
        let is_all = !cursor.peek().is_some_and(is_value);
        self.values(cursor, scope, &mut attribute)?;
        let name = self.out.text.get(start..).and_then(|name| str::from_utf8(name).ok());
        let name = name.filter(|name| !name.is_empty());
        let known = name.map(|name| self.out.names.id(name));
        self.cut_text(start);
        let Some(name) = known else { return Ok(None) };
        let name = name.ok_or(Broken { what: NAME_BEYOND, offset: place.0 })?;
        if is_text && is_all {
            self.remember(place, name);
        }
        Ok(Some(name))
    }

    /// Reads the value of an attribute.
    fn values(&mut self, cursor: &mut Cursor<'c>, scope: Scope, element: &mut Element) -> Result<(), Broken> {
        while cursor.peek().is_some_and(is_value) {
            self.spend(cursor)?;
            self.value(cursor, scope, element)?;
        }
        Ok(())
    }

    /// Reads a token that is a value, or a part of one.
    fn value(&mut self, cursor: &mut Cursor<'c>, scope: Scope, element: &mut Element) -> Result<(), Broken> {
        match cursor.u8("value")? {
            0x05 | 0x45 => {
                let offset = cursor.at;
                if cursor.u8("type of a value")? != 0x01 {
                    return Err(Broken { what: "a value that is no text", offset });
                }
                self.scalar(0x01, cursor.counted_text("text")?, element);
            }
            0x07 | 0x47 => self.scalar(0x01, cursor.counted_text("text")?, element),
            0x08 | 0x48 => self.scalar(0x01, &cursor.array::<2>("character")?, element),
            0x09 | 0x49 => {
                let name = self.name(cursor, Within::Nothing)?;
                self.entity(name, element);
            }
            _ => {
                let id = cursor.u16("substitution")?;
                let _declared = cursor.u8("type of a substitution")?;
                if let Some(slot) = self.slot(scope, id) {
                    self.fill(slot, element)?;
                }
            }
        }
        Ok(())
    }

    /// Counts a token, and looks at the text that came of those before.
    fn spend(&mut self, cursor: &Cursor<'c>) -> Result<(), Broken> {
        self.record.tokens = self.record.tokens.saturating_add(1);
        if self.record.tokens > TOKENS_MAX || self.is_text_too_long() {
            return Err(Broken { what: "a record that expands too far", offset: cursor.at });
        }
        Ok(())
    }

    fn is_text_too_long(&self) -> bool {
        self.out.text.len() >= self.record.text_end
    }

    /// Cuts off text that is no field's. It was work all the same, and there may be a long one for each token.
    fn cut_text(&mut self, start: usize) {
        let bytes = self.out.text.len().saturating_sub(start);
        self.out.text.truncate(start);
        self.spend_text(bytes.saturating_add(1));
    }

    fn spend_text(&mut self, bytes: usize) {
        self.record.text_end = self.record.text_end.saturating_sub(bytes);
    }

    fn entity(&mut self, name: usize, element: &mut Element) {
        let unit = match self.out.names.text(name) {
            "lt" => b'<',
            "gt" => b'>',
            "amp" => b'&',
            "quot" => b'"',
            "apos" => b'\'',
            _ => return,
        };
        self.scalar(0x01, &[unit, 0], element);
    }

    /// The value of a number; none when it is null or is not there.
    fn slot(&self, scope: Scope, id: u16) -> Option<Slot> {
        let id = usize::from(id);
        let slot = self.slots.get(scope.first.saturating_add(id)).filter(|_| id < scope.count);
        slot.copied().filter(|slot| slot.kind != 0)
    }

    /// Puts a value into an element: text or a number, several of them, or elements. What is in an element that is not there is
    /// not looked at.
    fn fill(&mut self, slot: Slot, element: &mut Element) -> Result<(), Broken> {
        if self.record.absent > 0 {
            return Ok(());
        }
        let mut cursor = self.cursor(slot.start, slot.end);
        if slot.kind == 0x21 {
            let scope = Scope { first: 0, count: 0, is_template: false };
            return self.nested(|reader| reader.content(&mut cursor, scope, element));
        }
        let bytes = cursor.take("value", slot.end.saturating_sub(slot.start))?;
        match slot.kind.checked_sub(0x80) {
            Some(kind) => self.list(kind, bytes, element),
            None => self.scalar(slot.kind, bytes, element),
        }
        Ok(())
    }

    /// Each value of an array is one of the element's.
    fn list(&mut self, kind: u8, bytes: &[u8], element: &mut Element) {
        // Also those that come to no text are gone through.
        self.spend_text(bytes.len());
        let width = match kind {
            0x01 => return self.texts(bytes, element),
            0x03 | 0x04 => 1,
            0x05 | 0x06 => 2,
            0x07 | 0x08 | 0x0b | 0x0d | 0x14 => 4,
            0x0f | 0x12 => 16,
            _ => 8,
        };
        for bytes in bytes.chunks_exact(width) {
            self.one_of_several(kind, bytes, element);
        }
    }

    /// Texts that end with a zero each.
    fn texts(&mut self, bytes: &[u8], element: &mut Element) {
        let bytes = bytes.strip_suffix(&[0, 0]).unwrap_or(bytes);
        for units in bytes.as_chunks::<2>().0.split(|unit| *unit == [0, 0]) {
            self.one_of_several(0x01, units.as_flattened(), element);
        }
    }

    fn one_of_several(&mut self, kind: u8, bytes: &[u8], element: &mut Element) {
        self.flush(element);
        self.scalar(kind, bytes, element);
        self.flush(element);
        element.is_null = false;
    }

    /// Appends a value to that of an element.
    fn scalar(&mut self, kind: u8, bytes: &[u8], element: &mut Element) {
        if element.value.is_none() {
            element.start = self.out.text.len();
            element.value = self.out.write(kind, bytes);
        } else if self.out.write(kind, bytes).is_some() {
            element.value = Some(Cell::Text(element.start..self.out.text.len()));
        }
    }

    /// Makes the value that an element has so far a field.
    fn flush(&mut self, element: &mut Element) {
        let Some(value) = element.value.take() else { return };
        element.is_null = false;
        if self.push(element.at, value) {
            self.out.text.push(b'\n');
        } else {
            self.cut_text(element.start);
        }
    }

    fn push(&mut self, at: At, value: Cell) -> bool {
        let At::Field(name) = at else { return false };
        if name == XMLNS {
            return false;
        }
        let fields = self.out.cells.len().saturating_sub(self.record.cells);
        let is_there = self.record.absent == 0 && fields < FIELDS_MAX;
        if is_there {
            self.out.cells.push((name, value));
        }
        is_there
    }

    /// Fills a template of the chunk. Where it is used first, its definition stands in the midst.
    fn template(&mut self, cursor: &mut Cursor<'c>, element: &mut Element) -> Result<(), Broken> {
        cursor.take("template", 5)?;
        let place = self.defined(cursor.size("place of a template")?)?;
        let mut definition = self.cursor(place, self.chunk.len());
        definition.take("definition of a template", 20)?;
        let bytes = definition.size("size of a template")?;
        definition.end = definition.at.saturating_add(bytes).min(definition.end);
        if cursor.at == place {
            cursor.at = definition.end;
        }
        let count = cursor.size("number of values")?;
        let sizes = cursor.take("sizes of values", count.saturating_mul(4))?;
        self.record.tokens = self.record.tokens.saturating_add(count);
        let first = self.slots.len();
        for [low, high, kind, _] in sizes.as_chunks::<4>().0 {
            let start = cursor.at;
            cursor.take("value", usize::from(u16::from_le_bytes([*low, *high])))?;
            self.slots.push(Slot { kind: *kind, start, end: cursor.at });
        }
        let scope = Scope { first, count, is_template: true };
        match self.program(definition, element.at) {
            Some(program) => self.run(&program, scope, element)?,
            None => self.content(&mut definition, scope, element)?,
        }
        self.slots.truncate(first);
        Ok(())
    }

    /// A name, by its place. Where it is used first, it stands in the midst.
    fn name(&mut self, cursor: &mut Cursor<'c>, within: Within) -> Result<usize, Broken> {
        let place = self.defined(cursor.size("name")?)?;
        if cursor.at == place {
            cursor.take("name", 6)?;
            cursor.counted_text("name")?;
            cursor.take("end of a name", 2)?;
        }
        if let Some(name) = self.place((place, within)) {
            return Ok(name);
        }
        let mut there = self.cursor(place, self.chunk.len());
        there.take("name", 6)?;
        let own = there.counted_text("name")?;
        if own.is_empty() {
            return Err(Broken { what: "a name without a character", offset: place });
        }
        let names = &mut self.out.names;
        let beyond = Broken { what: NAME_BEYOND, offset: place };
        let own = names.id_of_utf16(own).ok_or(beyond)?;
        let name = match within {
            Within::Nothing => Some(own),
            Within::Element(outer) => names.join(outer, '.', own),
            Within::AttributesOf(_) if own == XMLNS => Some(XMLNS),
            Within::AttributesOf(outer) => names.join(outer, '_', own),
        };
        let name = name.ok_or(beyond)?;
        self.remember((place, within), name);
        Ok(name)
    }

    /// A place at which a name or a template may stand.
    fn defined(&self, place: usize) -> Result<usize, Broken> {
        let beyond = Broken { what: "a name or template behind the record", offset: place };
        if place < self.record.end { Ok(place) } else { Err(beyond) }
    }

    fn place(&self, place: (usize, Within)) -> Option<usize> {
        let (known, name) = self.places.get(place.0 % PLACES)?;
        (*known == place).then_some(*name)
    }

    fn remember(&mut self, place: (usize, Within), name: usize) {
        if let Some(known) = self.places.get_mut(place.0 % PLACES) {
            *known = (place, name);
        }
    }
}

/// Whether a token is a value or a part of one.
fn is_value(token: u8) -> bool {
    matches!(token, 0x05 | 0x45 | 0x07 | 0x47 | 0x08 | 0x48 | 0x09 | 0x49 | 0x0d | 0x0e)
}

/// Where an element stands. Within a field, its name is joined to that one's.
fn child(parent: At, name: usize) -> At {
    match (parent, name) {
        (At::Root, EVENT) => At::Event,
        (At::Event, SYSTEM | EVENT_DATA) | (At::UserData, _) => At::Fields,
        (At::Event, USER_DATA) => At::UserData,
        (At::Event | At::Fields | At::Field(_), name) => At::Field(name),
        (At::Root | At::Nowhere, _) => At::Nowhere,
    }
}

impl Element {
    fn new(at: At) -> Self {
        Self { at, value: None, start: 0, is_null: true }
    }
}

impl Cells {
    /// Whether the events come to so much that no more are to be read.
    fn is_full(&self) -> bool {
        self.text.len() >= BLOCK_TEXT_BYTES_MAX || self.cells.len() >= BLOCK_CELLS_MAX
    }

    /// Forgets all events. Names are kept for the next, and room, unless they have become many.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
        self.cells.shrink_to(CELLS_KEPT_MAX);
        if self.names.bytes > NAMES_BYTES_KEPT_MAX {
            self.names = Names::default();
            self.programs = Programs::default();
        }
    }

    /// The text of all values, in place of one that is not needed any more.
    pub(super) fn take_text(&mut self, mut spare: String) -> String {
        spare.clear();
        spare.shrink_to(TEXT_BYTES_KEPT_MAX);
        let text = std::mem::replace(&mut self.text, spare.into_bytes());
        String::from_utf8(text).unwrap_or_default()
    }

    /// Writes a value as text. None: nothing is there, or the bytes are no such value.
    fn write(&mut self, kind: u8, bytes: &[u8]) -> Option<Cell> {
        let start = self.text.len();
        let int = match kind {
            0x03 => i64::from(i8::from_le_bytes(bytes.try_into().ok()?)),
            0x04 => i64::from(u8::from_le_bytes(bytes.try_into().ok()?)),
            0x05 => i64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
            0x06 => i64::from(u16::from_le_bytes(bytes.try_into().ok()?)),
            0x07 => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            0x08 => i64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
            0x09 => i64::from_le_bytes(bytes.try_into().ok()?),
            0x0a => {
                let number = u64::from_le_bytes(bytes.try_into().ok()?);
                match i64::try_from(number) {
                    Ok(int) => int,
                    // Above i64 the digits are kept, as text.
                    Err(_) => return self.shown(start, number),
                }
            }
            0x0d => match i32::from_le_bytes(bytes.try_into().ok()?) {
                flag @ (0 | 1) => {
                    self.text.extend_from_slice(if flag == 1 { b"true" } else { b"false" });
                    return Some(Cell::Bool(flag == 1));
                }
                bits => i64::from(bits),
            },
            _ => return self.write_other(kind, bytes, start),
        };
        text::push_int(&mut self.text, int);
        Some(Cell::Int(int))
    }

    fn write_other(&mut self, kind: u8, bytes: &[u8], start: usize) -> Option<Cell> {
        match (kind, bytes.len()) {
            (0x01, _) => {
                text::push_utf16(&mut self.text, bytes);
                Some(Cell::Text(start..self.text.len()))
            }
            (0x02, _) => {
                let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                let chars = bytes.iter().map(|byte| text::windows_1252(*byte));
                self.text.extend_from_slice(chars.collect::<String>().as_bytes());
                Some(Cell::Text(start..self.text.len()))
            }
            (0x0b, 4) => self.float(f32::from_le_bytes(bytes.try_into().ok()?).into(), start),
            (0x0c, 8) => self.float(f64::from_le_bytes(bytes.try_into().ok()?), start),
            (0x0e, _) => {
                let digits = bytes.iter().flat_map(|byte| text::hex(*byte));
                self.text.extend(digits.map(|digit| digit.to_ascii_uppercase()));
                Some(Cell::Text(start..self.text.len()))
            }
            (0x0f, 16) => self.guid(bytes, start),
            (0x10 | 0x14, 4) => self.hexadecimal(u32::from_le_bytes(bytes.try_into().ok()?).into(), start),
            (0x10 | 0x15, 8) => self.hexadecimal(u64::from_le_bytes(bytes.try_into().ok()?), start),
            (0x11, 8) => {
                time::push_filetime(&mut self.text, u64::from_le_bytes(bytes.try_into().ok()?));
                Some(Cell::Text(start..self.text.len()))
            }
            (0x12, 16) => self.system_time(bytes, start),
            (0x13, _) => self.sid(bytes, start),
            _ => None,
        }
    }

    fn shown(&mut self, start: usize, shown: impl std::fmt::Display) -> Option<Cell> {
        write!(self.text, "{shown}").ok()?;
        Some(Cell::Text(start..self.text.len()))
    }

    fn hexadecimal(&mut self, number: u64, start: usize) -> Option<Cell> {
        text::push_hex_number(&mut self.text, number);
        Some(Cell::Text(start..self.text.len()))
    }

    fn float(&mut self, float: f64, start: usize) -> Option<Cell> {
        self.shown(start, float)?;
        Some(Cell::Float(float))
    }

    fn guid(&mut self, bytes: &[u8], start: usize) -> Option<Cell> {
        let (head, tail) = bytes.split_first_chunk::<8>()?;
        let [a, b, c, d, e, f, g, h] = *head;
        let (mut shown, mut at) = (*b"{00000000-0000-0000-0000-000000000000}", 1_usize);
        for (index, byte) in (0..).zip([d, c, b, a, f, e, h, g].iter().chain(tail)) {
            at = at.saturating_add(usize::from(matches!(index, 4 | 6 | 8 | 10)));
            if let Some(pair) = shown.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
                *pair = text::hex(*byte);
            }
            at = at.saturating_add(2);
        }
        self.text.extend_from_slice(&shown);
        Some(Cell::Text(start..self.text.len()))
    }

    /// Eight numbers of 16 bits.
    fn system_time(&mut self, bytes: &[u8], start: usize) -> Option<Cell> {
        let mut numbers = bytes.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number));
        let (year, month, _weekday, day) =
            (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
        let (hour, minute, second, ms) = (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
        self.shown(
            start,
            format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}0000Z"),
        )
    }

    /// Revision, number of parts, authority (48 bits, the highest first), parts.
    fn sid(&mut self, bytes: &[u8], start: usize) -> Option<Cell> {
        let ([revision, count], rest) = bytes.split_first_chunk::<2>()?;
        let (authority, parts) = rest.split_first_chunk::<6>()?;
        let authority = authority.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        self.text.extend_from_slice(b"S-");
        text::push_int(&mut self.text, i64::from(*revision));
        self.text.push(b'-');
        text::push_int(&mut self.text, i64::try_from(authority).ok()?);
        for part in parts.as_chunks::<4>().0.iter().take(usize::from(*count)) {
            self.text.push(b'-');
            text::push_int(&mut self.text, i64::from(u32::from_le_bytes(*part)));
        }
        Some(Cell::Text(start..self.text.len()))
    }
}

#[cfg(test)]
mod tests;
