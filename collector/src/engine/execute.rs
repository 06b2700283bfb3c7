//! Runs one statement on a thread of its own: reads the body, decides what it is and whether this user may, and hands data to
//! the engine or its result to the client.
//!
//! Who may what: a reader only what the engine's parser calls read-only, with `readonly = 2` on top; nobody a text of several
//! statements, `INTO OUTFILE` or `FROM INFILE`.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{debug, info};

use super::auth::Access;
use super::body::{Body, Piece, failed};
use super::columns::{head_from_description, head_length};
use super::connection::{Connection, Engine};
use super::exception::{Exception, code};
use super::ffi::{Class, Counters, Insert};
use super::handshake;
use super::limits::{APPEND_BYTES, HEAD_BYTES, LOGGED_STATEMENT_CHARS, STATEMENT_BYTES_MAX};
use super::reply::Reply;
use super::request::Order;
use super::session::{Lease, Sessions};
use super::statement::{Shape, bare, names, same_words, shape};

/// The format of a result that nobody named one for.
const FORMAT_DEFAULT: &str = "TabSeparated";
const ROW_BINARY_HEADED: &str = "RowBinaryWithNamesAndTypes";
/// Formats whose blocks can be sent one after the other. (The headed one once its repeated heads are cut.)
const STREAMED: [&str; 10] = [
    "Native",
    "RowBinary",
    ROW_BINARY_HEADED,
    "TabSeparated",
    "TSV",
    "TabSeparatedRaw",
    "TSVRaw",
    "CSV",
    "JSONEachRow",
    "JSONCompactEachRow",
];

/// A request that has been let in.
pub(super) struct Job {
    pub(super) engine: Arc<Engine>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) access: Access,
    pub(super) order: Order,
    pub(super) tag: String,
    pub(super) body: mpsc::Receiver<Piece>,
    pub(super) reply: Reply,
    /// Its turn, given back at the end.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Job {
    pub(super) fn run(self) {
        let Self { engine, sessions, access, order, tag, body, mut reply, permit } = self;
        let start = Instant::now();
        let mut text = Vec::new();
        let work = Work { engine: &engine, sessions: &sessions, access, order: &order, tag: &tag };
        let outcome = match work.run(body, &mut text, &mut reply) {
            Ok(counters) => reply.finish().map(|()| counters),
            Err(error) => {
                reply.fail(&error, &engine.facts.version);
                Err(error)
            }
        };
        drop(permit);
        log(access, &text, start, &outcome, &engine.facts.version);
    }
}

/// The request log: the engine keeps none.
fn log(access: Access, text: &[u8], start: Instant, outcome: &Result<Counters, Exception>, version: &str) {
    let head = &text[..text.len().min(4 * LOGGED_STATEMENT_CHARS)];
    let statement: String = String::from_utf8_lossy(head).chars().take(LOGGED_STATEMENT_CHARS).collect();
    let (user, ms) = (access.user(), start.elapsed().as_millis());
    match outcome {
        Ok(Counters { read_rows, written_rows, .. }) => {
            debug!(user, ms, read_rows, written_rows, statement, "statement");
        }
        Err(error) => info!(user, ms, statement, error = error.text(version), "statement failed"),
    }
}

/// A statement without data.
#[derive(Clone, Copy)]
struct Asked<'a> {
    text: &'a [u8],
    /// The format that it names, and where that clause begins.
    format: Option<(&'a str, usize)>,
    class: Class,
}

/// What the steps of a statement share.
struct Work<'a> {
    engine: &'a Engine,
    sessions: &'a Arc<Sessions>,
    access: Access,
    order: &'a Order,
    tag: &'a str,
}

