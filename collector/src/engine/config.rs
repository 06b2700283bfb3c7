//! The folder of the embedded store and the engine's configuration, written anew at each start.
//!
//! ```text
//! DATA_DIR/store/             0700
//!     data/                   what ClickHouse keeps
//!     config.xml, users.xml   made here; a change to them is lost
//!     writer.password         0600, made once
//!     reader.password         0600, made once
//!     lock                    held by the process that serves the data
//! ```

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

/// Marks of parts that are kept in memory: 32 MiB hold those of some hundred million rows of the primary key.
const MARK_CACHE_BYTES: u64 = 32 << 20;
/// Threads that merge parts, and threads for the engine's own timers: the machine has other things to do.
const MERGE_THREADS: u32 = 2;
const TIMER_THREADS: u32 = 4;
/// Threads of one statement.
const QUERY_THREADS: u32 = 2;
/// One statement may use this share of the whole (in percent), and sorts and groups on disk from half of that on.
const QUERY_MEMORY_PERCENT: u64 = 50;
/// Inserts whose token is remembered per table: far more than are on their way at once.
const DEDUPLICATION_WINDOW: u32 = 1_000;
/// How often a lock that another process holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// What the engine's one user may do: nothing that reaches beyond the tables (no files, no addresses, no other servers).
const GRANTS: &str = "GRANT SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, SHOW, dictGet, KILL QUERY, \
                      SYSTEM RELOAD, SYSTEM FLUSH, SYSTEM MERGES, SYSTEM DROP CACHE ON *.*";

/// Settings that name a file to be read, or another language than SQL, which is not looked through for such.
const LOCKED: [&str; 4] = ["dialect", "format_schema", "format_template_resultset", "format_template_row"];

/// Where everything lies.
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the folders.
    pub(super) fn make(data_dir: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(data_dir.join("store"))?;
        let layout = Self { root };
        for folder in [layout.root.clone(), layout.data()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(layout)
    }

    /// What ClickHouse keeps.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config.xml")
    }

    pub(super) fn users(&self) -> PathBuf {
        self.root.join("users.xml")
    }

    pub(super) fn writer_password(&self) -> PathBuf {
        self.root.join("writer.password")
    }

    pub(super) fn reader_password(&self) -> PathBuf {
        self.root.join("reader.password")
    }

    /// Takes the folder for this process, waiting up to `wait` for another to let go. Held until the file is dropped.
    pub(super) fn lock(&self, wait: Duration) -> anyhow::Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => bail!(
                    "{} is in use by another `vonggac store`: a folder can be served by one process at a time",
                    self.root.display()
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// Writes the configuration and gives the arguments of every connection. `boot` ones are for the first only.
    pub(super) fn configure(&self, memory_bytes_max: u64) -> anyhow::Result<Arguments> {
        let (users, config) = (self.users(), self.config());
        write(&users, &users_xml(memory_bytes_max))?;
        write(&config, &config_xml(&users)?)?;
        let path = argument("path", self.data().display())?;
        let boot = vec![
            argument("config-file", config.display())?,
            argument("max_server_memory_usage", memory_bytes_max)?,
            argument("mark_cache_size", MARK_CACHE_BYTES)?,
            argument("background_pool_size", MERGE_THREADS)?,
            argument("background_schedule_pool_size", TIMER_THREADS)?,
        ];
        Ok(Arguments { path, boot })
    }
}

/// Arguments of connections.
pub(super) struct Arguments {
    pub(super) path: CString,
    pub(super) boot: Vec<CString>,
}

/// `--name=value`.
pub(super) fn argument(name: &str, value: impl std::fmt::Display) -> anyhow::Result<CString> {
    CString::new(format!("--{name}={value}")).with_context(|| format!("a zero byte in the value of {name}"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Durable inserts, remembered tokens. The engine's own log is off: what went wrong is told to the client, and by our log.
fn config_xml(users: &Path) -> anyhow::Result<String> {
    let users = users.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", users.display()))?;
    Ok(format!(
        "<clickhouse>
    <logger><level>none</level></logger>
    <users_config>{}</users_config>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
        <non_replicated_deduplication_window>{DEDUPLICATION_WINDOW}</non_replicated_deduplication_window>
    </merge_tree>
</clickhouse>
",
        escape(users)
    ))
}

fn users_xml(memory_bytes_max: u64) -> String {
    let query_memory = memory_bytes_max / 100 * QUERY_MEMORY_PERCENT;
    let spill = query_memory / 2;
    let locked = LOCKED.map(|name| format!("<{name}><const/></{name}>")).concat();
    format!(
        "<clickhouse>
    <profiles>
        <default>
            <max_threads>{QUERY_THREADS}</max_threads>
            <max_memory_usage>{query_memory}</max_memory_usage>
            <max_bytes_before_external_group_by>{spill}</max_bytes_before_external_group_by>
            <max_bytes_before_external_sort>{spill}</max_bytes_before_external_sort>
            <implicit_select>0</implicit_select>
            <constraints>{locked}</constraints>
            <deduplicate_blocks_in_dependent_materialized_views>1</deduplicate_blocks_in_dependent_materialized_views>
        </default>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password/>
            <profile>default</profile>
            <quota>default</quota>
            <networks><ip>::/0</ip></networks>
            <grants><query>{GRANTS}</query></grants>
        </default>
    </users>
</clickhouse>
"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_a_folder_once() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::make(folder.path()).unwrap();
        let held = layout.lock(Duration::ZERO).unwrap();
        let error = layout.lock(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("in use by another"), "{error}");
        drop(held);
        layout.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn escapes_paths_in_xml() {
        let xml = config_xml(Path::new("/a&b<c/users.xml")).unwrap();
        assert!(xml.contains("<users_config>/a&amp;b&lt;c/users.xml</users_config>"), "{xml}");
    }
}
