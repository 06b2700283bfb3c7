//! JSON documents as JSON lines: `jq .`, `evtx_dump`, exports of arrays. One object a line comes out, whatever blanks and
//! newlines it is written with, and each stands on the line on which it began, so that what is found can be looked up. Of
//! objects that share a line, the later ones move down by one.
//!
//! An object whose only member is an array of objects is no event: it is what records are wrapped in, under whatever name
//! (`{"Records": [...]}` of CloudTrail, `{"value": [...]}`), and its elements come out. One that is longer than an event may be
//! ([`RECORD_BYTES_MAX`]) is such when it begins so; should it have further members, these come out as they are.
//!
//! Nothing is parsed here: braces are counted and strings are skipped, so no more of a document than that is held in memory,
//! however large an array is. What is no object comes out as it is, for the parsers to say so. An object that does not end
//! swallows what follows, up to [`RECORD_BYTES_MAX`]; from there on the next line that begins with a brace is a new one.

use std::io::{self, BufRead, BufReader, Read};

use event::RECORD_BYTES_MAX;

const BUFFER_BYTES: usize = 16 * 1024;

/// Whether a text that begins so is to be read by [`Documents`]: an array of objects, an object around one, an object that goes
/// on beyond its line, or several on one. JSON lines are none: they are read as they are.
pub(super) fn are_documents(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    if let Some(elements) = head.strip_prefix(b"[") {
        return elements.trim_ascii_start().starts_with(b"{");
    }
    if !head.starts_with(b"{") {
        return false;
    }
    let (first, goes_on) = match head.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&head[..end], true),
        None => (head, false),
    };
    let mut wrapping = Wrapping::default();
    let opened = head.iter().find_map(|byte| wrapping.take(*byte)).unwrap_or_else(|| wrapping.so_far());
    if opened == Opened::Array {
        return true;
    }
    let mut object = Object::default();
    match first.iter().position(|byte| object.ends_with(*byte)) {
        Some(end) => matches!(first[end + 1..].trim_ascii_start(), [b'{' | b',', ..]),
        None => goes_on,
    }
}

/// Where in an object a byte stands.
#[derive(Debug, Default)]
struct Object {
    depth: usize,
    in_string: bool,
    escaped: bool,
    bytes: usize,
}

impl Object {
    /// Takes the next byte, of which the first is the brace; whether it is the last.
    fn ends_with(&mut self, byte: u8) -> bool {
        self.bytes += 1;
        if self.in_string {
            // No string goes over a line: what does is broken, and must not swallow more than it has.
            self.in_string = (byte != b'"' || self.escaped) && byte != b'\n';
            self.escaped = byte == b'\\' && !self.escaped;
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

/// An object of which is not known yet whether it is an event or no more than what an array of events is wrapped in.
#[derive(Debug, Default)]
struct Wrapping {
    object: Object,
    bytes: Vec<u8>,
    part: Part,
    /// Where the array begins.
    array: usize,
}

/// What of it comes next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Part {
    /// The name of its first member, or the array.
    #[default]
    Name,
    /// The first element.
    First,
    Elements,
}

/// What an object turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Opened {
    Event,
    Array,
}

impl Wrapping {
    /// Takes the next byte, of which the first is the brace; says what it is as soon as that is sure.
    fn take(&mut self, byte: u8) -> Option<Opened> {
        let (depth, in_string) = (self.object.depth, self.object.in_string);
        self.bytes.push(byte);
        if self.object.ends_with(byte) || self.bytes.len() > RECORD_BYTES_MAX {
            return Some(self.so_far());
        }
        if in_string || depth == 0 || byte.is_ascii_whitespace() {
            return None;
        }
        match (self.part, byte) {
            (Part::Name, b'"' | b':') => {}
            (Part::Name, b'[') => (self.part, self.array) = (Part::First, self.bytes.len() - 1),
            (Part::First, b'{') => self.part = Part::Elements,
            (Part::Elements, _) if depth > 1 => {}
            _ => return Some(Opened::Event),
        }
        None
    }

    /// What it is by what there is of it.
    fn so_far(&self) -> Opened {
        if self.part == Part::Elements { Opened::Array } else { Opened::Event }
    }

