//! The engine and its connections, in safe terms.
//!
//! One engine per process; the boot connection stays open as long as it. Each request gets a connection of its own, which costs
//! less than a millisecond and keeps settings, current database and temporary tables apart. The engine is always the user
//! `default`; what the asking user may do is settled before a statement gets here (`execute.rs`), and once more by `readonly`.

use std::ffi::CString;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow};
use tracing::{debug, warn};

use super::auth::Access;
use super::config::{Arguments, Layout, argument};
use super::confine::{UNCONFINED, confine};
use super::exception::{Exception, code};
use super::ffi::{Answer, Blocks, Chdb, Class, Counters, Handle, Insert, Parameters};

/// What the engine says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) timezone: String,
    pub(super) display_name: String,
}

/// The engine.
pub(super) struct Engine {
    chdb: Chdb,
    path: CString,
    boot: Mutex<Option<Handle>>,
    pub(super) facts: Facts,
}

impl Engine {
    /// Loads the library and opens the data.
    pub(super) fn open(library: &Path, layout: &Layout, memory_bytes_max: u64) -> anyhow::Result<Self> {
        let Arguments { path, boot } = layout.configure(memory_bytes_max)?;
        if let Err(error) = confine(&[library, &layout.config(), &layout.users()], &layout.data()) {
            warn!("{UNCONFINED}: {error}");
        }
        let chdb = Chdb::load(library)
            .with_context(|| format!("the ClickHouse engine library {}", library.display()))?;
        let arguments: Vec<CString> =
            [c"clickhouse".to_owned(), path.clone()].into_iter().chain(boot).collect();
        let mut handle = chdb.connect(&arguments).ok_or_else(|| {
            anyhow!(
                "the ClickHouse engine cannot open {}: it is in use by another program, or damaged, or not ours to write; \
                 the engine's own words stand above",
                path.to_string_lossy().trim_start_matches("--path=")
            )
        })?;
        let facts = facts(&mut handle).map_err(|error| anyhow!("the engine does not answer: {error}"))?;
        Ok(Self { chdb, path, boot: Mutex::new(Some(handle)), facts })
    }

    /// A connection whose statements can be told by `tag`.
    pub(super) fn connect(&self, access: Access, tag: &str) -> Result<Connection, Exception> {
        let mut arguments = vec![c"clickhouse".to_owned(), self.path.clone()];
        let comment = argument("log_comment", tag).map_err(Exception::bad)?;
        arguments.push(comment);
        if access == Access::Read {
            arguments.push(c"--readonly=2".to_owned()); // settings may change, nothing else, and not this one
        }
        let handle = self.chdb.connect(&arguments).ok_or_else(|| {
            Exception::new(code::STD_EXCEPTION, "STD_EXCEPTION", "the engine opens no connection")
        })?;
        Ok(Connection { handle, tag: tag.to_owned(), changed: Vec::new() })
    }

    /// Ends the statements with this tag.
    pub(super) fn kill(&self, tag: &str) {
        self.aside(&format!("KILL QUERY WHERE endsWith(Settings['log_comment'], {}) ASYNC", quote(tag)));
    }

    /// Ends all statements.
    pub(super) fn kill_all(&self) {
        self.aside("KILL QUERY WHERE query NOT LIKE 'KILL%' ASYNC");
    }

    /// Loads dictionaries again whose lifetime is over; the engine forgets to.
    pub(super) fn reload_dictionaries(&self) {
        let stale = "SELECT concat('`', database, '`.`', name, '`') FROM system.dictionaries \
                     WHERE status = 'LOADED' AND lifetime_max > 0 \
                     AND last_successful_update_time + lifetime_max < now()";
        for name in self.aside(stale).unwrap_or_default().lines() {
            self.aside(&format!("SYSTEM RELOAD DICTIONARY {name}"));
        }
    }

    /// Runs a statement of our own. What fails is logged.
    fn aside(&self, statement: &str) -> Option<String> {
        let run = || -> Result<String, Exception> {
            let mut connection = self.connect(Access::Write, "vonggac store")?;
            let answer = connection.query(statement.as_bytes(), "TSVRaw", &[])?;
            Ok(String::from_utf8_lossy(answer.data()).into_owned())
        };
        match run() {
            Ok(text) => Some(text),
            Err(error) => {
                warn!(statement, error = error.text(&self.facts.version), "the store's own statement failed");
                None
            }
        }
    }

