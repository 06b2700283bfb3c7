//! From a delivered batch to rows and alerts in the real store, across restarts of the collector and of the store: every
//! event once, every hit counted once, and nothing acknowledged that is not there.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clickhouse::{Client, Row};
use collector::{Config, Delivery, Fate, Pipeline, SenderKind, start_store};
use event::{Batch, Format, Header, Record};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::engine::Store;
use crate::site::{ASK_EVERY, PATIENCE, engine_present, root};

const SYSTEMS: &str = "
[[organisation]]
id = 'tinh'
name = 'UBND tỉnh'

[[system]]
id = 'cong'
name = 'Cổng dịch vụ công'
owner = 'tinh'
operator = 'tinh'
hosts = ['web01']

[system.level]
approved = 3
decision = '1204/QĐ-UBND'
date = '2026-09-30'
authority = 'UBND tỉnh'
basis = 'Nghị định 331/2026/NĐ-CP, Điều 13'
";

const RULES: &str = "
title: Failed password
id: failed
level: high
tags: [attack.credential_access, attack.t1110.001]
logsource:
    product: linux
    service: sshd
detection:
    selection:
        action: login
        outcome: failure
    condition: selection
---
title: Accepted password
id: accepted
level: low
logsource:
    product: linux
    service: sshd
detection:
    selection:
        action: login
        outcome: success
    condition: selection
---
title: Guessing
id: guessing
level: high
correlation:
    type: event_count
    rules: [failed]
    group-by: [src_ip]
    timespan: 10m
    generate: true
    condition:
        gte: 5
";

const FORGET_THE_OLDER_DAY: &str = "ALTER TABLE events DELETE WHERE toDate(ts) < \
    (SELECT max(toDate(ts)) FROM events) SETTINGS mutations_sync = 1";

const DAY: i64 = 24 * 3600 * 1_000_000;

/// A collector's way to the store, without its doors.
struct Way {
    store: Store,
    config: Config,
    pipeline: Option<Pipeline>,
    /// When the test began.
    now: i64,
}

#[derive(Debug, Deserialize, Row)]
struct Alert {
    rule_id: String,
    priority: String,
    system_id: String,
    sys_level: u8,
    level_basis: String,
    entity: String,
    src_ip: Ipv6Addr,
    hits: u64,
    samples: Vec<String>,
    sample_events: Vec<String>,
}

impl Way {
    async fn open() -> Result<Self> {
        let store = Store::start()?;
        let folder = store.folder.path();
        let text = format!(
            "data_dir = '.'\nsystems = 'systems.toml'\nlevels = '{}/rules/levels'\n[clickhouse]\n\
             url = 'http://{}'\npassword_file = 'store/writer.password'\n[limits]\nthreads = 2\n",
            root().display(),
            store.address
        );
        std::fs::write(folder.join("systems.toml"), SYSTEMS)?;
        let config = Config::parse(&text, &folder.join("vonggac.toml"))?;
        let mut way = Self { store, config, pipeline: None, now: micros_now()? };
        way.start().await?;
        Ok(way)
    }

    async fn start(&mut self) -> Result<()> {
        let (engine, problems) = detect::compile(&[("rules.yml", RULES)]);
        ensure!(problems.is_empty(), "{problems:?}");
        self.pipeline = Some(start_store(&self.config, engine).await?);
        Ok(())
    }

    /// What a new collector knows is what the store knows.
    async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    async fn stop(&mut self) -> Result<()> {
        let Pipeline { deliveries, done, .. } = self.pipeline.take().context("a way that is open")?;
        drop(deliveries);
        tokio::time::timeout(PATIENCE, done).await??;
        Ok(())
    }

    /// Hands a batch over; its lines are read at `time`, and have no time of their own.
    async fn send_at(
        &self,
        seq: u64,
        resent: bool,
        lines: &[(i64, String)],
    ) -> Result<oneshot::Receiver<Fate>> {
        let header = Header {
            agent: "web01".into(),
            epoch: 7,
            seq,
            resent,
            source: "/var/log/auth.log".into(),
            format: Format::Syslog,
            time_base: self.now,
            ..Header::default()
        };
        let records = (0_u64..).zip(lines).map(|(offset, (time, line))| Record {
            time: *time,
            offset,
            bytes: line.as_bytes(),
        });
        self.deliver(SenderKind::Agent, Batch::new(header, records)?, micros_now()?).await
    }

