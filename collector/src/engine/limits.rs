//! The limits of the embedded store's HTTP side. The engine's own limits (memory, threads) stand in `config.rs`.

use std::time::Duration;

/// Statements of the writer that run at once: the collector's inserts, migrations, a person's queries.
pub(super) const WRITER_QUERIES_MAX: usize = 8;
/// Statements of readers that run at once: dashboards. Counted apart, so that dashboards cannot keep the collector out.
pub(super) const READER_QUERIES_MAX: usize = 8;
/// How long a request waits for its turn before it is told that there are too many.
pub(super) const TURN_WAIT: Duration = Duration::from_secs(30);

/// What is read before it is decided whether a body is a statement with data behind it (ClickHouse's `max_query_size`).
pub(super) const HEAD_BYTES: usize = 256 << 10;
/// A statement without data. The engine itself parses `max_query_size` of it, unless a client raises that setting.
pub(super) const STATEMENT_BYTES_MAX: usize = 16 << 20;
/// A body, decompressed: a batch of the collector is some tens of MB, a restored table may be more.
pub(super) const BODY_BYTES_MAX: u64 = 4 << 30;
/// One compressed block of ClickHouse's native framing, decompressed. Clients cut at 1 MB or less.
pub(super) const BLOCK_BYTES_MAX: usize = 64 << 20;
/// log2 of the window that a zstd body may ask for: 8 MiB, what levels up to 19 use.
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What is still read, to be thrown away, from a client whose request has failed already: it then reads our answer instead of
/// a reset connection.
pub(super) const DRAIN_BYTES_MAX: usize = 64 << 20;
/// Pieces of a body on their way to the engine, and of a result on their way to the client.
pub(super) const PIECES_IN_FLIGHT: usize = 4;
/// What is handed to an insert stream at once.
pub(super) const APPEND_BYTES: usize = 256 << 10;

/// Parameters of a request, in number: a statement with more is a mistake.
pub(super) const PARAMETERS_MAX: usize = 1_000;
/// Sessions at once. A client that names a session keeps a connection of the engine open.
pub(super) const SESSIONS_MAX: usize = 64;
/// The life of an idle session, unless the client says otherwise, and the longest it may ask for (as ClickHouse).
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// How often idle sessions are ended and dictionaries beyond their lifetime are loaded again, which the engine does not do.
pub(super) const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(5);
/// How long running statements may take to end once the store was told to stop; then they are killed.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a store that follows a dead one waits for it to let go of the data.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(15);
/// A statement in the log is cut here.
pub(super) const LOGGED_STATEMENT_CHARS: usize = 200;