    /// The array, and what stands before and behind it.
    fn parts(&self) -> [&[u8]; 3] {
        let (before, array) = self.bytes.split_at(self.array);
        let is_whole = self.object.depth == 0;
        let end = array
            .iter()
            .rposition(|byte| *byte == b']')
            .filter(|_| is_whole)
            .map_or(array.len(), |at| at + 1);
        let (array, behind) = array.split_at(end);
        [before, array, behind]
    }
}

/// A reader of the lines.
pub(super) struct Documents<R> {
    inner: BufReader<R>,
    lines: io::Cursor<Vec<u8>>,
    /// An object that may be no event.
    wrapping: Option<Wrapping>,
    /// The object that is being read.
    object: Option<Object>,
    in_array: bool,
    /// The array is all that an object has, of which the end is still to come.
    in_wrapping: bool,
    /// What stands on the line that is being written.
    line: Line,
    /// Newlines that the text has and that are not written yet; below zero those that were written and are not in the text.
    owed: i64,
    last: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    Empty,
    /// What is no object.
    Text,
    /// Something that has ended.
    Ended,
}

impl<R: Read> Documents<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, reader),
            lines: io::Cursor::default(),
            wrapping: None,
            object: None,
            in_array: false,
            in_wrapping: false,
            line: Line::Empty,
            owed: 0,
            last: b'\n',
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        let begins = byte == b'{' && self.object.is_none() && self.line != Line::Text && !self.in_array;
        if begins && self.wrapping.is_none() {
            self.wrapping = Some(Wrapping::default());
        }
        match &mut self.wrapping {
            None => self.sure(byte, out),
            Some(wrapping) => {
                let opened = wrapping.take(byte);
                self.open(opened, out);
            }
        }
    }

    /// Goes on with an object of which is known what it is.
    fn open(&mut self, opened: Option<Opened>, out: &mut Vec<u8>) {
        let Some((opened, wrapping)) = opened.zip(self.wrapping.take_if(|_| opened.is_some())) else {
            return;
        };
        if opened == Opened::Event {
            return wrapping.bytes.iter().for_each(|byte| self.sure(*byte, out));
        }
        self.in_wrapping = wrapping.object.depth > 0;
        let [before, array, behind] = wrapping.parts();
        let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        (0..newlines(before)).for_each(|_| self.sure(b'\n', out));
        array.iter().for_each(|byte| self.sure(*byte, out));
        (0..newlines(behind)).for_each(|_| self.sure(b'\n', out));
    }

    /// A byte of which is known what it belongs to.
    fn sure(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_broken = |object: &Object| {
            object.bytes > RECORD_BYTES_MAX && self.last == b'\n' && byte == b'{' && object.depth > 0
        };
        if self.object.as_ref().is_some_and(is_broken) {
            self.object = None;
            self.line = Line::Ended;
            self.pay(out);
        }
        self.last = byte;
        match &mut self.object {
            Some(object) => {
                let is_blank = !object.in_string && byte.is_ascii_whitespace();
                let ends = object.ends_with(byte);
                self.owed += i64::from(byte == b'\n');
                if !is_blank && byte != b'\n' {
                    out.push(byte);
                }
                if ends {
                    self.object = None;
                    self.line = Line::Ended;
                    self.pay(out);
                }
            }
            None => self.between(byte, out),
        }
    }

    /// A byte that belongs to no object.
    fn between(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'\n' => {
                self.owed += 1;
                if self.line == Line::Text {
                    self.line = Line::Ended;
                }
                self.pay(out);
            }
            b'{' if self.line != Line::Text => {
                self.begin(out);
                let mut object = Object::default();
                object.ends_with(byte);
                self.object = Some(object);
                out.push(byte);
            }
            b'[' if self.line != Line::Text && !self.in_array => self.in_array = true,
            b']' if self.line != Line::Text && self.in_array => self.in_array = false,
            b'}' if self.line != Line::Text && self.in_wrapping && !self.in_array => self.in_wrapping = false,
            b',' if self.in_array && self.line == Line::Text => self.line = Line::Ended,
            b',' if self.in_array => {}
            _ if byte.is_ascii_whitespace() && self.line != Line::Text => {}
            _ => {
                if self.line != Line::Text {
                    self.begin(out);
                }
                self.line = Line::Text;
                out.push(byte);
            }
        }
    }

    /// What begins needs a line of its own.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.line != Line::Empty {
            out.push(b'\n');
            self.owed -= 1;
            self.line = Line::Empty;
        }
    }

    /// Writes the newlines that are owed.
    fn pay(&mut self, out: &mut Vec<u8>) {
        while self.owed > 0 {
            out.push(b'\n');
            self.owed -= 1;
            self.line = Line::Empty;
        }
    }
}

