//! The binding of `libchdb.so` (chDB 26.7 or later), loaded while the program runs: the only module with `unsafe`.
//!
//! What leaves this file is safe: every handle of the library has one owner that frees it, and a stream borrows its
//! connection, because a connection runs one statement at a time. The library is never unloaded: its threads live as long
//! as the process. The signatures are those of `programs/local/chdb.h` of chdb-core 26.7.
#![expect(unsafe_code, reason = "calls a C library; each block says why it is sound")]

use std::ffi::{CStr, CString, c_char, c_double, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// The oldest library with insert streams and the classification of statements.
const VERSION_MIN: (u32, u32) = (26, 7);

/// `CHDBSuccess`.
const SUCCESS: c_int = 0;

type RawConnection = NonNull<c_void>;
type RawResult = *mut c_void;
type RawInsert = *mut c_void;

/// `chdb_query_analysis_v1`.
#[repr(C)]
struct Analysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// Declares the table of the library's functions: one field each, named as the symbol without its prefix.
macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The library's functions.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn resolve(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the type is that of the function of this name in chdb.h of the versions we accept, and the
                    // library is never unloaded, so the pointer stays good.
                    $($name: unsafe { *library.get(concat!("chdb_", stringify!($name)).as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    set_signal_handlers_enabled(c_int);
    version() -> *const c_char;
    connect(c_int, *const *const c_char) -> *mut *mut c_void;
    close_conn(*mut *mut c_void);
    shutdown() -> c_int;
    classify_query_n(RawConnection, *const c_char, usize, *const c_char, usize, *mut Analysis) -> c_int;
    query_with_params_n(RawConnection, *const c_char, usize, *const c_char, usize,
        *const *const c_char, *const usize, *const *const c_char, *const usize, usize) -> RawResult;
    stream_query_with_params_n(RawConnection, *const c_char, usize, *const c_char, usize,
        *const *const c_char, *const usize, *const *const c_char, *const usize, usize) -> RawResult;
    stream_fetch_result(RawConnection, RawResult) -> RawResult;
    stream_cancel_query(RawConnection, RawResult);
    stream_insert_with_params_n(RawConnection, *const c_char, usize, *const c_char, usize,
        *const *const c_char, *const usize, *const *const c_char, *const usize, usize) -> RawInsert;
    stream_append(RawInsert, *const c_void, usize) -> c_int;
    stream_done(RawInsert) -> RawResult;
    stream_cancel_insert(RawInsert);
    stream_insert_error(RawInsert) -> *const c_char;
    destroy_insert_stream(RawInsert);
    destroy_query_result(RawResult);
    result_buffer(RawResult) -> *const c_char;
    result_length(RawResult) -> usize;
    result_error(RawResult) -> *const c_char;
    result_elapsed(RawResult) -> c_double;
    result_rows_read(RawResult) -> u64;
    result_bytes_read(RawResult) -> u64;
    result_storage_rows_read(RawResult) -> u64;
    result_storage_bytes_read(RawResult) -> u64;
    result_rows_written(RawResult) -> u64;
    result_bytes_written(RawResult) -> u64;
}

/// The loaded library.
#[derive(Clone, Copy)]
pub(super) struct Chdb(&'static Functions);

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot load it: {0}")]
    Load(#[from] libloading::Error),
    #[error("it is version {found}, {}.{} or later is needed", VERSION_MIN.0, VERSION_MIN.1)]
    TooOld { found: String },
}

/// What a statement is, as the engine's own parser says. The default is what does not parse.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Class {
    pub(super) statements: u32,
    /// Leaves no trace: SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK.
    pub(super) read_only: bool,
}

/// Counters of a statement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) elapsed_s: f64,
    pub(super) result_rows: u64,
    pub(super) result_bytes: u64,
    pub(super) read_rows: u64,
    pub(super) read_bytes: u64,
    pub(super) written_rows: u64,
    pub(super) written_bytes: u64,
}

impl Chdb {
    /// Loads the library, with UTC as its time zone, and keeps it from taking over the process's signals.
    ///
    /// To be called before the process has a second thread.
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        // SAFETY: no other thread reads the environment: see above. The engine takes its time zone from nowhere else.
        unsafe { std::env::set_var("TZ", "UTC") };
        // SAFETY: loading runs the library's constructors; this is the C++ runtime's usual start and needs nothing of us.
        let library = unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_LOCAL)? };
        let functions: &'static Functions = Box::leak(Box::new(Functions::resolve(&library)?));
        std::mem::forget(library); // never unloaded: see above
        let chdb = Self(functions);
        let found = chdb.version();
        if !new_enough(&found) {
            return Err(LoadError::TooOld { found });
        }
        // SAFETY: called before the first connection, as chdb.h asks.
        unsafe { (functions.set_signal_handlers_enabled)(0) };
        Ok(chdb)
    }

    fn version(self) -> String {
        // SAFETY: returns a static string.
        unsafe { text((self.0.version)()) }.unwrap_or_default()
    }

    /// Opens a connection. `None` when the engine refuses: it says why on standard error only.
    pub(super) fn connect(self, arguments: &[CString]) -> Option<Handle> {
        let pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` pointers to C strings that outlive the call; the library copies what it keeps.
        let owner = NonNull::new(unsafe { (self.0.connect)(count, pointers.as_ptr()) })?;
        // SAFETY: a connection that is not null points at its handle until it is closed.
        let Some(raw) = NonNull::new(unsafe { *owner.as_ptr() }) else {
            // SAFETY: as `Handle::drop`.
            unsafe { (self.0.close_conn)(owner.as_ptr()) };
            return None;
        };
        Some(Handle { chdb: self.0, owner, raw })
    }

    /// Stops the engine's threads. False while a connection is open.
    pub(super) fn shutdown(self) -> bool {
        // SAFETY: takes nothing; refuses by itself while a connection is open.
        unsafe { (self.0.shutdown)() == SUCCESS }
    }
}

fn new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= VERSION_MIN
}

/// A connection: settings, current database and temporary tables of its own.
pub(super) struct Handle {
    chdb: &'static Functions,
    owner: NonNull<*mut c_void>,
    raw: RawConnection,
}

// SAFETY: chdb.h declares its functions thread-safe and binds no connection to a thread; we only ever use one from one thread
// at a time, which `&mut self` ensures.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: `owner` came from chdb_connect and is closed here only; streams and results of it hold a borrow or are
        // independent of it.
        unsafe { (self.chdb.close_conn)(self.owner.as_ptr()) };
    }
}

/// Values for `{name:Type}` in a statement.
pub(super) type Parameters = [(String, String)];

/// The parallel arrays that chdb.h asks for.
struct Arrays {
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
}

impl Arrays {
    fn new(parameters: &Parameters) -> Self {
        Self {
            names: parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect(),
            name_lengths: parameters.iter().map(|(name, _)| name.len()).collect(),
            values: parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect(),
            value_lengths: parameters.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

/// Calls a function of the family `..._with_params_n`.
macro_rules! with_parameters {
    ($handle:expr, $function:ident, $statement:expr, $format:expr, $parameters:expr) => {{
        let arrays = Arrays::new($parameters);
        // SAFETY: all pointers are of slices that outlive the call, each with its length; the library copies what it keeps.
        unsafe {
            ($handle.chdb.$function)(
                $handle.raw,
                $statement.as_ptr().cast(),
                $statement.len(),
                $format.as_ptr().cast(),
                $format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                $parameters.len(),
            )
        }
    }};
}

impl Handle {
    /// What the statement would do; nothing is run.
    pub(super) fn classify(&mut self, statement: &[u8]) -> Option<Class> {
        let size = u32::try_from(size_of::<Analysis>()).ok()?;
        let mut analysis =
            Analysis { struct_size: size, statement_count: 0, flags: 0, query_class: u32::MAX };
        // SAFETY: the statement is a slice with its length, no target database is named, and the struct says its size.
        let state = unsafe {
            (self.chdb.classify_query_n)(
                self.raw,
                statement.as_ptr().cast(),
                statement.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        (state == SUCCESS)
            .then_some(Class { statements: analysis.statement_count, read_only: analysis.query_class == 0 })
    }

    /// Runs a statement to its end and keeps all of its result.
    pub(super) fn query(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Answer, String> {
        let raw = with_parameters!(self, query_with_params_n, statement, format, parameters);
        Answer { chdb: self.chdb, raw }.checked()
    }

    /// Starts a statement whose result is fetched block by block.
    pub(super) fn stream(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Blocks<'_>, String> {
        let raw = with_parameters!(self, stream_query_with_params_n, statement, format, parameters);
        let head = Answer { chdb: self.chdb, raw }.checked()?;
        Ok(Blocks { handle: self, head, open: true })
    }

    /// Starts an INSERT: the statement without FORMAT and without data.
    pub(super) fn insert(
        &mut self,
        statement: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<Insert<'_>, String> {
        let raw = with_parameters!(self, stream_insert_with_params_n, statement, format, parameters);
        let insert = Insert { chdb: self.chdb, raw, connection: PhantomData };
        match insert.error() {
            Some(error) => Err(error),
            None => Ok(insert),
        }
    }
}

/// Reads a C string of the library.
///
/// SAFETY: `pointer` is null or points at a string that lives during the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// A result, or one block of one.
pub(super) struct Answer {
    chdb: &'static Functions,
    raw: RawResult,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: each result has one owner; null is allowed.
        unsafe { (self.chdb.destroy_query_result)(self.raw) };
    }
}

impl Answer {
    fn checked(self) -> Result<Self, String> {
        if self.raw.is_null() {
            return Err("Code: 1001. DB::Exception: the engine gave no result. (STD_EXCEPTION)".into());
        }
        // SAFETY: the result lives; the string lives as long as it.
        match unsafe { text((self.chdb.result_error)(self.raw)) } {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The formatted bytes.
    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: the result lives and is not changed; pointer and length describe one buffer that it owns, or null and 0.
        unsafe {
            let (start, length) = ((self.chdb.result_buffer)(self.raw), (self.chdb.result_length)(self.raw));
            if start.is_null() || length == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(start.cast(), length)
            }
        }
    }

    pub(super) fn counters(&self) -> Counters {
        // SAFETY: the result lives; these only read.
        unsafe {
            Counters {
                elapsed_s: (self.chdb.result_elapsed)(self.raw),
                result_rows: (self.chdb.result_rows_read)(self.raw),
                result_bytes: (self.chdb.result_bytes_read)(self.raw),
                read_rows: (self.chdb.result_storage_rows_read)(self.raw),
                read_bytes: (self.chdb.result_storage_bytes_read)(self.raw),
                written_rows: (self.chdb.result_rows_written)(self.raw),
                written_bytes: (self.chdb.result_bytes_written)(self.raw),
            }
        }
    }
}

/// A running SELECT. Dropped before its end, it is cancelled.
pub(super) struct Blocks<'a> {
    handle: &'a mut Handle,
    head: Answer,
    open: bool,
}

impl Blocks<'_> {
    /// The next block, formatted as a document of its own; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, String> {
        // SAFETY: both handles live, and `&mut` keeps everyone else from them.
        let raw = unsafe { (self.handle.chdb.stream_fetch_result)(self.handle.raw, self.head.raw) };
        let block = Answer { chdb: self.handle.chdb, raw }.checked().inspect_err(|_| self.open = false)?;
        if block.data().is_empty() {
            self.open = false;
            return Ok(None);
        }
        Ok(Some(block))
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        if self.open {
            // SAFETY: both handles live.
            unsafe { (self.handle.chdb.stream_cancel_query)(self.handle.raw, self.head.raw) };
        }
    }
}

/// A running INSERT. Dropped before `finish`, it is cancelled and stores nothing of the block under way.
pub(super) struct Insert<'a> {
    chdb: &'static Functions,
    raw: RawInsert,
    connection: PhantomData<&'a mut Handle>,
}

impl Insert<'_> {
    fn error(&self) -> Option<String> {
        // SAFETY: the stream lives; chdb.h says it is never null. The string lives as long as it.
        unsafe { text((self.chdb.stream_insert_error)(self.raw)) }
    }

    /// Hands the engine more data; waits when the engine is behind.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<(), String> {
        // SAFETY: the stream lives; the data are copied.
        let state = unsafe { (self.chdb.stream_append)(self.raw, data.as_ptr().cast(), data.len()) };
        if state == SUCCESS {
            return Ok(());
        }
        // The reason is told by the end of the stream where it is not told here.
        Err(self.error().or_else(|| self.done().err()).unwrap_or_else(|| {
            "Code: 1001. DB::Exception: the engine refused the data of an INSERT. (STD_EXCEPTION)".into()
        }))
    }

    /// Commits.
    pub(super) fn finish(mut self) -> Result<Counters, String> {
        self.done().map(|answer| answer.counters())
    }

    fn done(&mut self) -> Result<Answer, String> {
        // SAFETY: the stream lives; the result is ours to free.
        let raw = unsafe { (self.chdb.stream_done)(self.raw) };
        Answer { chdb: self.chdb, raw }.checked()
    }

    /// Stores nothing.
    pub(super) fn cancel(self) {
        // SAFETY: the stream lives; it is freed by drop.
        unsafe { (self.chdb.stream_cancel_insert)(self.raw) };
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: freed here only; a stream that was not finished is cancelled by it.
        unsafe { (self.chdb.destroy_insert_stream)(self.raw) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_oldest_version_with_insert_streams() {
        for (version, accepted) in
            [("26.7.0", true), ("26.7.3", true), ("27.1", true), ("26.5.3", false), ("", false)]
        {
            assert_eq!(new_enough(version), accepted, "{version}");
        }
    }
}
