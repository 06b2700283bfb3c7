//! Real TLS clients against the intake, with a pipeline that the test plays itself.

use std::net::SocketAddr;
use std::time::SystemTime;

use event::{Encoder, Format, Header, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::batch::Gap;
use crate::ca::Authority;
use crate::door::Door;
use crate::site::{Site, leaf};

/// An intake on a port of its own, and the far end of its queue.
struct Bench {
    site: Site,
    address: SocketAddr,
    intake: Arc<Intake>,
    queue: mpsc::Receiver<Delivery>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let site = Site::new();
        let tls = crate::tls::server_config(&site.tls(), &[]).unwrap();
        let door = Door::open("agent", "127.0.0.1:0".parse().unwrap(), tls, &limits).await.unwrap();
        let address = door.address().unwrap();
        let (sender, queue) = mpsc::channel(limits.queue_batches);
        let (stop, stopped) = watch::channel(false);
        let intake = Intake::new(sender, limits);
        let (at_stop, serving) = (stopped.clone(), intake.clone());
        let running =
            tokio::spawn(door.run(stopped, move |guest| serving.clone().serve(guest, at_stop.clone())));
        Self { site, address, intake, queue, stop, running }
    }

    async fn agent(&self, host: &str, drill: bool) -> TlsStream<TcpStream> {
        self.site.connect(self.address, Some(&self.site.host(host, drill))).await.unwrap()
    }

    async fn next(&mut self) -> Delivery {
        self.queue.recv().await.unwrap()
    }
}

fn header(agent: &str, seq: u64) -> Header {
    Header { agent: agent.into(), epoch: 7, seq, source: "/var/log/auth.log".into(), ..Header::default() }
}

fn message(mut header: Header, lines: &[&[u8]]) -> Vec<u8> {
    header.format = Format::Syslog;
    let records = lines.iter().map(|bytes| Record { time: 0, offset: 0, bytes });
    Encoder::new(1).unwrap().encode(&mut header, records).unwrap()
}

async fn send_frame(stream: &mut TlsStream<TcpStream>, message: &[u8]) {
    stream.write_u32(message.len().try_into().unwrap()).await.unwrap();
    stream.write_all(message).await.unwrap();
    stream.flush().await.unwrap();
}

async fn reply(stream: &mut TlsStream<TcpStream>) -> Reply {
    let length = stream.read_u32().await.unwrap();
    let mut message = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut message).await.unwrap();
    Reply::decode(&message).unwrap()
}

/// Waits until the other side ends the connection; nothing more may come.
async fn end(mut stream: TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let _how_does_not_matter = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "a reply after which the connection should have ended");
}

async fn refusal(mut stream: TlsStream<TcpStream>) -> String {
    let Reply::Refuse { reason, .. } = reply(&mut stream).await else { panic!("expected a refusal") };
    end(stream).await;
    reason
}

fn turned_away(reason: &str) -> u64 {
    measured(&format!("vonggac_door_turned_away_total{{intake=\"agent\",reason=\"{reason}\"}}")).unwrap_or(0)
}

/// What `/metrics` says of a series; none when it is not there.
fn measured(series: &str) -> Option<u64> {
    let text = metrics::render();
    let number = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    number.map(|number| number.parse().unwrap())
}

/// Whether what is sent is answered, with a refusal of course.
async fn is_let_in(mut agent: TlsStream<TcpStream>) -> bool {
    let sent = async {
        agent.write_all(b"\0\0\0\x01?").await?;
        agent.flush().await
    };
    sent.await.is_ok() && agent.read_u32().await.is_ok()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

#[tokio::test]
async fn acknowledges_each_batch_once_its_fate_is_known_in_any_order() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut agent = bench.agent("Web01", false).await;
    for seq in 1..=3 {
        send_frame(&mut agent, &message(header("web01", seq), &[b"one", b"two"])).await;
    }
    let (one, two, three) = (bench.next().await, bench.next().await, bench.next().await);
    let lines: Vec<_> = two.batch.records().map(|record| record.bytes.to_vec()).collect();
    assert_eq!((two.batch.header.seq, lines), (2, vec![b"one".to_vec(), b"two".to_vec()]));
    for (delivery, fate) in [(three, Fate::Stored), (one, Fate::DeadLettered), (two, Fate::Stored)] {
        let seq = delivery.batch.header.seq;
        delivery.done.send(fate).unwrap();
        assert_eq!(reply(&mut agent).await, Reply::Ack { seq });
    }
}

