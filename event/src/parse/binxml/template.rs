//! Templates of a log, compiled: what an event is made of, without its values.
//!
//! Nearly every event is one of a few templates. A template's tokens are walked once and become a [`Program`], a flat list of
//! steps with all names resolved; an event then costs a step for each of its values. What is not surely the same either way
//! (names made of values, templates within templates, processing instructions, what is broken) has no program, and the reader
//! walks its tokens as before: that reader is the truth, and a test compares both.
//!
//! A program is kept from chunk to chunk and used again only where the definition stands at the same place with the very same
//! bytes, and all names that it refers to elsewhere in the chunk are the same: what one chunk says is never believed of another.
//!
//! Limits: a definition of more than [`DEFINITION_BYTES_MAX`] or one that refers to more than [`NAME_BYTES_MAX`] of names
//! elsewhere has no program; [`PROGRAM_BYTES_MAX`] of programs are kept, then all are forgotten; [`TEMPLATES_MAX`] templates of a
//! chunk are found without their bytes being compared.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    At, Broken, Cell, Cursor, DATA, DEPTH_MAX, Element, INDEPENDENT, NAME, Reader, Scope, TOKENS_MAX, Within,
    child, is_value,
};
use crate::parse::text;

/// Longest definition with a program. Those of Windows have up to 8 KB; a chunk has room for many that overlap.
const DEFINITION_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of names elsewhere in the chunk. Those of a template come to 1 KB; a name may be as long as its chunk.
const NAME_BYTES_MAX: usize = 16 * 1024;

/// Bytes of programs that are kept: some hundred templates.
const PROGRAM_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a name takes besides its own bytes.
const NAME_BYTES: usize = 40;

/// What a program takes besides itself: counters, and its place in a table that is half full at worst.
const ENTRY_BYTES: usize = 64;

/// Templates that are remembered by their place in the chunk. Most chunks have less than ten.
const TEMPLATES_MAX: usize = 32;

/// Programs of earlier chunks, by a hash of the place and bytes of their definitions.
#[derive(Debug, Default)]
pub(super) struct Programs {
    by_hash: HashMap<u64, Arc<Program>>,
    bytes: usize,
}

/// Programs of one chunk, by the place of the definition and where in the event it stands; none for one without a program.
pub(super) type Known = Vec<((usize, At), Option<Arc<Program>>)>;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Program {
    at: At,
    place: usize,
    definition: Box<[u8]>,
    /// Names that stand elsewhere in the chunk: their places and bytes.
    names: Vec<(usize, Box<[u8]>)>,
    steps: Vec<Step>,
    /// Texts that are the same in every event.
    text: Vec<u8>,
    /// What it uses of a record's limits.
    tokens: usize,
    depth: usize,
}

/// One step. There is one element, or attribute, at a time.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An element begins, at this place of the event.
    Start(At),
    /// The next values belong to this attribute, or again to the element.
    To(At),
    Text(usize, usize),
    Value(Place),
    /// The value of an attribute, or the text of an element, is whole.
    Flush,
    /// An element without elements ends, at this place of the event: it is null when no value was there.
    End(At),
    /// `Start`, `Value`, `End`.
    Leaf(usize, Place),
    /// `To`, `Value`, `Flush`.
    Attribute(usize, Place),
    /// The steps up to another are left out where this value is not there.
    Depends(u16, usize),
}

/// A value to fill in, and how many elements are around it.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: u16,
    depth: u8,
}

impl Programs {
    fn keep(&mut self, hash: u64, program: &Arc<Program>) {
        if self.bytes > PROGRAM_BYTES_MAX {
            *self = Self::default();
        }
        self.bytes = self.bytes.saturating_add(program.bytes());
        if let Some(replaced) = self.by_hash.insert(hash, Arc::clone(program)) {
            self.bytes = self.bytes.saturating_sub(replaced.bytes());
        }
    }
}

