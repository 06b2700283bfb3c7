//! Every format through `parse_batch`: what comes out, and that nothing is lost on the way.

use proptest::prelude::*;

use super::*;
use crate::{FIELDS_MAX, Value};

const FORMATS: [Format; 7] =
    [Format::Auto, Format::Syslog, Format::Auditd, Format::Web, Format::Json, Format::Otlp, Format::Flow];

/// Lines that every parser has a way into; properties cut and change them.
const LINES: [&str; 15] = [
    "Nov 23 09:15:07 web01 sshd[1]: Failed password for invalid user a from 203.0.113.9 port 51302 ssh2",
    "Nov 23 09:15:07 web01 sshd[1]: Disconnected from user ana 203.0.113.9 port 51234",
    "<34>1 2026-11-23T02:15:07Z web01 su 1 - [a@1 k=\"v\\\"\"] 'su root' failed",
    "Nov 23 09:15:07 web01 sudo: ana : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
    "Nov 23 09:15:07 web01 login: pam_unix(login:auth): authentication failure; uid=0 rhost=203.0.113.9  user=root",
    "type=SYSCALL msg=audit(1795400107.120:501): arch=c000003e syscall=59 success=yes a0=1 pid=4 exe=\"/bin/sh\"",
    "type=EXECVE msg=audit(1795400107.120:501): argc=2 a0=\"sh\" a1=2D63",
    "type=PROCTITLE msg=audit(1795400107.120:501): proctitle=6964",
    "type=USER_LOGIN msg=audit(1795400108.000:502): pid=1 msg='op=login acct=\"a\" addr=203.0.113.9 res=failed'",
    "203.0.113.9 - - [23/Nov/2026:09:15:07 +0700] \"GET /a%20?b=\\x22 HTTP/1.1\" 200 5 \"-\" \"curl\"",
    "2026/11/23 09:15:07 [error] 31#31: *46 failed, client: 203.0.113.9, request: \"GET / HTTP/1.1\"",
    "[Mon Nov 23 09:15:07 2026] [core:error] [pid 1:tid 2] [client 203.0.113.9:51234] AH00126",
    "{\"ts\":1795400107,\"a\":{\"b\":[1,{\"c\":null}]},\"d\":\"\\u1ec5\"}",
    "{\"__REALTIME_TIMESTAMP\":\"1795400107120394\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_PID\":\"1\",\"MESSAGE\":\"Failed password for \\u1ec5 from 203.0.113.9 port 51302 ssh2\"}",
    "{\"body\":\"type=CWD msg=audit(1.0:1): cwd=2F\",\"time\":1795400107120394000,\"attributes\":{\"a\":1}}",
];

fn batch(format: Format, lines: &[Vec<u8>]) -> Batch {
    let header = Header { format, ..Header::default() };
    Batch::new(header, lines.iter().map(|bytes| Record { time: 0, offset: 0, bytes })).unwrap()
}

/// A line of one of the formats with some of its bytes changed, or any bytes.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        0..LINES.len(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        0..200_usize,
    )
        .prop_map(|(line, changes, length)| {
            let mut line = LINES[line].as_bytes().to_vec();
            for (index, byte) in changes {
                let index = index.index(line.len());
                line[index] = byte;
            }
            line.truncate(line.len().max(length) - line.len().min(length) / 4);
            line
        });
    prop_oneof![3 => changed, 1 => prop::collection::vec(any::<u8>(), 0..120)]
}