    /// Closes the data. All other connections must be closed. True when every thread of the engine has ended.
    pub(super) fn close(&self) -> bool {
        drop(self.boot.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.chdb.shutdown()
    }
}

fn facts(handle: &mut Handle) -> Result<Facts, String> {
    let answer = handle.query(b"SELECT version(), timezone(), displayName()", "TSVRaw", &[])?;
    let text = String::from_utf8_lossy(answer.data()).into_owned();
    let mut fields = text.trim_end().split('\t').map(str::to_owned);
    let mut next = || fields.next().unwrap_or_default();
    Ok(Facts { version: next(), timezone: next(), display_name: next() })
}

/// A connection, and which of its settings are not its own.
pub(super) struct Connection {
    handle: Handle,
    tag: String,
    changed: Vec<String>,
}

impl Connection {
    /// Applies a request's settings and its database.
    pub(super) fn prepare(
        &mut self,
        settings: &[(String, String)],
        database: Option<&str>,
    ) -> Result<(), Exception> {
        if !settings.is_empty() {
            let list: Vec<String> = settings
                .iter()
                .map(|(name, value)| format!("{name} = {}", self.value(name, value)))
                .collect();
            self.changed = settings.iter().map(|(name, _)| name.clone()).collect();
            self.query(format!("SET {}", list.join(", ")).as_bytes(), "Null", &[])?;
        }
        if let Some(database) = database.filter(|name| !name.is_empty()) {
            self.query(format!("USE {}", identifier(database)).as_bytes(), "Null", &[])?;
        }
        Ok(())
    }

    /// A client's own comment keeps our tag behind it: by it we find the statement.
    fn value(&self, name: &str, value: &str) -> String {
        match name {
            "log_comment" => quote(&format!("{value} {}", self.tag)),
            _ => quote(value),
        }
    }

    /// Takes the settings of the last request back; others that the session SET by itself stay.
    pub(super) fn restore(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let value = if name == "log_comment" { quote(&self.tag) } else { "DEFAULT".into() };
            if let Err(error) = self.query(format!("SET {name} = {value}").as_bytes(), "Null", &[]) {
                debug!(name, ?error, "a setting of a session cannot be taken back");
            }
        }
    }

    pub(super) fn classify(&mut self, statement: &[u8]) -> Option<Class> {
        self.handle.classify(statement)
    }

    pub(super) fn query(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Answer, Exception> {
        self.handle.query(statement, format, parameters).map_err(Exception::of_engine)
    }

    pub(super) fn stream(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Blocks<'_>, Exception> {
        self.handle.stream(statement, format, parameters).map_err(Exception::of_engine)
    }

    pub(super) fn insert(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Insert<'_>, Exception> {
        self.handle.insert(statement, format, parameters).map_err(Exception::of_engine)
    }
}

/// As it stands in the header `X-ClickHouse-Summary`.
pub(super) fn summary(counters: Counters) -> String {
    let Counters { result_rows, result_bytes, read_rows, read_bytes, written_rows, written_bytes, elapsed_s } =
        counters;
    let elapsed_ns = std::time::Duration::try_from_secs_f64(elapsed_s).unwrap_or_default().as_nanos();
    format!(
        "{{\"read_rows\":\"{read_rows}\",\"read_bytes\":\"{read_bytes}\",\"written_rows\":\"{written_rows}\",\
         \"written_bytes\":\"{written_bytes}\",\"total_rows_to_read\":\"0\",\"result_rows\":\"{result_rows}\",\
         \"result_bytes\":\"{result_bytes}\",\"elapsed_ns\":\"{elapsed_ns}\"}}"
    )
}

/// A string literal.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A quoted name.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_could_end_a_literal() {
        assert_eq!(quote(r"it's \"), r"'it\'s \\'");
        assert_eq!(identifier("a`b"), r"`a\`b`");
    }
}