impl<'c> Reader<'c, '_> {
    /// The program of a definition, if it has one and that keeps within the limits of the record.
    pub(super) fn program(&mut self, definition: Cursor<'c>, at: At) -> Option<Arc<Program>> {
        if !self.compiles {
            return None;
        }
        let key = (definition.at, at);
        let known = self.templates.iter().find(|(known, _)| *known == key);
        let program = match known {
            Some((_, program)) => program.clone(),
            None => {
                let program = self.program_of_bytes(definition, at);
                if self.templates.len() < TEMPLATES_MAX {
                    self.templates.push((key, program.clone()));
                }
                program
            }
        };
        program.filter(|program| {
            self.record.tokens.saturating_add(program.tokens) <= TOKENS_MAX
                && self.record.depth.saturating_add(program.depth) <= DEPTH_MAX
        })
    }

    fn program_of_bytes(&mut self, definition: Cursor<'c>, at: At) -> Option<Arc<Program>> {
        let bytes = self.chunk.get(definition.at..definition.end)?;
        if bytes.len() > DEFINITION_BYTES_MAX {
            return None;
        }
        let hash = xxh3_64_with_seed(bytes, u64::try_from(definition.at).unwrap_or_default());
        let kept = self.out.programs.by_hash.get(&hash);
        if let Some(program) = kept.filter(|program| program.is_of(definition, bytes, at)) {
            return Some(Arc::clone(program));
        }
        let program = Arc::new(Compiler::compile(self, definition, bytes, at)?);
        self.out.programs.keep(hash, &program);
        Some(program)
    }

    /// Makes an event of a template and its values.
    pub(super) fn run(
        &mut self,
        program: &Program,
        scope: Scope,
        container: &mut Element,
    ) -> Result<(), Broken> {
        self.record.tokens = self.record.tokens.saturating_add(program.tokens);
        self.flush(container);
        container.is_null = false;
        let mut element = Element::new(At::Nowhere);
        let mut next = 0_usize;
        while let Some(step) = program.steps.get(next) {
            next = next.saturating_add(1);
            if let Step::Depends(id, end) = *step {
                next = if self.slot(scope, id).is_some() { next } else { end };
                continue;
            }
            if self.is_text_too_long() {
                return Err(Broken { what: "a template that expands too far", offset: program.place });
            }
            self.step(program, *step, scope, &mut element)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        program: &Program,
        step: Step,
        scope: Scope,
        element: &mut Element,
    ) -> Result<(), Broken> {
        match step {
            Step::Start(at) => *element = Element::new(at),
            Step::To(at) => element.at = at,
            Step::Text(start, end) => self.text(program.text.get(start..end).unwrap_or_default(), element),
            Step::Value(place) => self.placed(place, scope, element)?,
            Step::Flush => self.flush(element),
            Step::End(at) => {
                self.flush(element);
                if element.is_null {
                    self.push(at, Cell::Null);
                }
            }
            Step::Leaf(name, place) => {
                *element = Element::new(At::Field(name));
                self.placed(place, scope, element)?;
                self.flush(element);
                if element.is_null {
                    self.push(At::Field(name), Cell::Null);
                }
            }
            Step::Attribute(name, place) => {
                element.at = At::Field(name);
                self.placed(place, scope, element)?;
                self.flush(element);
            }
            Step::Depends(..) => {}
        }
        Ok(())
    }

    /// Appends a value, if it is there.
    fn placed(&mut self, place: Place, scope: Scope, element: &mut Element) -> Result<(), Broken> {
        let Some(slot) = self.slot(scope, place.id) else { return Ok(()) };
        if slot.kind < 0x21 {
            let bytes = self.chunk.get(slot.start..slot.end).unwrap_or_default();
            self.scalar(slot.kind, bytes, element);
            return Ok(());
        }
        let depth = self.record.depth;
        self.record.depth = depth.saturating_add(usize::from(place.depth));
        let done = self.fill(slot, element);
        self.record.depth = depth;
        done
    }

    fn text(&mut self, text: &[u8], element: &mut Element) {
        if element.value.is_none() {
            element.start = self.out.text.len();
        }
        self.out.text.extend_from_slice(text);
        element.value = Some(Cell::Text(element.start..self.out.text.len()));
    }
}

impl Program {
    /// About what it takes of memory, with its entry among the others.
    fn bytes(&self) -> usize {
        let own = size_of::<Self>().saturating_add(ENTRY_BYTES);
        let names = self.names.iter().map(|(_, name)| name.len().saturating_add(NAME_BYTES));
        let steps = self.steps.len().saturating_mul(size_of::<Step>());
        names
            .fold(steps, usize::saturating_add)
            .saturating_add(own)
            .saturating_add(self.definition.len())
            .saturating_add(self.text.len())
    }

    /// Whether it is the program of a definition.
    fn is_of(&self, definition: Cursor<'_>, bytes: &[u8], at: At) -> bool {
        self.at == at
            && self.place == definition.at
            && *self.definition == *bytes
            && self.names.iter().all(|(place, name)| name_at(definition.chunk, *place) == Some(&**name))
    }
}

