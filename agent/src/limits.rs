//! Every limit of the agent that the configuration does not set, each with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use event::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX};

/// A file is known by at most this many of its first bytes: several log lines, with their times.
pub(crate) const FINGERPRINT_BYTES: usize = 1024;
/// A file with another inode is believed to be a copy of a known one only when at least this many first bytes agree: a
/// time and a host name, not only a common beginning.
pub(crate) const FINGERPRINT_COPY_BYTES_MIN: usize = 32;

/// Most files held open at once. Half of the usual soft limit of file descriptors (1,024).
pub(crate) const FILES_MAX: usize = 512;
/// Most symbolic links on the way to a file, as in Linux's own `MAXSYMLINKS`.
pub(crate) const LINKS_MAX: usize = 40;
/// Most files looked through in one folder when a rotated file is searched.
pub(crate) const SIBLINGS_MAX: usize = 4096;
/// How often the globs are expanded again. A known path is looked at on every tick; this is for new names only.
pub(crate) const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How much earlier than our clock a new file may say it was born: file systems stamp with a coarse clock (up to 10 ms
/// behind), network ones with the server's.
pub(crate) const CLOCK_GRAIN: Duration = Duration::from_secs(1);
/// How long lines wait for the rest of their event (records of one audit serial) before they go without it. auditd writes
/// the records of an event together; two seconds is its own `end_of_event_timeout`.
pub(crate) const GROUP_HOLD: Duration = Duration::from_secs(2);
/// How long a rotated file must be quiet before it is let go: its writer may keep it open until logrotate's postrotate
/// script has told it, and daemons finish slow requests first.
pub(crate) const ROTATED_QUIET: Duration = Duration::from_secs(30);
/// Files whose names end so are compressed: never tailed as the rest of a rotated file.
pub(crate) const COMPRESSED_SUFFIXES: [&str; 5] = [".gz", ".xz", ".bz2", ".zst", ".lz4"];

/// Batches formed but not yet taken by `ship`. One fsync of the ledger covers as many.
pub(crate) const QUEUE_BATCHES: usize = 8;
/// The ledger is written anew when it has grown beyond this: some thousands of batches.
pub(crate) const LEDGER_BYTES_MAX: u64 = 256 * 1024;
/// Longest entry of a ledger: a file's path and labels at their longest.
pub(crate) const LEDGER_ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// How long before the end of our certificate a person is told.
pub(crate) const CERTIFICATE_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// Time for a TCP connection, and again for the TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the TLS handshake a collector that has said nothing may still refuse our certificate: a round trip on a bad line.
pub(crate) const REFUSAL_WAIT: Duration = Duration::from_secs(1);
/// Time for one batch to be taken by the network. A collector that is slow for longer is as good as gone: all that is in
/// flight is sent again.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time without any acknowledgement, while batches are in flight, after which the connection is made anew. Long, because a
/// collector rightly withholds acknowledgements while its store is down; this is for one that hangs.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(300);
/// A peer that has vanished (power, cable, NAT) is noticed after 30 s of silence and three probes, 10 s apart.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_PROBES: u32 = 3;
/// First pause before a new connection; it doubles up to the longest. Each pause is drawn between half of it and all of
/// it, so that hundreds of agents do not come back in the same instant.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(250);
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Longest reply: a refusal whose reason is as long as a header's text may be.
pub(crate) const REPLY_BYTES_MAX: usize = event::HEADER_TEXT_BYTES_MAX + 64;
/// How long the end may take: the last batches and their acknowledgements. Below systemd's 90 s.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Time for one answer of the metrics page; connections are served one by one.
pub(crate) const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Most interfaces that are captured: a thread and a ring each.
pub(crate) const INTERFACES_MAX: usize = 8;
/// Longest name of an interface: the kernel's IFNAMSIZ less its end.
pub(crate) const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// One block of a ring: room for 16 whole frames of the longest kind (64 KiB, from offloads), some thousands of usual ones.
pub(crate) const BLOCK_BYTES: usize = 1024 * 1024;
/// What the kernel is told a frame may take; of a ring of blocks it only checks that they divide.
pub(crate) const FRAME_BYTES_ROOM: usize = 2048;
/// A block that is not full is left to us after so long: a wake-up for 60 ms of packets, and a record is not later than that.
pub(crate) const BLOCK_RETIRE_MS: u32 = 60;
/// Receive buffer of the pnet backend. The kernel charges it double; it holds 30,000 packets, 0.1 s at its highest rate.
pub(crate) const CHANNEL_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Longest frame of the pnet backend: 64 KiB of an offloaded segment and its headers.
pub(crate) const CHANNEL_FRAME_BYTES: usize = 68 * 1024;
/// How long packets are waited for: the longest that a stop waits.
pub(crate) const CAPTURE_WAIT: Duration = Duration::from_millis(100);
/// How often flows that are over are looked for.
pub(crate) const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);
/// How often what an interface carried is told, in microseconds: the five minutes of the rule for lines.
pub(crate) const COUNTERS_INTERVAL: event::Micros = 300_000_000;
/// How often losses are told to the centre, if there are any.
pub(crate) const NOTICE_INTERVAL: Duration = Duration::from_secs(60);
/// Lines are written to the spool when so many bytes are together, and at least so often: a few system calls a second.
pub(crate) const SPOOL_WRITE_BYTES: usize = 64 * 1024;
pub(crate) const SPOOL_WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// A segment of the spool: small enough that room comes back soon, large enough that its end (an fsync) is rare.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
pub(crate) const SEGMENT_BYTES_MIN: u64 = 128 * 1024;
/// What a segment counts beside its lines, so that the number of files is bounded, too: a block of the file system.
pub(crate) const SEGMENT_COST_BYTES: u64 = 4096;
/// Most segments followed at once, the oldest first: logs must not lack descriptors for them.
pub(crate) const SEGMENTS_FOLLOWED_MAX: usize = 64;

/// What `[capture]` and `[spool]` may hold. A ring has two blocks, so that one is filled while the other is read.
pub(crate) const RING_MIB_RANGE: RangeInclusive<u64> = 2..=256;
pub(crate) const FLOWS_RANGE: RangeInclusive<u64> = 100..=4_000_000;
pub(crate) const IDLE_RANGE_S: RangeInclusive<u64> = 1..=3_600;
pub(crate) const ACTIVE_RANGE_S: RangeInclusive<u64> = 10..=86_400;
pub(crate) const SPOOL_RANGE: RangeInclusive<u64> = 1024 * 1024..=1024 * 1024 * 1024 * 1024;

/// What `[batch]` may hold. A record's frame in the body takes at most 23 bytes, so that half of what a batch may have
/// leaves room for the frames of as many records as it may have.
pub(crate) const RECORDS_RANGE: RangeInclusive<u64> = 1..=BATCH_RECORDS_MAX as u64;
pub(crate) const BYTES_RANGE: RangeInclusive<u64> = RECORD_BYTES_MAX as u64..=BATCH_BYTES_MAX as u64 / 2;
pub(crate) const FLUSH_RANGE_MS: RangeInclusive<u64> = 10..=60_000;
pub(crate) const LEVEL_RANGE: RangeInclusive<u64> = 1..=19;
pub(crate) const WINDOW_RANGE: RangeInclusive<u64> = 1..=64;