impl Work<'_> {
    fn run(
        &self,
        pieces: mpsc::Receiver<Piece>,
        text: &mut Vec<u8>,
        reply: &mut Reply,
    ) -> Result<Counters, Exception> {
        let mut body = Body::new(pieces, self.order.body.coding, self.order.body.native)
            .map_err(|error| failed(&error))?;
        self.read_statement(&mut body, text)?;
        if self.is_handshake(text) {
            return self.handshake(reply);
        }
        let shape = shape(text)?;
        let mut connection = self.lease()?;
        connection.prepare(&self.order.settings, self.order.database.as_deref())?;
        match shape {
            Shape::Insert { statement, format, data_at } => {
                self.refuse_readers()?;
                let insert = connection.insert(statement, format, &self.order.parameters)?;
                let counters = feed(insert, &text[data_at..], &mut body)?;
                reply.begin(format, counters)?;
                Ok(counters)
            }
            Shape::Whole { format } => {
                let class = connection.classify(text).unwrap_or_default();
                self.admit(class, text)?;
                self.refuse_files(text)?;
                self.answer(&mut connection, Asked { text, format, class }, reply)
            }
        }
    }

    /// Reads what may be statement: all of it, or, of an INSERT with data, more than its statement.
    fn read_statement(&self, body: &mut Body, text: &mut Vec<u8>) -> Result<(), Exception> {
        let in_address = self.order.query.is_some();
        text.extend(self.order.query.as_deref().unwrap_or_default().bytes());
        if !in_address && !body.read_up_to(text, HEAD_BYTES)? {
            return Ok(());
        }
        if matches!(shape(text)?, Shape::Insert { .. }) {
            return Ok(());
        }
        let before = text.len();
        if in_address {
            text.push(b'\n'); // as ClickHouse: the statement goes on in the body
        }
        if body.read_up_to(text, STATEMENT_BYTES_MAX)? {
            return Err(Exception::new(
                code::QUERY_IS_TOO_LARGE,
                "QUERY_IS_TOO_LARGE",
                format_args!("a statement of {STATEMENT_BYTES_MAX} bytes or more"),
            ));
        }
        if in_address && text.len() == before + 1 {
            text.truncate(before);
        }
        Ok(())
    }

    fn lease(&self) -> Result<Lease, Exception> {
        match &self.order.session {
            Some(session) => self.sessions.lease(self.engine, self.access, session, self.tag),
            None => Ok(Lease::own(self.engine.connect(self.access, self.tag)?)),
        }
    }

    fn may_write(&self) -> bool {
        self.access == Access::Write && !self.order.only_reads
    }

    fn refuse_readers(&self) -> Result<(), Exception> {
        if self.may_write() {
            return Ok(());
        }
        let who = if self.order.only_reads { "a GET request" } else { self.access.user() };
        Err(Exception::read_only(format_args!("{who} may only read: Cannot execute query in readonly mode")))
    }

    /// The function `file` reads files of this machine past all grants.
    fn refuse_files(&self, text: &[u8]) -> Result<(), Exception> {
        if self.access == Access::Read && names(text, "file") {
            return Err(Exception::refused(
                "the name `file`, as a function, reads files of the server and is refused",
            ));
        }
        Ok(())
    }

    /// Decides by what the engine's own parser says of the statement.
    fn admit(&self, Class { statements, read_only }: Class, text: &[u8]) -> Result<(), Exception> {
        // What does not parse is run to get the parser's words, but only where a first part cannot run before the rest fails.
        let single = !bare(text).contains(&b';');
        match statements {
            0 if single || self.may_write() => Ok(()),
            0 => self.refuse_readers(),
            1 if read_only => Ok(()),
            1 => self.refuse_readers(),
            _ => Err(Exception::new(
                code::SYNTAX_ERROR,
                "SYNTAX_ERROR",
                "Syntax error (Multi-statements are not allowed)",
            )),
        }
    }

    fn answer(
        &self,
        connection: &mut Connection,
        asked: Asked<'_>,
        reply: &mut Reply,
    ) -> Result<Counters, Exception> {
        let Asked { text, format: clause, class } = asked;
        let default = self.order.default_format.as_deref().filter(|name| !name.is_empty());
        let format = clause.map(|(name, _)| name).or(default).unwrap_or(FORMAT_DEFAULT);
        let parameters = &self.order.parameters;
        // Only what reads is streamed: a result without rows may mean that the statement is run once more, below.
        if class.read_only && !self.order.wait_end && is_select(text) && STREAMED.contains(&format) {
            if stream(connection, text, format, parameters, reply)? {
                return Ok(Counters::default());
            }
            let select = clause.map_or(text, |(_, at)| &text[..at]);
            if let Some(head) = head_without_rows(connection, select, format, parameters) {
                reply.begin(format, Counters::default())?;
                reply.data(&head)?;
                return Ok(Counters::default());
            }
        }
        let result = connection.query(text, format, parameters)?;
        let counters = result.counters();
        reply.begin(format, counters)?;
        reply.data(result.data())?;
        Ok(counters)
    }

    fn is_handshake(&self, text: &[u8]) -> bool {
        self.order.protocol > 0
            && self.order.default_format.as_deref() == Some("Native")
            && same_words(text, handshake::STATEMENT)
    }

    fn handshake(&self, reply: &mut Reply) -> Result<Counters, Exception> {
        reply.begin("Native", Counters::default())?;
        reply.data(&handshake::answer(&self.engine.facts, self.order.protocol))?;
        Ok(Counters::default())
    }
}