impl<R: Read> Read for Documents<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.lines.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let mut lines = std::mem::take(&mut self.lines).into_inner();
            lines.clear();
            let fresh = self.inner.fill_buf()?.to_vec();
            if fresh.is_empty() && self.wrapping.is_none() {
                return Ok(0);
            }
            if fresh.is_empty() {
                // It is cut: what there is of it is read.
                let opened = self.wrapping.as_ref().map(Wrapping::so_far);
                self.open(opened, &mut lines);
            }
            fresh.iter().for_each(|byte| self.byte(*byte, &mut lines));
            self.inner.consume(fresh.len());
            self.lines = io::Cursor::new(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    /// Line by line, without the empty ones: number and text.
    fn lines(text: &str) -> Vec<(usize, String)> {
        let mut out = String::new();
        Documents::new(text.as_bytes()).read_to_string(&mut out).unwrap();
        let numbered = (1..).zip(out.lines().map(str::to_owned));
        numbered.filter(|(_, line)| !line.is_empty()).collect()
    }

    fn said(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
        lines.iter().map(|(number, line)| (*number, (*line).to_owned())).collect()
    }

    /// Values that braces, quotes and backslashes stand in.
    fn value() -> impl Strategy<Value = Json> {
        let leaf =
            prop_oneof![r#"[a{}\[\]",\\\\\n ]{0,6}"#.prop_map(Json::from), any::<i32>().prop_map(Json::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let names = prop::collection::hash_map(r#"[a{}"]{1,2}"#, inner.clone(), 0..4);
            let objects = names.prop_map(|map| Json::Object(map.into_iter().collect()));
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Json::from), objects]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_comes_out_line_by_line(values in prop::collection::vec(value(), 1..5)) {
            let objects: Vec<Json> = values.into_iter().map(|value| json!({ "n": 1, "x": value })).collect();
            let pretty: Vec<String> = objects.iter().map(|object| format!("{object:#}")).collect();
            let array = Json::from(objects.clone());
            let around = json!({ "Records": objects });
            for text in [
                pretty.join("\n"),
                pretty.concat(),
                format!("{array:#}\n"),
                array.to_string(),
                around.to_string(),
                format!("{around:#}\n"),
            ] {
                let read: Vec<Json> =
                    lines(&text).iter().map(|(_, line)| serde_json::from_str(line).unwrap()).collect();
                prop_assert_eq!(&read, &objects, "{}", text);
            }
            // Each begins on its own line.
            let mut line = 1;
            for (found, object) in lines(&pretty.join("\n")).iter().zip(&pretty) {
                prop_assert_eq!(found.0, line);
                line += object.lines().count();
            }
        }
    }

    #[test]
    fn documents_stand_on_the_line_where_they_began() {
        let pretty = "{\n  \"a b\": [1,\n {\"}\": \"\\\"{\"}]\n}\n{\n \"c\": 2\n}\n";
        assert_eq!(lines(pretty), said(&[(1, r#"{"a b":[1,{"}":"\"{"}]}"#), (5, r#"{"c":2}"#)]));
        let array = "[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]\n";
        assert_eq!(lines(array), said(&[(2, r#"{"a":1}"#), (5, r#"{"a":2}"#)]));
        let leading_commas = "[ {\"a\":1}\n, {\"a\":2}\n]\n{\"a\":3}";
        assert_eq!(lines(leading_commas), said(&[(1, r#"{"a":1}"#), (2, r#"{"a":2}"#), (4, r#"{"a":3}"#)]));
    }

    #[test]
    fn objects_on_one_line_get_a_line_each() {
        assert_eq!(
            lines("[{\"a\":1},{\"a\":2}]\n\n{\"a\":3}\n"),
            said(&[(1, r#"{"a":1}"#), (2, r#"{"a":2}"#), (3, r#"{"a":3}"#)])
        );
        assert_eq!(lines("{\"a\":1}{\"a\":2}"), said(&[(1, r#"{"a":1}"#), (2, r#"{"a":2}"#)]));
    }

    #[test]
    fn an_object_around_an_array_of_objects_gives_its_elements() {
        let two = said(&[(1, r#"{"a":1}"#), (2, r#"{"a":{"b":[{}]}}"#)]);
        let around = r#"{ "Records" : [ {"a":1}, {"a":{"b":[{}]}} ] }"#;
        assert_eq!(lines(around), two);
        assert!(are_documents(around.as_bytes()));
        let pretty = "{\n  \"Records\": [\n    {\n      \"a\": 1\n    },\n    {\"a\": 2}\n  ]\n}\n{\"value\": [{\"a\": 3}]}\n";
        assert_eq!(lines(pretty), said(&[(3, r#"{"a":1}"#), (6, r#"{"a":2}"#), (9, r#"{"a":3}"#)]));
        // An array of objects is a part of an event where there is more, or anything but objects.
        for event in [
            r#"{"a":[{"b":1}],"c":2}"#,
            r#"{"c":2,"a":[{"b":1}]}"#,
            r#"{"a":[1,{"b":1}]}"#,
            r#"{"a":[]}"#,
            r#"{"a":{"b":[{"c":1}]}}"#,
            r#"{"a":"[{","b":[{}]}"#,
        ] {
            assert_eq!(lines(&format!("{event}\n{event}")), said(&[(1, event), (2, event)]));
            assert!(!are_documents(format!("{event}\n").as_bytes()), "{event}");
        }
    }

    #[test]
    fn an_object_longer_than_an_event_is_a_wrapping_when_it_begins_so() {
        let element = format!("{{\"x\":\"{}\"}}", "y".repeat(1000));
        let array = vec![element.as_str(); 100].join(",");
        for (end, more) in
            [("]}\n", None), ("]\n}", None), ("]", None), ("],\"next\":1}\n", Some(",\"next\":1}"))]
        {
            let found = lines(&format!("{{\"Records\":[{array}{end}"));
            let (elements, rest) = found.split_at(100);
            assert!(elements.iter().all(|(_, line)| *line == element));
            assert_eq!(rest.first().map(|(_, line)| &**line), more, "{end}");
        }
        let cut = lines("{\"Records\":[{\"a\":1},{\"a\":");
        assert_eq!(cut, said(&[(1, r#"{"a":1}"#), (2, r#"{"a":"#)]));
    }

    #[test]
    fn what_is_no_object_comes_out_as_it_is() {
        assert_eq!(
            lines("{\n\"a\":1}\nNov 23 09:31 [1], web01 {x}\n{\"a\":2}\n"),
            said(&[(1, r#"{"a":1}"#), (3, "Nov 23 09:31 [1], web01 {x}"), (4, r#"{"a":2}"#)])
        );
        assert_eq!(lines("[null, {\"a\":1}, \"x\"]"), said(&[(1, "null"), (2, r#"{"a":1}"#), (3, "\"x\"]")]));
        assert_eq!(lines("{\"a\": [1,\n 2"), said(&[(1, "{\"a\":[1,2")]));
    }

    #[test]
    fn an_object_that_does_not_end_swallows_only_so_much() {
        let filler = format!("{{\"x\": \"{}\"}}\n", "y".repeat(1000));
        let text = format!("{{ \"broken\n{}{{\n\"a\": 1}}\n", filler.repeat(70));
        let lines = lines(&text);
        assert_eq!(lines.last().unwrap(), &(72, r#"{"a":1}"#.to_owned()));
        assert!(lines.len() > 4, "{}", lines.len());
    }

    #[test]
    fn json_lines_are_left_as_they_are() {
        for lines in
            ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":\"{\"} \n", "{\"a\": 1", "[Mon Nov 23] x", "[]", "text {", ""]
        {
            assert!(!are_documents(lines.as_bytes()), "{lines}");
        }
        for documents in [
            "{\n\"a\":1}",
            "\n [\r\n {",
            "[{\"a\":1}]",
            "{\"a\":1}{\"a\":2}\n",
            "{\"a\":1},\n",
            "{\"a\": [\n",
        ] {
            assert!(are_documents(documents.as_bytes()), "{documents}");
        }
    }
}
