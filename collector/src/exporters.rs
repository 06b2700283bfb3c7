//! Flow records of switches, routers and firewalls: NetFlow 5 and 9, IPFIX and sFlow over UDP, IPFIX over TCP, too.
//!
//! ```text
//! receive (a thread a UDP socket) ─┐
//! session (a task a TCP session)  ─┴▶ queue ─▶ decode, gather (one thread) ─▶ deliver ─▶ the pipeline
//! ```
//!
//! Who may send stands in the configuration (`exporters.allow`, `roster.rs`); of others nothing is looked at. UDP cannot be held back
//! and cannot be asked again: where records are lost (in the network, in the kernel's buffer, in a queue that is full, without a
//! template) it is counted by exporter, and `dashboards/prometheus` has an alert rule for it. A batch that was made is delivered until it
//! is stored.
//!
//! What it never does: acknowledge anything (these protocols cannot), or hold the kernel's buffer up because the store is slow.

mod decode;
mod deliver;
mod element;
mod gather;
mod health;
mod moment;
mod netflow;
mod queue;
mod receive;
mod record;
mod roster;
mod sampling;
mod sequence;
mod session;
mod sflow;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub use self::decode::{Decoder, Protocol, Sender};
pub(crate) use self::deliver::Deliver;
use self::gather::{Gather, Outgoing};
pub use self::health::Health;
use self::queue::{Input, Work, queue};
use self::receive::Receive;
use self::roster::Roster;
use self::session::Sessions;
use crate::batch::Delivery;
use crate::clock::now;
use crate::config::Config;
use crate::door::{Stop, told};
use crate::http::listening;

/// How often the decoder is told that time has passed.
const TICK: Duration = Duration::from_millis(100);

/// Opens the sockets and starts all stages but the last one, which is returned: it ends when all that came is delivered.
pub(crate) async fn start(
    config: &Config,
    deliveries: mpsc::Sender<Delivery>,
    stop: &Stop,
) -> anyhow::Result<Deliver> {
    let limits = &config.limits;
    let roster = Arc::new(Roster::new(&config.exporters));
    let (input, work) = queue(limits.exporter_queue_bytes);
    let (batches, outgoing) = mpsc::channel(limits.exporter_queue_batches);
    for listen in &config.exporters.listen {
        let buffer_bytes = limits.exporter_receive_buffer_bytes;
        let receive = Receive::bind(*listen, buffer_bytes, Arc::clone(&roster), input.clone());
        let receive = listening("exporters.listen", *listen, receive)?;
        let stop = stop.clone();
        spawn("receive", move || receive.run(&stop))?;
    }
    for listen in &config.exporters.tcp_listen {
        let listener = TcpListener::bind(listen).await;
        let listener = listening("exporters.tcp_listen", *listen, listener)?;
        let (roster, output, batches) = (Arc::clone(&roster), input.clone(), batches.clone());
        tokio::spawn(Sessions { listener, roster, output, batches }.run(stop.clone()));
    }
    tokio::spawn(tick(input, stop.clone()));
    spawn("decode", move || decode(work, batches))?;
    Ok(Deliver::new(outgoing, deliveries))
}

async fn tick(input: Input, mut stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => if !input.tick().await { return },
            () = told(&mut stop) => return,
        }
    }
}

/// The stage in the middle. Ends when all sockets are closed, with all that came made into batches.
fn decode(mut work: mpsc::Receiver<Work>, batches: mpsc::Sender<Outgoing>) {
    let (mut decoder, mut gather) = (Decoder::default(), Gather::new(batches));
    while let Some(next) = work.blocking_recv() {
        match next {
            Work::Tick => gather.tick(now()),
            Work::Message(message) => {
                let source = Protocol::of(&message.bytes).map_or("netflow", Protocol::source);
                let exporter = &message.exporter;
                let sender = Sender { address: message.address, sampling: exporter.sampling };
                gather.add(exporter, source, message.received, |sink| {
                    let health = decoder.decode(sender, &message.bytes, message.received, sink);
                    exporter.counters.add(&health);
                });
            }
        }
    }
    gather.finish(now());
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    // A thread ends with its input or when told to stop: the stage behind waits for it.
    let builder = thread::Builder::new().name(format!("flow-{name}"));
    builder.spawn(run).map(drop).context("a thread for flow records cannot be started")
}