#[tokio::test]
async fn closes_when_a_fate_is_dropped_and_takes_the_batch_again() {
    let mut bench = Bench::new(Limits::default()).await;
    for stored in [false, true] {
        let mut agent = bench.agent("web01", false).await;
        send_frame(&mut agent, &message(header("web01", 1), &[b"one"])).await;
        let delivery = bench.next().await;
        assert_eq!(delivery.gap, None);
        if stored {
            delivery.done.send(Fate::Stored).unwrap();
            assert_eq!(reply(&mut agent).await, Reply::Ack { seq: 1 });
        } else {
            drop(delivery);
            end(agent).await;
        }
    }
}

#[tokio::test]
async fn reports_missing_sequence_numbers_with_the_batch_after_them() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut agent = bench.agent("gappy", false).await;
    for (seq, gap) in [(1, None), (4, Some(Gap { first: 2, last: 3 })), (5, None)] {
        send_frame(&mut agent, &message(header("gappy", seq), &[])).await;
        let delivery = bench.next().await;
        assert_eq!(delivery.gap, gap);
        delivery.done.send(Fate::Stored).unwrap();
    }
    assert!(metrics::render().contains("vonggac_intake_missing_batches_total{agent=\"gappy\"} 2"));
}

#[tokio::test]
async fn refuses_who_shows_no_certificate_of_the_authority() {
    let bench = Bench::new(Limits::default()).await;
    let (foreign, _) = Authority::create(SystemTime::now()).unwrap();
    let expired = SystemTime::now() - Duration::from_secs(3 * 86_400);
    let collector = bench.site.authority.collector(&["localhost".into()], SystemTime::now(), 1).unwrap();
    let strangers = [
        ("no certificate", None),
        ("of another authority", Some(leaf(&foreign, "web01", false, SystemTime::now()))),
        ("expired", Some(leaf(&bench.site.authority, "web01", false, expired))),
        ("a collector's", Some(collector)),
    ];
    for (what, pair) in strangers {
        let before = turned_away("handshake");
        // In TLS 1.3 the client is through before the server has judged its certificate: the refusal comes when it reads.
        let refused = match bench.site.connect(bench.address, pair.as_ref()).await {
            Err(_) => true,
            Ok(mut stream) => stream.read_u8().await.is_err(),
        };
        assert!(refused, "{what}");
        assert!(turned_away("handshake") > before, "{what}");
    }
}

#[tokio::test]
async fn refuses_another_hosts_batch_and_drills_without_a_drill_certificate() {
    let mut bench = Bench::new(Limits::default()).await;
    let drill = |seq| Header { drill_id: "d1".into(), ..header("web01", seq) };
    let cases = [
        (header("db01", 1), "agent \"db01\" speaks with the certificate of \"web01\""),
        (header("WEB01", 1), "agent \"WEB01\" speaks with the certificate of \"web01\""),
        (drill(1), "drill \"d1\" needs a certificate made with --drill"),
    ];
    for (header, expected) in cases {
        let mut agent = bench.agent("web01", false).await;
        send_frame(&mut agent, &message(header, &[b"x"])).await;
        assert_eq!(refusal(agent).await, expected);
    }
    let mut agent = bench.agent("web01", true).await;
    send_frame(&mut agent, &message(drill(2), &[b"x"])).await;
    assert_eq!(bench.next().await.batch.header.drill_id, "d1");
}

#[tokio::test]
async fn refuses_garbage_and_frames_above_the_limit_at_once() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut agent = bench.agent("web01", false).await;
    send_frame(&mut agent, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(refusal(agent).await.starts_with("no batch: magic"));

    let mut agent = bench.agent("web01", false).await;
    let oversized: u32 = (FRAME_BYTES_MAX + 1).try_into().unwrap();
    agent.write_u32(oversized).await.unwrap(); // the length alone: nothing of the frame is waited for
    agent.flush().await.unwrap();
    assert!(refusal(agent).await.starts_with("a frame of 8454145 bytes, at most 8454144"));

    let mut agent = bench.agent("web01", false).await;
    let mut flipped = message(header("web01", 1), &[b"a line"]);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    send_frame(&mut agent, &flipped).await;
    assert!(refusal(agent).await.starts_with("no batch"));
    assert!(bench.queue.try_recv().is_err());
}

