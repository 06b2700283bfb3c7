//! Events per CPU-second of each format: `cargo run --release -p event --example parse_bench`.
//!
//! Made-up lines of usual length, batches of 1,000, one core, CPU time from the kernel, so that a busy machine does not count.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock of the kernel")]

use event::{Batch, Format, Header, Record, parse_batch};

const LINES: [(&str, Format, &[&str]); 5] = [
    (
        "sshd",
        Format::Auto,
        &[
            "Nov 23 09:15:07 web01 sshd[4711]: Failed password for invalid user oracle from 203.0.113.9 port 51302 ssh2",
        ],
    ),
    (
        "sudo",
        Format::Auto,
        &[
            "Nov 23 09:15:07 web01 sudo: ana : TTY=pts/0 ; PWD=/home/ana ; USER=root ; COMMAND=/usr/bin/apt update",
        ],
    ),
    (
        "web",
        Format::Auto,
        &[
            "203.0.113.9 - - [23/Nov/2026:09:15:07 +0700] \"GET /a/b.php?id=1%20OR%201 HTTP/1.1\" 200 5316 \"https://example.gov.vn/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"",
        ],
    ),
    (
        "auditd",
        Format::Auto,
        &[
            "type=SYSCALL msg=audit(1795400107.120:501): arch=c000003e syscall=59 success=yes exit=0 a0=55d0 a1=55d8 a2=55e0 a3=8 items=2 ppid=4000 pid=4001 auid=1001 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm=\"bash\" exe=\"/usr/bin/bash\" key=\"exec\"",
            "type=EXECVE msg=audit(1795400107.120:501): argc=3 a0=\"bash\" a1=\"-c\" a2=6375726C20687474703A2F2F",
            "type=CWD msg=audit(1795400107.120:501): cwd=\"/root\"",
            "type=PATH msg=audit(1795400107.120:501): item=0 name=\"/usr/bin/bash\" inode=131 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL",
            "type=PROCTITLE msg=audit(1795400107.120:501): proctitle=62617368002D63006375726C",
        ],
    ),
    (
        "json",
        Format::Auto,
        &[
            "{\"@timestamp\":\"2026-11-23T02:15:07Z\",\"level\":\"info\",\"user\":{\"name\":\"ana\"},\"source\":{\"ip\":\"203.0.113.9\",\"port\":51234},\"msg\":\"signed in\"}",
        ],
    ),
];

/// Batches of about 1,000 records each: some seconds in all.
const BATCHES: u32 = 500;

fn main() {
    println!("{:<8} {:>14} {:>10}", "format", "events/CPU-s", "MB/CPU-s");
    for (name, format, lines) in LINES {
        let records = (0..1000 / lines.len()).flat_map(|event| {
            // Each event has a serial of its own.
            lines.iter().map(move |line| line.replace(":501)", &format!(":{event})")))
        });
        let records: Vec<String> = records.collect();
        let bytes: usize = records.iter().map(|line| line.len() + 1).sum();
        let records = records.iter().map(|line| Record {
            time: 1_795_400_110_000_000,
            offset: 0,
            bytes: line.as_bytes(),
        });
        let header = Header { format, ..Header::default() };
        let batch = Batch::new(header, records).unwrap_or_else(|error| panic!("{error}"));
        let start = cpu_seconds();
        let events: usize = (0..BATCHES).map(|_| std::hint::black_box(parse_batch(&batch)).len()).sum();
        let seconds = cpu_seconds() - start;
        let megabytes = bytes as f64 * f64::from(BATCHES) / 1e6;
        println!("{name:<8} {:>14.0} {:>10.0}", events as f64 / seconds, megabytes / seconds);
    }
}

/// User and system time of this process, which has one thread.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|time| time.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}