    /// Hands over an OTLP request of one record, as the intake does when it comes at `received`.
    async fn send_otlp(&self, content: u64, record: &str, received: i64) -> Result<()> {
        let header = Header {
            agent: "web01".into(),
            epoch: content,
            resent: true,
            source: "otlp".into(),
            format: Format::Otlp,
            time_base: received,
            ..Header::default()
        };
        let records = [Record { time: received, offset: 0, bytes: record.as_bytes() }];
        let delivered = self.deliver(SenderKind::Otlp, Batch::new(header, records)?, received);
        ensure!(fate(delivered.await?).await? == Fate::Stored, "request {content}");
        Ok(())
    }

    async fn deliver(
        &self,
        sender: SenderKind,
        batch: Batch,
        received: i64,
    ) -> Result<oneshot::Receiver<Fate>> {
        let (done, fate) = oneshot::channel();
        let delivery = Delivery { batch, sender, received, gap: None, done };
        let pipeline = self.pipeline.as_ref().context("a way that is open")?;
        ensure!(pipeline.deliveries.send(delivery).await.is_ok(), "the way is closed");
        Ok(fate)
    }

    async fn send(&self, seq: u64, resent: bool, lines: &[String]) -> Result<oneshot::Receiver<Fate>> {
        let lines: Vec<(i64, String)> = lines.iter().map(|line| (self.now, line.clone())).collect();
        self.send_at(seq, resent, &lines).await
    }

    async fn stored(&self, seq: u64, resent: bool, lines: &[String]) -> Result<()> {
        let fate = fate(self.send(seq, resent, lines).await?).await?;
        ensure!(fate == Fate::Stored, "batch {seq}: {fate:?}");
        Ok(())
    }

    fn client(&self) -> Client {
        self.store.client().with_database("vonggac")
    }

    async fn number(&self, sql: &str) -> Result<u64> {
        Ok(self.client().query(sql).fetch_one().await?)
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.client().query(sql).execute().await?)
    }

    /// Events, and events told apart by their identity.
    async fn events(&self) -> Result<(u64, u64)> {
        let sql = "SELECT count(), uniqExact(agent, epoch, seq, record) FROM events";
        Ok(self.client().query(sql).fetch_one().await?)
    }

    async fn alerts(&self, rule: &str) -> Result<Vec<Alert>> {
        let sql = "SELECT ?fields FROM alerts FINAL WHERE rule_id = ? ORDER BY created_at";
        Ok(self.client().query(sql).bind(rule).fetch_all().await?)
    }

    async fn until_hits(&self, rule: &str, hits: u64) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.hits(rule).await? != [hits] {
            ensure!(tokio::time::Instant::now() < deadline, "waited in vain for {hits} hits of {rule}");
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    async fn hits(&self, rule: &str) -> Result<Vec<u64>> {
        Ok(self.alerts(rule).await?.into_iter().map(|alert| alert.hits).collect())
    }
}

fn micros_now() -> Result<i64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_micros().try_into()?)
}

async fn fate(fate: oneshot::Receiver<Fate>) -> Result<Fate> {
    Ok(tokio::time::timeout(PATIENCE, fate).await??)
}

fn failed(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| line(&format!("Failed password for root from 203.0.113.9 port {number} ssh2")))
        .collect()
}

fn line(message: &str) -> String {
    format!("<38>1 - web01 sshd 4711 - - {message}")
}