/// Which records the events are made of: each must be there once, in order.
fn covered(events: &[Event<'_>]) -> u32 {
    events.iter().fold(0, |next, event| {
        assert_eq!(event.record, next, "events are runs of records, without a gap");
        assert!(event.records > 0);
        next + event.records
    })
}

proptest! {
    #[test]
    fn every_record_belongs_to_exactly_one_event(lines in prop::collection::vec(line(), 0..12), format in 0..FORMATS.len()) {
        let batch = batch(FORMATS[format], &lines);
        let events = parse_batch(&batch);
        prop_assert_eq!(covered(&events) as usize, lines.len());
        let mut one_by_one = Events::of(&batch);
        let mut read: Vec<Vec<u8>> = Vec::new();
        for event in &events {
            let (same, records) = one_by_one.next_with_records().unwrap();
            prop_assert!(same == *event);
            prop_assert_eq!(records.len(), event.records as usize);
            read.extend(records.iter().map(|record| record.bytes.to_vec()));
            prop_assert!(unicode_normalization::is_nfc(&event.message));
            let texts = event.fields.iter().filter_map(|(_, value)| value.as_text());
            let bytes: usize = texts.map(str::len).sum();
            let record: usize = records.iter().map(|record| record.bytes.len()).sum();
            prop_assert!(bytes <= 16 * record + 256, "{} bytes of fields from {} bytes", bytes, record);
        }
        prop_assert!(one_by_one.next().is_none());
        let mut came = lines;
        read.sort_unstable();
        came.sort_unstable();
        prop_assert_eq!(read, came, "whatever their order, all records are read");
    }

    #[test]
    fn a_batch_that_ends_where_it_may_gives_the_same_events(lines in prop::collection::vec(line(), 2..12), at in any::<prop::sample::Index>()) {
        let at = at.index(lines.len() - 1) + 1;
        let (head, tail) = lines.split_at(at);
        let whole = parse_batch(&batch(Format::Auto, &lines)).len();
        let parts = parse_batch(&batch(Format::Auto, head)).len() + parse_batch(&batch(Format::Auto, tail)).len();
        // The same: unless records of an event stand on both sides, with those of another between them or not.
        let is_apart = |line: &Vec<u8>| auditd::serial(line).is_none_or(|serial| tail.iter().all(|other| auditd::serial(other) != Some(serial)));
        if head.iter().all(is_apart) {
            prop_assert!(cuts_before(Format::Auto, &lines[at - 1], Some(&lines[at])));
            prop_assert_eq!(whole, parts);
        } else {
            prop_assert!(whole <= parts);
        }
    }
}

/// The time of a JSON line that was received at [`RECEIVED`] from a host in Viet Nam, after its receipt.
fn time_of(line: &str) -> (Micros, crate::TsQuality) {
    let header =
        Header { format: Format::Json, time_base: RECEIVED, utc_offset_s: 25_200, ..Header::default() };
    let batch = Batch::new(header, [Record { time: RECEIVED, offset: 0, bytes: line.as_bytes() }]).unwrap();
    let event = &parse_batch(&batch)[0];
    (event.ts - RECEIVED, event.ts_quality)
}

#[test]
fn a_json_time_has_the_zone_that_it_states() {
    let (event, assumed) = (crate::TsQuality::Event, crate::TsQuality::Assumed);
    for (line, expected) in [
        (r#"{"timestamp":"2026-11-23 02:15:06.000 UTC"}"#, (-1_000_000, event)),
        (r#"{"timestamp":"2026-11-23 09:15:06.000 +07"}"#, (-1_000_000, event)),
        (r#"{"UtcTime":"2026-11-23 02:15:06.000","EventTime":"2026-11-23 09:15:07"}"#, (0, assumed)),
        (r#"{"UtcTime":"2026-11-23 02:15:06.000"}"#, (-1_000_000, event)),
        (r#"{"time":12,"ts":1795400106}"#, (-1_000_000, event)),
        (r#"{"time":"2026-11-23 09:15:06"}"#, (-1_000_000, assumed)),
    ] {
        assert_eq!(time_of(line), expected, "{line}");
    }
}

#[test]
fn a_header_before_broken_structured_data_is_read() {
    one(Format::Syslog, "<165>1 - fw01 filter 7 ID [a@1 k=v] dropped", |event| {
        assert_eq!((event.text("hostname"), event.text("program")), (Some("fw01"), Some("filter")));
        assert_eq!(event.status, ParseStatus::Envelope);
    });
    // Not even the words before it are known to be what they should.
    one(Format::Syslog, "<165>1 - fw01 filter: packets were dropped", |event| {
        assert_eq!(event.status, ParseStatus::Raw);
    });
}

#[test]
fn an_address_is_the_same_in_either_case() {
    for mapped in ["::ffff:203.0.113.9", "::FFFF:203.0.113.9"] {
        let line =
            format!("Nov 23 09:15:07 web01 sshd[1]: Failed password for root from {mapped} port 1 ssh2");
        one(Format::Syslog, &line, |event| assert_eq!(event.text("src_ip"), Some("203.0.113.9")));
    }
}

/// Firewalls and routers begin their message where others name a program.
#[test]
fn what_a_device_begins_its_message_with_is_no_program() {
    for (line, program) in [
        ("<189>date=2026-11-23 time=09:15:07 devname=\"FG\" srcip=192.0.2.7", None),
        ("<13>Nov 23 09:15:07 fw01 host=a: up", None),
        ("<189>123: interface up", None),
        ("<13>Nov 23 09:15:07 web01 7z[12]: done", Some("7z")),
        ("<13>Nov 23 09:15:07 web01 %ASA-6-302013: Built", Some("%ASA-6-302013")),
    ] {
        one(Format::Syslog, line, |event| assert_eq!(event.text("program"), program, "{line}"));
    }
}

/// nginx writes the name that a client gives itself though nobody asked for one.
#[test]
fn a_user_name_with_a_bracket_hides_no_request() {
    for (user, name) in [
        ("a [b", "a [b"),
        ("[", "["),
        ("x [23/Nov/2026:09:15:06 +0700] \\x22", "x [23/Nov/2026:09:15:06 +0700] \\x22"),
    ] {
        let line = format!(
            "203.0.113.9 - {user} [23/Nov/2026:09:15:07 +0700] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl\""
        );
        one(Format::Auto, &line, |event| {
            assert_eq!(event.status, ParseStatus::Parsed, "{line}");
            assert_eq!(event.text("cs-username"), Some(name));
            assert_eq!((event.text("c-ip"), event.text("cs-uri-stem")), (Some("203.0.113.9"), Some("/a")));
        });
    }
}

/// What an attacker asks for stands decoded before the address from which it came, and as it was written behind it.
#[test]
fn a_path_lends_no_other_client_to_an_error_of_nginx() {
    let line = |path: &str, request: &str| {
        format!(
            "2026/11/23 09:15:07 [error] 31#31: *46 open() \"/srv{path}\" failed (2: No such file or directory), \
             client: 203.0.113.9, server: _, request: \"GET {request} HTTP/1.1\", host: \"example.vn\""
        )
    };
    for (path, request) in [
        ("/a", "/a"),
        ("/, client: 192.0.2.1", "/,%20client:%20192.0.2.1"),
        (
            "/, client: 192.0.2.1, server: a, host: \"",
            "/,%20client:%20192.0.2.1,%20server:%20a,%20host:%20%22",
        ),
        ("/, client: 192.0.2.1, host: \"b\"", "/,%20client:%20192.0.2.1"),
        ("/, client: 192.0.2.1, host: \"\\", "/,%20client:%20192.0.2.1"),
        ("/a", "/, client: 192.0.2.1"),
    ] {
        let line = line(path, request);
        one(Format::Web, &line, |event| {
            assert_eq!(
                event.values("c-ip").map(|value| value.to_text()).collect::<Vec<_>>(),
                ["203.0.113.9"],
                "{line}"
            );
            assert_eq!(event.text("cs-host"), Some("example.vn"));
            assert!(event.text("error").is_some_and(|error| error.ends_with("directory)")), "{line}");
        });
    }
    // A module may say more than is known here.
    let more = line("/a", "/a") + ", cache: \"MISS\"";
    one(Format::Web, &more, |event| assert_eq!(event.text("c-ip"), Some("203.0.113.9")));
}

/// Two programs are executed at once: the records of each stand between those of the other, and other lines between both.
#[test]
fn audit_events_that_were_written_at_once_are_put_together() {
    let record = |kind: &str, serial: u32, rest: &str| {
        format!("type={kind} msg=audit(1795400107.120:{serial}): {rest}").into_bytes()
    };
    let syscall = |serial| {
        record("SYSCALL", serial, "arch=c000003e syscall=59 success=yes exit=0 pid=4 exe=\"/bin/sh\"")
    };
    let lines = [
        syscall(501),
        record("EXECVE", 501, "argc=2 a0=\"id\" a1=\"-u\""),
        syscall(502),
        record("USER_LOGIN", 503, "pid=1 res=failed"),
        b"Nov 23 09:15:07 web01 app: between them".to_vec(),
        record("PROCTITLE", 501, "proctitle=6964"),
        record("EXECVE", 502, "argc=1 a0=\"ls\""),
    ];
    let batch = batch(Format::Auto, &lines);
    let events = parse_batch(&batch);
    let shape: Vec<_> =
        events.iter().map(|event| (event.record, event.records, event.text("CommandLine"))).collect();
    assert_eq!(shape, [(0, 3, Some("id -u")), (3, 2, Some("ls")), (5, 1, None), (6, 1, None)]);
    assert!(events[..2].iter().all(|event| event.log_source.category == "process_creation"));
    let mut in_order = Events::of(&batch);
    for made_of in [&[0, 1, 5][..], &[2, 6], &[3], &[4]] {
        let (_, records) = in_order.next_with_records().unwrap();
        let expected: Vec<_> = made_of.iter().map(|index| &*lines[*index]).collect();
        assert_eq!(records.iter().map(|record| record.bytes).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_audit_event_goes_on_behind_as_many_others_as_the_limit_and_not_behind_one_more() {
    let events = |others: usize| {
        let record =
            |serial: usize| format!("type=CWD msg=audit(1795400107.120:{serial}): cwd=\"/\"").into_bytes();
        let lines: Vec<Vec<u8>> = (0..=others).chain([0]).map(record).collect();
        parse_batch(&batch(Format::Auditd, &lines)).len()
    };
    assert_eq!(events(AUDIT_EVENTS_AT_ONCE - 1), AUDIT_EVENTS_AT_ONCE);
    assert_eq!(events(AUDIT_EVENTS_AT_ONCE), AUDIT_EVENTS_AT_ONCE + 2);
}

#[test]
fn an_otlp_record_without_a_body_is_what_its_name_and_attributes_say() {
    let line = r#"{"time":1795400107120394000,"severity":"WARN","event_name":"user.login","attributes":{"user.name":"ana"}}"#;
    let batch = Batch::new(
        Header { format: Format::Otlp, time_base: RECEIVED, ..Header::default() },
        [Record { time: RECEIVED, offset: 0, bytes: line.as_bytes() }],
    )
    .unwrap();
    let event = &parse_batch(&batch)[0];
    assert_eq!((event.status, event.ts, &*event.message), (ParseStatus::Parsed, RECEIVED + 120_394, line));
    for (name, value) in [("event_name", "user.login"), ("severity_text", "WARN"), ("user.name", "ana")] {
        assert_eq!(event.text(name), Some(value));
    }
    one(Format::Otlp, r#"{"time":1,"trace_id":"01"}"#, |event| assert_eq!(event.status, ParseStatus::Raw));
}

/// 2026-11-23T02:15:07Z
const RECEIVED: Micros = 1_795_400_107_000_000;

#[test]
fn a_record_was_read_within_the_limits_around_its_receipt_or_when_it_came() {
    let (first, last) = (RECEIVED - TS_PAST_MAX, RECEIVED + TS_FUTURE_MAX);
    for (read, ts) in [
        (first, first),
        (last, last),
        (first - 1, RECEIVED),
        (last + 1, RECEIVED),
        (0, RECEIVED),
        (i64::MAX, RECEIVED),
    ] {
        let records = [Record { time: read, offset: 0, bytes: b"no time" }];
        let batch = Batch::new(Header { time_base: read, ..Header::default() }, records).unwrap();
        assert_eq!(Events::received_at(&batch, RECEIVED).next().unwrap().ts, ts);
        assert_eq!(Events::of(&batch).next().unwrap().ts, read, "where all times are believed");
    }
}

#[test]
fn a_line_of_a_host_whose_clock_stopped_may_have_a_time_of_its_own() {
    let line = b"<38>1 2026-11-23T02:15:06Z web01 sshd 1 - - a line that came through a relay";
    let batch = Batch::new(Header::default(), [Record { time: 0, offset: 0, bytes: line }]).unwrap();
    let mut events = Events::received_at(&batch, RECEIVED);
    let event = events.next().unwrap();
    assert_eq!((event.ts, event.ts_quality), (RECEIVED - 1_000_000, crate::TsQuality::Event));
}

/// The only event of one line.
fn one(format: Format, line: &str, check: impl FnOnce(&Event<'_>)) {
    let batch = batch(format, &[line.as_bytes().to_vec()]);
    let events = parse_batch(&batch);
    assert_eq!(events.len(), 1);
    check(&events[0]);
}

fn count(event: &Event<'_>, name: impl Fn(&str) -> bool) -> usize {
    event.fields.iter().filter(|(field, _)| name(field)).count()
}

/// The whole line was once normalised before its JSON was read: the `n` of an escape became `ń` before an accent, and whoever
/// wrote both into one value made the line unreadable.
#[test]
fn reads_an_escape_before_a_mark_that_its_letter_could_take() {
    for (format, line) in [
        (Format::Json, "{\"a\":\"mimikatz\\n\u{301}\",\"x\":\"e\u{301}\"}"),
        (Format::Auto, " {\"a\":\"mimikatz\\n\u{301}\",\"x\":\"e\u{301}\"}"),
        (Format::Json, "{\"a\":\"mimikatz\\u000a\u{301}\",\"x\":\"\\u0065\u{301}\"}"),
        (Format::Otlp, "{\"body\":{\"a\":\"mimikatz\\n\u{301}\",\"x\":\"e\u{301}\"}}"),
        (Format::Otlp, "{\"body\":\"{\\\"a\\\":\\\"mimikatz\\\\n\u{301}\\\",\\\"x\\\":\\\"e\u{301}\\\"}\"}"),
        (Format::Otlp, "{\"body\":null,\"attributes\":{\"a\":\"mimikatz\\n\u{301}\",\"x\":\"e\u{301}\"}}"),
    ] {
        one(format, line, |event| {
            assert_eq!(event.text("a"), Some("mimikatz\n\u{301}"), "{line}");
            assert_eq!(event.text("x"), Some("é"), "{line}");
        });
    }
    let sudo = "{\"body\":\"Nov 23 09:15:07 web01 sudo: ana : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id\\n\u{301}\"}";
    one(Format::Otlp, sudo, |event| assert_eq!(event.text("command"), Some("/bin/id\n\u{301}")));
    let name = "{\"e\u{301}\":{\"e\u{301}\":[1,2]}}";
    one(Format::Json, name, |event| assert_eq!(event.values("é.é").count(), 2));
}

/// `=` and a stroke are one letter in NFC: a user of that name had no field.
#[test]
fn reads_a_value_that_begins_with_a_mark() {
    let line = LINES[4].replace("user=", "user=\u{338}");
    one(Format::Auto, &line, |event| {
        assert_eq!(event.text("user"), Some("\u{338}root"));
        assert!(event.message.ends_with("user\u{2260}root"), "the message is in NFC");
    });
}

#[test]
fn ends_an_event_only_where_it_surely_ends() {
    let cuts = |previous: &str, next: Option<&str>| {
        cuts_before(Format::Auto, previous.as_bytes(), next.map(str::as_bytes))
    };
    let [syscall, execve, title, login] = [LINES[5], LINES[6], LINES[7], LINES[8]];
    assert!(!cuts(syscall, Some(execve)));
    assert!(cuts(syscall, Some(login)));
    assert!(!cuts(syscall, None));
    assert!(cuts(title, None), "PROCTITLE is the last record");
    assert!(cuts(login, None), "what a program tells is one record");
    assert!(cuts(LINES[0], None));
    assert!(
        cuts_before(Format::Syslog, syscall.as_bytes(), Some(execve.as_bytes())),
        "syslog has no events of several lines"
    );
}

#[test]
fn reads_an_event_of_as_many_records_as_the_limit_and_rejects_one_more() {
    let records = |count: usize| {
        let lines = vec![LINES[6].as_bytes().to_vec(); count];
        parse_batch(&batch(Format::Auditd, &lines)).len()
    };
    assert_eq!(records(auditd::EVENT_RECORDS_MAX), 1);
    assert_eq!(records(auditd::EVENT_RECORDS_MAX + 1), 2);
}

/// Arguments do not drive out what else an event says, and `CommandLine` has all of them.
#[test]
fn an_event_of_audit_records_has_so_many_fields_and_no_more() {
    let record = |kind: &str, pairs: &str| format!("type={kind} msg=audit(1.0:1): {pairs}").into_bytes();
    let arguments =
        |from: usize| (from..from + 400).map(|number| format!("a{number}=x{number} ")).collect::<String>();
    let execve = [record("EXECVE", &arguments(0)), record("EXECVE", &arguments(400))];
    let cwd = record("CWD", "cwd=\"/srv\"");
    let batch = batch(Format::Auditd, &[&execve[..], &[cwd]].concat());
    let event = &parse_batch(&batch)[0];
    assert_eq!(event.status, ParseStatus::Parsed);
    assert_eq!(event.text("cwd"), Some("/srv"));
    assert_eq!((event.text("a255"), event.text("a256")), (Some("x255"), None));
    assert!(event.text("CommandLine").is_some_and(|line| line.ends_with(" x799")));

    let of = |count: usize| record("X", &"k=v ".repeat(count));
    let lines = [of(300), of(300)];
    let batch = self::batch(Format::Auditd, &lines);
    let event = &parse_batch(&batch)[0];
    assert_eq!(event.status, ParseStatus::Envelope);
    assert!((FIELDS_MAX - 5..FIELDS_MAX).contains(&event.values("k").count()));
}

/// A part goes on with the argument before it, wherever that began.
#[test]
fn an_argument_in_parts_is_one_over_several_records() {
    let lines = [
        "type=EXECVE msg=audit(1.0:1): argc=2 a0=\"sh\" a1_len=6 a1[0]=\"ab\"",
        "type=EXECVE msg=audit(1.0:1): a1[1]=\"cd\"",
        "type=EXECVE msg=audit(1.0:1): a1[2]=\"ef\"",
        "type=EXECVE msg=audit(1.0:1): a1[3]=\"gh\"",
        "type=EXECVE msg=audit(1.0:1): a1[4]=\"ij\"",
        "type=EXECVE msg=audit(1.0:1): a1[5]=\"kl\"",
        "type=EXECVE msg=audit(1.0:1): a1[6]=\"mn\" a2=\"o\"",
        "type=CWD msg=audit(1.0:1): cwd=\"/\"",
    ];
    let lines = lines.map(|line| line.as_bytes().to_vec());
    let batch = batch(Format::Auditd, &lines);
    let event = &parse_batch(&batch)[0];
    assert_eq!(event.text("CommandLine"), Some("sh abcdefghijklmn o"));
    let texts = |name: &'static str| event.values(name).map(Value::to_text).collect::<Vec<_>>();
    assert_eq!(texts("type"), ["EXECVE", "CWD"]);
    assert_eq!(texts("a1"), ["abcdefghijklmn"]);
}

/// Loading a module makes a record for each of the files that it makes.
#[test]
fn the_names_of_many_files_are_there() {
    let path = |number: usize| {
        let details =
            "inode=1 dev=00:0c mode=040755 ouid=0 ogid=0 rdev=00:00 cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0";
        format!("type=PATH msg=audit(1.0:1): item={number} name=\"/f{number}\" {details} nametype=CREATE")
            .into_bytes()
    };
    let lines: Vec<Vec<u8>> = (0..150).map(path).collect();
    let batch = batch(Format::Auditd, &lines);
    let event = &parse_batch(&batch)[0];
    assert_eq!(event.status, ParseStatus::Envelope);
    assert_eq!(event.values("name").count(), 150);
}

/// One line of messages within messages once exhausted the stack, and with it the daemon.
#[test]
fn reads_messages_within_messages_as_deep_as_the_limit() {
    let nested = |depth: usize| {
        let (open, close) = ("msg='".repeat(depth), "'".repeat(depth));
        format!("type=USER_CMD msg=audit(1.0:1): {open}cmd=\"id\"{close}")
    };
    one(Format::Auditd, &nested(3), |event| assert_eq!(event.text("cmd"), Some("id")));
    one(Format::Auditd, &nested(4), |event| assert_eq!(event.text("cmd"), None));
    one(Format::Auditd, &nested(10_900), |event| assert_eq!(count(event, |name| name == "msg"), 1));
}

/// Each brace that opens was once looked for to the end of the line: a batch of them took seconds.
#[test]
fn reads_braces_that_end_and_those_that_do_not() {
    let line = "type=SOCKADDR msg=audit(1.0:1): a={ SADDR={ saddr_fam=inet laddr=192.0.2.1 } b={ c=1";
    one(Format::Auditd, line, |event| {
        assert_eq!(event.text("a"), Some(" SADDR={ saddr_fam=inet laddr=192.0.2.1 "));
        assert_eq!((event.text("b"), event.text("c")), (Some("{"), Some("1")));
    });
}

#[test]
fn reads_as_many_pairs_of_a_record_as_the_limit_and_rejects_one_more() {
    for (pairs, read) in [(4096, 4096), (4097, 4096)] {
        let pairs: String = (0..pairs).map(|number| format!(" a{number}=v")).collect();
        one(Format::Auditd, &format!("type=EXECVE msg=audit(1.0:1):{pairs}"), |event| {
            assert_eq!(event.text("CommandLine").map(|line| line.split(' ').count()), Some(read));
        });
    }
}

#[test]
fn reads_as_many_parameters_as_the_limit_and_rejects_one_more() {
    for (params, read) in [(64, 64), (65, 64)] {
        let line = format!("<34>1 - h app - - [id{}] text", " k=\"v\"".repeat(params));
        one(Format::Syslog, &line, |event| {
            assert_eq!(count(event, |name| name == "id.k"), read);
            assert_eq!(event.status, ParseStatus::Envelope);
        });
    }
}

#[test]
fn reads_a_tag_as_long_as_the_limit_and_rejects_one_byte_more() {
    for (length, read) in [(255, true), (256, false)] {
        let line = format!("Nov 23 09:15:07 web01 {}: text", "p".repeat(length));
        one(Format::Syslog, &line, |event| assert_eq!(event.text("program").is_some(), read));
    }
}

#[test]
fn reads_a_method_as_long_as_the_limit_and_rejects_one_byte_more() {
    for (length, read) in [(32, true), (33, false)] {
        let line = format!(
            "203.0.113.9 - - [23/Nov/2026:09:15:07 +0700] \"{} / HTTP/1.1\" 200 5",
            "M".repeat(length)
        );
        one(Format::Web, &line, |event| {
            assert_eq!(event.text("cs-method").is_some(), read);
            assert_eq!(event.text("request").is_none(), read);
        });
    }
}

#[test]
fn reads_two_rounds_of_percent_encoding_and_rejects_a_third() {
    for (encoded, decoded) in [("%2541", "A"), ("%252541", "%41")] {
        let line = format!("203.0.113.9 - - [23/Nov/2026:09:15:07 +0700] \"GET /{encoded} HTTP/1.1\" 200 5");
        one(Format::Web, &line, |event| {
            let stems: Vec<_> =
                event.values("cs-uri-stem").map(|value| value.to_text().into_owned()).collect();
            assert_eq!(stems, [format!("/{encoded}"), format!("/{decoded}")]);
        });
    }
}

#[test]
fn reads_json_as_deep_as_the_limit_and_rejects_one_level_more() {
    for (depth, read) in [(16, 1), (17, 0)] {
        let line = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        one(Format::Json, &line, |event| {
            assert_eq!(event.status, ParseStatus::Parsed);
            assert_eq!(event.fields.len(), read);
        });
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000 / 6), "}".repeat(100_000 / 6));
    one(Format::Json, &deep[..60_000], |event| assert_eq!(event.status, ParseStatus::Raw));
}

#[test]
fn reads_as_many_fields_of_json_as_the_limit_and_rejects_one_more() {
    for (fields, read) in [(512, 512), (513, 512)] {
        let pairs: Vec<String> = (0..fields).map(|index| format!("\"k{index}\":{index}")).collect();
        one(Format::Json, &format!("{{{}}}", pairs.join(",")), |event| {
            assert_eq!(event.fields.len(), read);
            assert_eq!(event.values("k0").next(), Some(&Value::Int(0)));
        });
    }
}

/// A body of as many fields as the limit once left no room for the attributes, among them the host's name.
#[test]
fn reads_attributes_beside_a_body_of_as_many_fields_as_the_limit() {
    let members = |count: usize| (0..count).map(|k| format!("\"k{k}\":1")).collect::<Vec<_>>().join(",");
    for (body, attributes, fields, whole) in
        [(512, 511, 1024, true), (512, 512, 1024, false), (513, 1, 514, false), (1, 1, 3, true)]
    {
        let line = format!(
            "{{\"body\":{{{}}},\"attributes\":{{\"host.name\":\"web01\",{}}}}}",
            members(body),
            members(attributes)
        );
        one(Format::Otlp, &line, |event| {
            assert_eq!(event.text("host.name"), Some("web01"));
            assert_eq!((event.fields.len(), event.fields_hold_text), (fields, whole), "{body} {attributes}");
        });
    }
}

/// Fields were counted to see whether one was dropped, and names that are added made up for it.
#[test]
fn says_whether_the_fields_hold_the_text() {
    let process = "\"Channel\":\"Security\",\"EventID\":4688,\"NewProcessName\":\"a\"";
    let nested = "{\"Event\":{\"#attributes\":{\"xmlns\":\"mimikatz\"},\"System\":{\"Channel\":\"Security\",\"EventID\":4688},\"EventData\":{\"NewProcessName\":\"a\",\"\":\"b\"}}}";
    for (line, fields, whole) in [
        (format!("{{\"\":\"mimikatz\",{process}}}"), 5, true),
        (
            r#"{"winlog":{"channel":"Security","event_id":1,"event_data":{"":"mimikatz"}}}"#.to_owned(),
            3,
            true,
        ),
        (nested.to_owned(), 5, false),
        (nested.replacen("\"#attributes\":{\"xmlns\":\"mimikatz\"},", "", 1), 5, true),
    ] {
        let record = format!("{{\"body\":{line}}}");
        for (format, line) in [(Format::Json, &line), (Format::Otlp, &record)] {
            one(format, line, |event| {
                assert_eq!((event.fields.len(), event.fields_hold_text), (fields, whole), "{event:?}");
                let holds = event.fields.iter().any(|(_, value)| value.as_text() == Some("mimikatz"));
                assert_eq!(holds, whole && line.contains("mimikatz"));
            });
        }
    }
}

#[test]
fn fields_of_plain_text_are_slices_of_the_batch() {
    for line in [LINES[0], LINES[3]] {
        let batch = batch(Format::Auto, &[line.as_bytes().to_vec()]);
        let events = parse_batch(&batch);
        let borrowed = events[0].fields.iter().all(|(name, value)| {
            matches!(name, Cow::Borrowed(_)) && !matches!(value, Value::Text(Cow::Owned(_)))
        });
        assert!(borrowed && matches!(events[0].message, Cow::Borrowed(_)), "{line}");
    }
}