/// The UTF-16 of a name that stands at a place of the chunk.
fn name_at(chunk: &[u8], place: usize) -> Option<&[u8]> {
    let mut cursor = Cursor { chunk, at: place, end: chunk.len() };
    cursor.take("name", 6).ok()?;
    cursor.counted_text("name").ok()
}

/// Walks the tokens of a definition. `None`, from any of its functions: it has no program.
struct Compiler<'r, 'c, 'o> {
    reader: &'r mut Reader<'c, 'o>,
    inside: Range<usize>,
    name_bytes: usize,
    program: Program,
}

impl<'r, 'c, 'o> Compiler<'r, 'c, 'o> {
    fn compile(
        reader: &'r mut Reader<'c, 'o>,
        definition: Cursor<'c>,
        bytes: &[u8],
        at: At,
    ) -> Option<Program> {
        let program = Program {
            at,
            place: definition.at,
            definition: Box::default(),
            names: Vec::new(),
            steps: Vec::new(),
            text: Vec::new(),
            tokens: 0,
            depth: 0,
        };
        let mut compiler = Self { reader, inside: definition.at..definition.end, name_bytes: 0, program };
        let mut cursor = definition;
        // At the top there are elements only, at least one.
        let has_elements = compiler.content(&mut cursor, None, at, 0)?;
        has_elements.then(|| Program { definition: bytes.into(), ..compiler.program })
    }

    /// What is in an element, to its end; says whether elements are. Values go to `own`, the element's place; nowhere where
    /// there is no element.
    fn content(&mut self, cursor: &mut Cursor<'c>, own: Option<At>, at: At, depth: usize) -> Option<bool> {
        let (mut has_elements, mut has_values) = (false, false);
        while let Some(token) = cursor.peek() {
            if is_value(token) {
                self.program.steps.push(Step::To(own?));
                self.values(cursor, depth)?;
                has_values = true;
                continue;
            }
            self.program.tokens = self.program.tokens.saturating_add(1);
            cursor.at = cursor.at.saturating_add(1);
            match token {
                0x00 | 0x04 => break,
                0x01 | 0x41 => {
                    self.program.steps.extend(has_values.then_some(Step::Flush));
                    (has_elements, has_values) = (true, false);
                    self.element(cursor, token == 0x41, at, depth.saturating_add(1))?;
                }
                0x0f => drop(cursor.take("header of a fragment", 3).ok()?),
                _ => return None,
            }
        }
        Some(has_elements)
    }

    fn element(
        &mut self,
        cursor: &mut Cursor<'c>,
        has_attributes: bool,
        parent: At,
        depth: usize,
    ) -> Option<()> {
        self.program.depth = self.program.depth.max(depth);
        if depth > DEPTH_MAX {
            return None;
        }
        let depends_on = cursor.u16("dependency").ok()?;
        cursor.u32("size of an element").ok()?;
        let within = if let At::Field(outer) = parent { Within::Element(outer) } else { Within::Nothing };
        let name = self.name(cursor, within)?;
        let mut at = child(parent, name);
        let condition = self.program.steps.len();
        if depends_on != INDEPENDENT {
            self.program.steps.push(Step::Depends(depends_on, 0));
        }
        if has_attributes {
            cursor.u32("size of attributes").ok()?;
            if (parent, name) == (At::Fields, DATA) {
                at = self.data_name(cursor)?.map_or(at, At::Field);
            }
        }
        self.program.steps.push(Step::Start(at));
        if has_attributes {
            self.attributes(cursor, at, depth)?;
        }
        let has_elements = match cursor.u8("end of a start tag").ok()? {
            0x02 => self.content(cursor, Some(at), at, depth)?,
            0x03 => false,
            _ => return None,
        };
        self.end(at, has_elements);
        let end = self.program.steps.len();
        if let Some(Step::Depends(_, behind)) = self.program.steps.get_mut(condition) {
            *behind = end;
        }
        Some(())
    }

    /// Ends an element, and makes one step of three where they are those of most elements.
    fn end(&mut self, at: At, has_elements: bool) {
        if has_elements {
            self.program.steps.push(Step::Flush);
            return;
        }
        let steps = &mut self.program.steps;
        match (at, steps.as_slice()) {
            (At::Field(name), [.., Step::Start(_), Step::To(_), Step::Value(place)]) => {
                let leaf = Step::Leaf(name, *place);
                steps.truncate(steps.len().saturating_sub(3));
                steps.push(leaf);
            }
            _ => steps.push(Step::End(at)),
        }
    }