/// Runs a test on a way of its own, unless there is no engine.
fn with_way<F: Future<Output = Result<()>>>(name: &str, test: impl FnOnce(Way) -> F) -> Result<()> {
    if !engine_present(name) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async { test(Way::open().await?).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

#[test]
fn an_event_is_classified_and_its_alert_says_why() -> Result<()> {
    with_way("an event is classified", |way| async move {
        way.stored(1, false, &failed(3)).await?;
        let sql = "SELECT count() FROM events WHERE system_id = 'cong' AND sys_level = 3 AND retention_days = 185 \
            AND kind = 'sshd' AND parse_status = 'parsed' AND host = 'web01' AND program = 'sshd' AND pid = 4711 \
            AND user = 'root' AND outcome = 'failure' AND src_ip = toIPv6('203.0.113.9') AND rules = ['failed'] \
            AND raw = '' AND source = '/var/log/auth.log' AND offset = record AND src_port = record";
        assert_eq!(way.number(sql).await?, 3);
        let alerts = way.alerts("failed").await?;
        let [alert] = &alerts[..] else { anyhow::bail!("one alert: {alerts:?}") };
        assert_eq!((&*alert.rule_id, &*alert.system_id, alert.sys_level), ("failed", "cong", 3));
        assert_eq!(
            alert.level_basis,
            "1204/QĐ-UBND, 2026-09-30, UBND tỉnh; Nghị định 331/2026/NĐ-CP, Điều 13"
        );
        assert_eq!((&*alert.priority, &*alert.entity, alert.hits), ("P2", "203.0.113.9", 3));
        assert_eq!(alert.src_ip.to_ipv4_mapped(), Some([203, 0, 113, 9].into()));
        assert_eq!(alert.samples, failed(3));
        assert_eq!(alert.sample_events[2], "web01:0000000000000007:1:2");
        assert_eq!(way.number("SELECT max(seq) FROM agents WHERE agent = 'web01' AND epoch = 7").await?, 1);
        assert_eq!(way.number("SELECT count() FROM otel_logs WHERE ServiceName = 'sshd'").await?, 3);
        Ok(())
    })
}

#[test]
fn a_batch_that_comes_again_is_stored_and_counted_once() -> Result<()> {
    with_way("a batch that comes again", |mut way| async move {
        let first = way.send(1, false, &failed(100)).await?;
        let again = way.send(1, true, &failed(100)).await?;
        assert_eq!((fate(first).await?, fate(again).await?), (Fate::Stored, Fate::Stored));
        way.stored(1, true, &failed(100)).await?;
        assert_eq!((way.events().await?, way.hits("failed").await?), ((100, 100), vec![100]));

        way.restart().await?;
        way.stored(1, true, &failed(100)).await?;
        way.stored(2, true, &failed(10)).await?;
        way.stored(3, false, &failed(10)).await?;
        assert_eq!((way.events().await?, way.hits("failed").await?), ((120, 120), vec![120]));
        Ok(())
    })
}

/// A host whose clock stopped long ago, or runs ahead of us: what it says is kept, once, under a time that can be.
#[test]
fn an_agent_whose_clock_is_wrong_loses_and_doubles_nothing() -> Result<()> {
    with_way("an agent whose clock is wrong", |mut way| async move {
        let year_2000 = 946_684_800_000_000;
        let clocks =
            [way.now, year_2000, way.now - 400 * DAY, way.now + DAY, 180 * 365 * DAY, i64::MAX, i64::MIN];
        let lines: Vec<(i64, String)> = clocks.into_iter().zip(failed(clocks.len())).collect();
        fate(way.send_at(1, false, &lines).await?).await?;
        let stored = (lines.len() as u64, lines.len() as u64);
        assert_eq!(way.events().await?, stored);
        let of_this_hour = "SELECT count() FROM events WHERE abs(dateDiff('minute', ts, now())) < 60";
        assert_eq!(way.number(of_this_hour).await?, stored.0);
        assert_eq!(way.number("SELECT uniqExact(ts) FROM events").await?, 2, "its own, and that of receipt");
        way.restart().await?;
        fate(way.send_at(1, true, &lines).await?).await?;
        assert_eq!(way.events().await?, stored);
        Ok(())
    })
}

#[test]
fn a_batch_that_was_half_stored_is_completed() -> Result<()> {
    with_way("a batch half stored", |mut way| async move {
        let mut lines: Vec<(i64, String)> = failed(20).into_iter().map(|line| (way.now, line)).collect();
        for (time, _) in &mut lines[..10] {
            *time -= DAY;
        }
        fate(way.send_at(1, false, &lines).await?).await?;
        assert_eq!(way.number("SELECT uniqExact(toDate(ts)) FROM events").await?, 2);
        let hits = way.hits("failed").await?;
        assert_eq!(hits, [10, 10], "a day apart: two alerts");
        // As if the collector had died between the inserts of the two days.
        way.execute(FORGET_THE_OLDER_DAY).await?;
        assert_eq!(way.events().await?, (10, 10));
        way.restart().await?;
        fate(way.send_at(1, true, &lines).await?).await?;
        assert_eq!((way.events().await?, way.hits("failed").await?), ((20, 20), hits));
        Ok(())
    })
}

#[test]
fn alerts_written_before_a_crash_are_not_counted_again_with_their_events() -> Result<()> {
    with_way("a crash between alerts and events", |mut way| async move {
        way.stored(1, false, &failed(7)).await?;
        // As if the collector had died after the alerts and before the events.
        way.execute("TRUNCATE TABLE events").await?;
        way.restart().await?;
        way.stored(1, true, &failed(7)).await?;
        assert_eq!((way.events().await?, way.hits("failed").await?), ((7, 7), vec![7]));
        Ok(())
    })
}

#[test]
fn a_correlation_goes_on_where_the_earlier_collector_was() -> Result<()> {
    with_way("a correlation goes on", |mut way| async move {
        way.stored(1, false, &failed(4)).await?;
        assert_eq!(way.hits("guessing").await?, [0; 0]);
        way.restart().await?;
        way.stored(2, false, &failed(1)).await?;
        assert_eq!(way.hits("guessing").await?, [1]);
        Ok(())
    })
}

/// Nine of ten failures have come when other rules are loaded: the tenth is the tenth.
#[test]
fn a_correlation_goes_on_under_other_rules() -> Result<()> {
    with_way("a correlation under other rules", |way| async move {
        way.stored(1, false, &failed(4)).await?;
        // Another rule is changed, then the correlation itself: by its windows, then by what the store has of them.
        let other = RULES.replace("title: Accepted password", "title: Another title");
        let longer = other.replace("timespan: 10m", "timespan: 20m");
        let rules = &way.pipeline.as_ref().context("a way that is open")?.rules;
        for (seq, changed, hits) in [(2, other, 1), (3, longer, 2)] {
            let (engine, problems) = detect::compile(&[("rules.yml", changed)]);
            ensure!(problems.is_empty(), "{problems:?}");
            rules.replace(engine);
            way.stored(seq, false, &failed(1)).await?;
            assert_eq!(way.hits("guessing").await?, [hits]);
        }
        Ok(())
    })
}

#[test]
fn batches_that_never_came_are_an_alert() -> Result<()> {
    with_way("batches that never came", |mut way| async move {
        way.stored(1, false, &failed(1)).await?;
        way.restart().await?;
        way.stored(5, false, &failed(1)).await?;
        let alerts = way.alerts("vonggac-sequence-gap").await?;
        let [alert] = &alerts[..] else { anyhow::bail!("one alert: {alerts:?}") };
        assert_eq!((&*alert.system_id, &*alert.priority, &*alert.entity), ("cong", "P2", "web01"));
        assert!(alert.samples[0].starts_with("3 batches of web01, numbers 2 to 4, are missing"), "{alert:?}");
        Ok(())
    })
}

#[test]
fn requests_of_otlp_leave_one_row_and_are_stored_once_whatever_their_time() -> Result<()> {
    with_way("requests of OTLP", |mut way| async move {
        let records = [
            r#"{"body":"no time"}"#,
            r#"{"body":"long ago","time":1700000000000000000}"#,
            r#"{"body":"in a year","time":1900000000000000000}"#,
        ];
        way.stored(1, false, &failed(1)).await?;
        for (content, record) in (1..).zip(records) {
            way.send_otlp(content, record, way.now).await?;
        }
        assert_eq!(
            way.number("SELECT countIf(ts_quality != 'event') FROM events WHERE source = 'otlp'").await?,
            3
        );
        way.restart().await?;
        let agents = "SELECT agent, epoch, seq, toString(sender) FROM agents FINAL ORDER BY epoch";
        let rows: Vec<(String, u64, u64, String)> = way.client().query(agents).fetch_all().await?;
        let row = |epoch, seq, sender: &str| ("web01".to_owned(), epoch, seq, sender.to_owned());
        assert_eq!(rows, [row(0, 0, "otlp"), row(7, 1, "agent")]);
        // Their answers were lost; they come again half an hour later.
        for (content, record) in (1..).zip(records) {
            way.send_otlp(content, record, way.now + DAY / 48).await?;
        }
        assert_eq!(way.events().await?, (4, 4));
        Ok(())
    })
}

/// A query of a collector that starts may hold 30 MB here; two million epochs by themselves are more.
#[test]
fn a_collector_starts_whatever_stands_in_the_table_of_agents() -> Result<()> {
    with_way("a full table of agents", |mut way| async move {
        way.stop().await?;
        let fill = "INSERT INTO agents (agent, epoch, seq, last_seen, last_event, drill_id) SELECT concat('app', toString(number % 20)), \
            cityHash64(number), 0, now64(6) - toIntervalSecond(number / 20), now64(6), '' FROM numbers(2000000)";
        way.execute(fill).await?;
        way.execute("INSERT INTO agents (agent, epoch, seq, last_seen) VALUES ('web01', 7, 4, now64(6))")
            .await?;
        way.config.clickhouse.url = Some(format!("http://{}/?max_memory_usage=30000000", way.store.address));
        tokio::time::timeout(PATIENCE, way.start()).await??;
        way.stored(6, false, &failed(1)).await?;
        let alerts = way.alerts("vonggac-sequence-gap").await?;
        ensure!(alerts.len() == 1 && alerts[0].samples[0].contains("numbers 5 to 5"), "{alerts:?}");
        Ok(())
    })
}

#[test]
fn what_the_store_refuses_becomes_a_dead_letter_and_the_rest_is_stored() -> Result<()> {
    with_way("dead letters", |mut way| async move {
        way.execute("ALTER TABLE events ADD CONSTRAINT poison CHECK NOT hasToken(message, 'poison')").await?;
        let mut lines = failed(500);
        lines[3] = line("poison one");
        lines[499] = line("poison two");
        let good = way.send(1, false, &lines).await?;
        let bad = way.send(2, false, &[line("poison three")]).await?;
        let after = way.send(3, false, &failed(5)).await?;
        assert_eq!(
            (fate(good).await?, fate(bad).await?, fate(after).await?),
            (Fate::Stored, Fate::DeadLettered, Fate::Stored)
        );
        assert_eq!(way.events().await?, (503, 503));
        let sql = "SELECT seq, record, message LIKE '%poison%', reason LIKE '%VIOLATED_CONSTRAINT%' FROM dead_letters \
            FINAL ORDER BY seq, record";
        let letters: Vec<(u64, u32, bool, bool)> = way.client().query(sql).fetch_all().await?;
        assert_eq!(letters, [(1, 3, true, true), (1, 499, true, true), (2, 0, true, true)]);
        // The alert is made a moment after the batches are settled: one hit for each of them.
        way.until_hits("vonggac-dead-letters", 2).await?;

        way.restart().await?;
        way.stored(1, true, &lines).await?;
        way.stored(2, true, &[line("poison three")]).await?;
        assert_eq!(way.events().await?, (503, 503), "dead letters are there as well");
        assert_eq!(way.hits("vonggac-dead-letters").await?, [2]);

        // Told or not: who ends at once tells before, who dies leaves it to the next.
        let last = way.send(4, false, &[line("poison four")]).await?;
        assert_eq!(fate(last).await?, Fate::DeadLettered);
        way.stop().await?;
        way.execute("DELETE FROM alerts WHERE rule_id = 'vonggac-dead-letters' SETTINGS mutations_sync = 1")
            .await?;
        for _ in 0..2 {
            way.start().await?;
            way.until_hits("vonggac-dead-letters", 3).await?;
            way.stop().await?;
        }
        assert_eq!(way.hits("vonggac-dead-letters").await?, [3]);
        Ok(())
    })
}

#[test]
fn a_store_that_is_killed_loses_and_doubles_nothing() -> Result<()> {
    with_way("a killed store", |mut way| async move {
        let mut fates = Vec::new();
        for seq in 1..=30 {
            fates.push(way.send(seq, false, &failed(1000)).await?);
            if seq % 10 == 5 {
                way.store.kill_and_restart()?;
            }
        }
        for arrived in fates {
            assert_eq!(fate(arrived).await?, Fate::Stored);
        }
        assert_eq!((way.events().await?, way.hits("failed").await?), ((30_000, 30_000), vec![30_000]));
        Ok(())
    })
}