/// Hands the data to the engine and commits; a body that does not come to its end stores nothing.
fn feed(mut insert: Insert<'_>, inline: &[u8], body: &mut Body) -> Result<Counters, Exception> {
    if !inline.is_empty() {
        insert.append(inline).map_err(Exception::of_engine)?;
    }
    let mut buffer = Vec::with_capacity(APPEND_BYTES);
    loop {
        buffer.clear();
        match body.read_up_to(&mut buffer, APPEND_BYTES) {
            Err(error) => {
                insert.cancel();
                return Err(error);
            }
            Ok(more) => {
                if !buffer.is_empty() {
                    insert.append(&buffer).map_err(Exception::of_engine)?;
                }
                if !more {
                    return insert.finish().map_err(Exception::of_engine);
                }
            }
        }
    }
}

/// Sends a result block by block. False when there is none at all.
fn stream(
    connection: &mut Connection,
    text: &[u8],
    format: &str,
    parameters: &[(String, String)],
    reply: &mut Reply,
) -> Result<bool, Exception> {
    let mut blocks = connection.stream(text, format, parameters)?;
    let Some(first) = blocks.next().map_err(Exception::of_engine)? else { return Ok(false) };
    let repeated = match format {
        ROW_BINARY_HEADED => head_length(first.data()).and_then(|length| first.data().get(..length)),
        _ => None,
    };
    reply.begin(format, Counters::default())?;
    reply.data(first.data())?;
    while let Some(block) = blocks.next().map_err(Exception::of_engine)? {
        let data = block.data();
        reply.data(repeated.and_then(|head| data.strip_prefix(head)).unwrap_or(data))?;
    }
    Ok(true)
}

/// What a result without rows consists of. `None` where the statement cannot be described: then it is run as a whole.
fn head_without_rows(
    connection: &mut Connection,
    text: &[u8],
    format: &str,
    parameters: &[(String, String)],
) -> Option<Vec<u8>> {
    if format != ROW_BINARY_HEADED {
        return Some(Vec::new());
    }
    let statement = [b"DESCRIBE TABLE (", bare(text), b"\n) SETTINGS describe_compact_output = 1"].concat();
    let answer = connection.query(&statement, "RowBinary", parameters).ok()?;
    head_from_description(answer.data())
}

/// Whether the statement may have a result worth streaming; SHOW, EXPLAIN and the like have a few rows.
fn is_select(text: &[u8]) -> bool {
    let word: Vec<u8> = text
        .trim_ascii_start()
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .map(u8::to_ascii_uppercase)
        .collect();
    [b"SELECT".as_slice(), b"WITH"].contains(&word.as_slice())
}