    /// The name of an element `Data`, where its first attribute says it in plain text; none where that is empty.
    fn data_name(&mut self, cursor: &mut Cursor<'c>) -> Option<Option<usize>> {
        let mut behind = *cursor;
        if !matches!(behind.peek(), Some(0x06 | 0x46)) {
            return Some(None);
        }
        behind.at = behind.at.saturating_add(1);
        if self.name(&mut behind, Within::Nothing)? != NAME || behind.peek() != Some(0x05) {
            return None;
        }
        behind.at = behind.at.saturating_add(1);
        if behind.u8("type of a value").ok()? != 0x01 {
            return None;
        }
        let mut name = Vec::new();
        text::push_utf16(&mut name, behind.counted_text("text").ok()?);
        // A second part, or a second attribute.
        if behind.peek().is_some_and(|token| is_value(token) || matches!(token, 0x06 | 0x46)) {
            return None;
        }
        *cursor = behind;
        match str::from_utf8(&name).ok().filter(|name| !name.is_empty()) {
            Some(name) => self.reader.out.names.id(name).map(Some),
            None => Some(None),
        }
    }

    fn attributes(&mut self, cursor: &mut Cursor<'c>, at: At, depth: usize) -> Option<()> {
        while let Some(0x06 | 0x46) = cursor.peek() {
            cursor.at = cursor.at.saturating_add(1);
            let within =
                if let At::Field(outer) = at { Within::AttributesOf(outer) } else { Within::Nothing };
            let name = self.name(cursor, within)?;
            let at = if within == Within::Nothing { At::Nowhere } else { At::Field(name) };
            self.program.steps.push(Step::To(at));
            self.values(cursor, depth)?;
            self.end_attribute();
        }
        Some(())
    }

    fn end_attribute(&mut self) {
        let steps = &mut self.program.steps;
        match steps.as_slice() {
            [.., Step::To(At::Field(name)), Step::Value(place)] => {
                let attribute = Step::Attribute(*name, *place);
                steps.truncate(steps.len().saturating_sub(2));
                steps.push(attribute);
            }
            _ => steps.push(Step::Flush),
        }
    }