#[tokio::test]
async fn closes_a_handshake_that_does_not_end_and_a_frame_that_does_not_either() {
    let limits = Limits { handshake_timeout_ms: 50, frame_timeout_s: 1, ..Limits::default() };
    let bench = Bench::new(limits).await;
    let before = turned_away("timeout");
    let mut slow = TcpStream::connect(bench.address).await.unwrap();
    slow.write_all(b"\x16").await.unwrap();
    assert_eq!(slow.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(turned_away("timeout") > before);

    let mut slow = bench.agent("web01", false).await;
    slow.write_all(&[0, 0, 1, 0, 7]).await.unwrap();
    slow.flush().await.unwrap();
    end(slow).await;
}

#[tokio::test]
async fn closes_a_silent_connection_but_not_one_that_waits() {
    let mut bench = Bench::new(Limits { idle_timeout_s: 1, ..Limits::default() }).await;
    let mut waiting = bench.agent("web01", false).await;
    send_frame(&mut waiting, &message(header("web01", 1), &[b"x"])).await;
    let delivery = bench.next().await;
    end(bench.agent("web02", false).await).await; // the silent one connected after, and is closed first
    delivery.done.send(Fate::Stored).unwrap();
    assert_eq!(reply(&mut waiting).await, Reply::Ack { seq: 1 });
    end(waiting).await;
}

#[tokio::test]
async fn shows_out_who_comes_when_all_places_are_taken() {
    let mut bench = Bench::new(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = bench.agent("web01", false).await;
    send_frame(&mut first, &message(header("web01", 1), &[b"x"])).await;
    let delivery = bench.next().await;
    let before = turned_away("limit");
    end(bench.agent("web02", false).await).await;
    assert!(turned_away("limit") > before);
    delivery.done.send(Fate::Stored).unwrap();
    assert_eq!(reply(&mut first).await, Reply::Ack { seq: 1 }, "the first is not disturbed");
}

#[tokio::test]
async fn shows_out_who_comes_when_all_places_of_its_host_are_taken() {
    let bench = Bench::new(Limits { connections_host_max: 2, ..Limits::default() }).await;
    let (first, _second) = (bench.agent("web01", false).await, bench.agent("Web01", false).await);
    let before = turned_away("host_limit");
    assert!(!is_let_in(bench.agent("web01", false).await).await);
    assert!(turned_away("host_limit") > before);
    assert!(is_let_in(bench.agent("web02", false).await).await, "another host has places of its own");
    drop(first);
    let again = async { while !is_let_in(bench.agent("web01", false).await).await {} };
    timeout(Duration::from_secs(30), again).await.expect("the place of one that left is free");
}

/// Somebody connects, and connects, and says nothing.
#[tokio::test]
async fn silent_strangers_keep_nobody_out_but_their_own_address() {
    let bench = Bench::new(Limits { handshake_timeout_ms: 600_000, ..Limits::default() }).await;
    let before = turned_away("address_limit");
    let mut silent = Vec::new();
    while turned_away("address_limit") == before {
        assert!(silent.len() < 512, "none of so many was shown out");
        silent.push(TcpStream::connect(bench.address).await.unwrap());
        tokio::task::yield_now().await;
    }
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = elsewhere.connect(bench.address).await.unwrap();
    let agent = bench.site.shake_hands(stream, Some(&bench.site.host("web01", false))).await.unwrap();
    assert!(is_let_in(agent).await);
    drop(silent);
    let again = async {
        loop {
            let agent = bench.site.connect(bench.address, Some(&bench.site.host("web01", false))).await;
            if let Ok(agent) = agent
                && is_let_in(agent).await
            {
                break;
            }
        }
    };
    timeout(Duration::from_secs(30), again).await.expect("the turns of those that left are free");
}

#[tokio::test]
async fn a_host_that_claims_frames_leaves_room_for_the_others() {
    let mut bench = Bench::new(Limits::default()).await;
    let largest: u32 = FRAME_BYTES_MAX.try_into().unwrap();
    let mut claims = Vec::new();
    for _ in 0..3 {
        let mut claim = bench.agent("web01", false).await;
        claim.write_u32(largest).await.unwrap(); // and nothing of the frame
        claim.flush().await.unwrap();
        claims.push(claim);
    }
    let frames = bench.intake.frames.clone();
    let of_host = bench.intake.host_frames.of("web01");
    until("the share is taken", || of_host.available_permits() == 0).await;
    let mut same_host = bench.agent("web01", false).await;
    send_frame(&mut same_host, &message(header("web01", 1), &[b"x"])).await;
    let mut other = bench.agent("web02", false).await;
    send_frame(&mut other, &message(header("web02", 1), &[b"x"])).await;
    assert_eq!(bench.next().await.batch.header.agent, "web02");
    assert!(frames.available_permits() >= units(FRAMES_BYTES_MAX - HOST_FRAMES_BYTES_MAX));
    drop(claims);
    assert_eq!(bench.next().await.batch.header.agent, "web01", "its turn comes");
}

#[tokio::test]
async fn a_host_whose_batches_wait_leaves_room_for_the_others() {
    let mut bench = Bench::new(Limits::default()).await;
    let line = vec![b'x'; 65_000];
    let mut connections = Vec::new();
    let mut waiting = Vec::new();
    for seq in 1..=8 {
        if seq % 4 == 1 {
            connections.push(bench.agent("web01", false).await);
        }
        let agent = connections.last_mut().unwrap();
        send_frame(agent, &message(header("web01", seq), &[line.as_slice(); 127])).await;
        waiting.push(bench.next().await);
    }
    let mut same_host = bench.agent("web01", false).await;
    send_frame(&mut same_host, &message(header("web01", 9), &[b"x"])).await;
    let mut other = bench.agent("web02", false).await;
    send_frame(&mut other, &message(header("web02", 1), &[b"x"])).await;
    assert_eq!(bench.next().await.batch.header.agent, "web02");
    waiting.remove(0).done.send(Fate::Stored).unwrap();
    assert_eq!(bench.next().await.batch.header.seq, 9, "its turn comes");
}

#[tokio::test]
async fn a_gap_is_told_again_when_the_connection_broke_before_there_was_room_for_its_batch() {
    let mut bench = Bench::new(Limits { queue_batches: 1, ..Limits::default() }).await;
    let mut agent = bench.agent("pressed", false).await;
    send_frame(&mut agent, &message(header("pressed", 1), &[b"x"])).await;
    let first = bench.next().await;
    for seq in [2, 5] {
        send_frame(&mut agent, &message(header("pressed", seq), &[b"x"])).await;
    }
    let came = || measured("vonggac_intake_batches_total{agent=\"pressed\"}") == Some(3);
    until("2 is in the queue and 5 waits", came).await;
    agent.get_ref().0.set_zero_linger().unwrap(); // gone at once, with no farewell
    drop(agent);
    let closed = measured("vonggac_intake_closed_total{reason=\"socket\"}");
    first.done.send(Fate::Stored).unwrap(); // its acknowledgement finds nobody
    let in_flight = bench.intake.in_flight.clone();
    until("the connection is over", || in_flight.available_permits() == units(IN_FLIGHT_BYTES_MAX)).await;
    assert!(measured("vonggac_intake_closed_total{reason=\"socket\"}") >= closed);

    let mut agent = bench.agent("pressed", false).await;
    assert_eq!(bench.next().await.batch.header.seq, 2);
    send_frame(&mut agent, &message(header("pressed", 5), &[b"x"])).await;
    assert_eq!(bench.next().await.gap, Some(Gap { first: 3, last: 4 }));
}

#[tokio::test]
async fn agents_that_the_store_knows_have_a_series_before_they_come() {
    let bench = Bench::new(Limits::default()).await;
    bench.intake.expect(&["expected".to_owned()]);
    assert_eq!(measured("vonggac_intake_batches_total{agent=\"expected\"}"), Some(0));
    assert_eq!(measured("vonggac_intake_batches_total{agent=\"unexpected\"}"), None);
}

#[tokio::test]
async fn reads_no_further_than_its_window() {
    let mut bench = Bench::new(Limits { window_batches: 2, ..Limits::default() }).await;
    let mut agent = bench.agent("web01", false).await;
    for seq in 1..=3 {
        send_frame(&mut agent, &message(header("web01", seq), &[b"x"])).await;
    }
    let (one, _two) = (bench.next().await, bench.next().await);
    tokio::task::yield_now().await;
    assert!(bench.queue.try_recv().is_err(), "a third batch is under way");
    one.done.send(Fate::Stored).unwrap();
    assert_eq!(bench.next().await.batch.header.seq, 3);
}

#[tokio::test]
async fn stops_after_the_last_acknowledgement() {
    let mut bench = Bench::new(Limits::default()).await;
    let mut agent = bench.agent("web01", false).await;
    send_frame(&mut agent, &message(header("web01", 1), &[b"x"])).await;
    let delivery = bench.next().await;
    bench.stop.send(true).unwrap();
    delivery.done.send(Fate::Stored).unwrap();
    assert_eq!(reply(&mut agent).await, Reply::Ack { seq: 1 });
    end(agent).await;
    bench.running.await.unwrap();
    drop(bench.intake);
    assert!(bench.queue.recv().await.is_none(), "the pipeline's input is closed");
}