    /// A run of values.
    fn values(&mut self, cursor: &mut Cursor<'c>, depth: usize) -> Option<()> {
        while let Some(token) = cursor.peek().filter(|token| is_value(*token)) {
            self.program.tokens = self.program.tokens.saturating_add(1);
            cursor.at = cursor.at.saturating_add(1);
            match token {
                0x05 | 0x45 => {
                    if cursor.u8("type of a value").ok()? != 0x01 {
                        return None;
                    }
                    self.text(cursor.counted_text("text").ok()?);
                }
                0x07 | 0x47 => self.text(cursor.counted_text("text").ok()?),
                0x0d | 0x0e => {
                    let id = cursor.u16("substitution").ok()?;
                    cursor.u8("type of a substitution").ok()?;
                    let depth = u8::try_from(depth).ok()?;
                    self.program.steps.push(Step::Value(Place { id, depth }));
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn text(&mut self, bytes: &[u8]) {
        let start = self.program.text.len();
        text::push_utf16(&mut self.program.text, bytes);
        self.program.steps.push(Step::Text(start, self.program.text.len()));
    }

    /// A name; one that stands elsewhere becomes a condition of the program.
    fn name(&mut self, cursor: &mut Cursor<'c>, within: Within) -> Option<usize> {
        let place = { *cursor }.size("name").ok()?;
        let name = self.reader.name(cursor, within).ok()?;
        let bytes = name_at(cursor.chunk, place)?;
        // With its length and header it stands within the definition, or it does not.
        let end = place.saturating_add(8).saturating_add(bytes.len());
        if place < self.inside.start || end > self.inside.end {
            self.name_bytes = self.name_bytes.saturating_add(bytes.len()).saturating_add(NAME_BYTES);
            if self.name_bytes > NAME_BYTES_MAX {
                return None;
            }
            self.program.names.push((place, bytes.into()));
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cells;
    use super::*;

    /// Where the content of the record starts in [`chunk`], and where its definition does.
    const RECORD: usize = 64;

    /// A record of a template with attributes, names of data, mixed content, and an element that depends on a value.
    fn chunk() -> Vec<u8> {
        let mut out = vec![0; RECORD];
        out.extend([0x0f, 1, 1, 0, 0x0c, 1, 0, 0, 0, 0]);
        let place = u32::try_from(out.len() + 4).unwrap();
        out.extend(place.to_le_bytes());
        out.extend([0; 24]);
        let start = out.len();
        out.extend([0x0f, 1, 1, 0]);
        open(&mut out, "Event", None, &[]);
        open(&mut out, "System", None, &[]);
        open(&mut out, "EventID", Some(0), &[("Qualifiers", 1)]);
        out.extend([0x0d, 0, 0, 6, 0x04]);
        open(&mut out, "Odd", Some(5), &[("One", 1), ("Two", 2)]);
        out.extend([0x0d, 0, 0, 6, 0x05, 1, 1, 0, b'-', 0, 0x0d, 1, 0, 6]);
        open(&mut out, "In", None, &[]);
        out.extend([0x0d, 2, 0, 1, 0x04, 0x0e, 1, 0, 6, 0x04]);
        out.extend([0x04]);
        open(&mut out, "EventData", None, &[]);
        for value in 0..6 {
            open(&mut out, "Data", None, &[]);
            out.extend([0x0e, value, 0, 1, 0x04]);
        }
        out.extend([0x04, 0x04, 0]);
        let bytes = u32::try_from(out.len() - start).unwrap();
        out[start - 4..start].copy_from_slice(&bytes.to_le_bytes());
        out.extend([
            6, 0, 0, 0, 2, 0, 6, 0, 0, 0, 0, 0, 4, 0, 1, 0, 8, 0, 0x0a, 0, 4, 0, 0x86, 0, 1, 0, 4, 0,
        ]);
        out.extend([11, 0, b'a', 0, b'b', 0, 1, 2, 3, 4, 5, 6, 7, 255, 1, 0, 2, 0, 9, 0]);
        out
    }

    fn open(out: &mut Vec<u8>, name: &str, depends_on: Option<u16>, attributes: &[(&str, u8)]) {
        out.push(if attributes.is_empty() { 0x01 } else { 0x41 });
        out.extend(depends_on.unwrap_or(INDEPENDENT).to_le_bytes());
        out.extend([0; 4]);
        spell(out, name);
        if !attributes.is_empty() {
            out.extend([0; 4]);
        }
        for (name, value) in attributes {
            out.push(0x06);
            spell(out, name);
            out.extend([0x0e, *value, 0, 6]);
        }
        out.push(0x02);
    }

    fn spell(out: &mut Vec<u8>, name: &str) {
        let place = u32::try_from(out.len() + 4).unwrap();
        out.extend(place.to_le_bytes());
        out.extend([0; 6]);
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend(name.bytes().flat_map(|byte| [byte, 0]));
        out.extend([0; 2]);
    }

    fn shown(out: &Cells) -> Vec<(String, String)> {
        let text = |cell: &Cell| match cell {
            Cell::Text(range) => String::from_utf8(out.text[range.clone()].to_vec()).unwrap(),
            other => format!("{other:?}"),
        };
        out.cells.iter().map(|(name, cell)| (out.names.text(*name).to_owned(), text(cell))).collect()
    }

    /// What is read of a record, compiled or not, and how it ends.
    fn read(
        chunk: &[u8],
        record: Range<usize>,
        out: &mut Cells,
        compiles: bool,
    ) -> (Vec<(String, String)>, Vec<u8>, bool) {
        out.clear();
        let mut reader = Reader { compiles, ..Reader::new(chunk, out) };
        let done = reader.record(record);
        (shown(out), out.text.clone(), done.is_ok())
    }

    #[test]
    fn reads_the_same_as_without_programs() {
        let chunk = chunk();
        let (mut out, record) = (Cells::default(), RECORD..chunk.len());
        let (fields, _, done) = read(&chunk, record.clone(), &mut out, true);
        assert!(done && fields.len() > 10, "{fields:?}");
        assert_eq!(out.programs.by_hash.len(), 1);
        let program = out.programs.by_hash.values().next().map(Arc::clone).unwrap();
        assert_eq!(out.programs.bytes, program.bytes());
        let hash = *out.programs.by_hash.keys().next().unwrap();
        out.programs.keep(hash, &program);
        assert_eq!(out.programs.bytes, program.bytes(), "one that is replaced is not counted again");
        // Bytes changed at random: most still have a program, and what was kept of another chunk is never used.
        let (mut random, mut plain) = (1_u64, Cells::default());
        for _ in 0..50_000 {
            let mut chunk = chunk.clone();
            for _ in 0..2 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let [.., a, b, c, d] = random.to_be_bytes().map(usize::from);
                let at = RECORD + (a * 256 + b) % (chunk.len() - RECORD);
                chunk[at] = if c < 128 { (d % 16) as u8 } else { d as u8 };
            }
            let compiled = read(&chunk, record.clone(), &mut out, true);
            assert_eq!(compiled, read(&chunk, record.clone(), &mut plain, false), "{chunk:?}");
        }
    }
}
