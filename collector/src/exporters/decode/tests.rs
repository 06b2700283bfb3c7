//! Datagrams made by hand, and mutations of them.

use event::Origin;
use proptest::prelude::*;

use super::*;

const NOW: Micros = 1_700_000_000_000_000;
const NOW_S: u32 = 1_700_000_000;

fn sender(port: u16) -> Sender {
    Sender { address: SocketAddr::from(([192, 0, 2, 1], port)), sampling: 0 }
}

fn decode(decoder: &mut Decoder, datagram: &[u8]) -> (Vec<Flow<'static>>, Health) {
    let mut flows = Vec::new();
    let health = decoder.decode(sender(2055), datagram, NOW, &mut |flow| flows.push(flow.clone()));
    (flows, health)
}

/// NetFlow 5 with so many records of 3 packets and 300 bytes.
fn v5(sequence: u32, records: u16, sampling: u16) -> Vec<u8> {
    let mut bytes = vec![0, 5];
    bytes.extend(records.to_be_bytes());
    for word in [100_000, NOW_S, 0, sequence] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend([1, 2]);
    bytes.extend(sampling.to_be_bytes());
    for _ in 0..records {
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 7, 0, 8]);
        for word in [3_u32, 300, 90_000, 95_000] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([0x1F, 0x90, 0, 80, 0, 0x1B, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// A set of IPFIX or NetFlow 9.
fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap();
    [&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn ipfix(sequence: u32, domain: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let mut bytes = vec![0, 10];
    bytes.extend(u16::try_from(sets.len() + 16).unwrap().to_be_bytes());
    for word in [NOW_S, sequence, domain] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(sets);
    bytes
}

fn v9(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0, 9];
    bytes.extend(u16::try_from(sets.len()).unwrap().to_be_bytes());
    for word in [100_000, NOW_S, sequence, 77] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(sets.concat());
    bytes
}

/// Addresses, packets, bytes: template 256.
fn template(v9: bool) -> Vec<u8> {
    set(if v9 { 0 } else { 2 }, &words(&[256, 4, 8, 4, 12, 4, 2, 4, 1, 4]))
}

fn data(records: usize) -> Vec<u8> {
    let record = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 3, 0, 0, 1, 44];
    set(256, &record.repeat(records))
}

#[test]
fn reads_netflow_5_with_its_sampling_and_times() {
    let mut decoder = Decoder::default();
    let (flows, health) = decode(&mut decoder, &v5(0, 2, 0x4000 | 100));
    let flow = &flows[0];
    assert_eq!((flow.origin, flows.len()), (Origin::NetflowV5, 2));
    assert_eq!((flow.src.packets, flow.src.bytes, flow.sampling), (300, 30_000, 100));
    assert_eq!((flow.start, flow.end), (NOW - 10_000_000, NOW - 5_000_000));
    assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (8_080, 80, 6));
    assert_eq!((flow.input_if, flow.output_if, flow.src.tcp_flags), (7, 8, 0x1B));
    assert_eq!(flow.exporter, Some([192, 0, 2, 1].into()));
    let expected = Health { datagrams: 1, records: 2, ..Health::default() };
    assert_eq!(health, expected);
    let (flows, health) = decode(&mut decoder, &v5(7, 1, 0));
    assert_eq!((flows[0].sampling, flows[0].src.packets), (0, 3));
    assert_eq!((health.missing, health.sampling_unknown), (5, 1));
}

#[test]
fn keeps_data_for_their_template() {
    for (name, message, kind) in [
        ("IPFIX", ipfix as fn(u32, u32, &[Vec<u8>]) -> Vec<u8>, false),
        ("NetFlow 9", |sequence, _, sets| v9(sequence, sets), true),
    ] {
        let mut decoder = Decoder::default();
        let (flows, health) = decode(&mut decoder, &message(0, 77, &[data(2)]));
        assert_eq!((flows.len(), health.sets_waiting, health.malformed), (0, 1, 0), "{name}");
        let (flows, health) = decode(&mut decoder, &message(1, 77, &[template(kind), data(1)]));
        assert_eq!((flows.len(), health.sets_read_late, health.templates), (3, 1, 1), "{name}");
        assert_eq!(health.missing, 0, "{name}: what waited is not counted twice");
        assert_eq!((flows[2].src.packets, flows[2].src.bytes), (3, 300), "{name}");
    }
}

#[test]
fn does_not_mix_the_templates_of_two_streams() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &ipfix(0, 1, &[template(false)]));
    assert_eq!(decode(&mut decoder, &ipfix(0, 2, &[data(1)])).1.sets_waiting, 1, "another domain");
    let other = Sender { address: SocketAddr::from(([192, 0, 2, 2], 2055)), sampling: 0 };
    let health = decoder.decode(other, &ipfix(0, 1, &[data(1)]), NOW, &mut |_| ());
    assert_eq!(health.sets_waiting, 1, "another exporter");
    assert_eq!(decode(&mut decoder, &ipfix(0, 1, &[data(1)])).0.len(), 1);
}

#[test]
fn applies_the_rate_that_options_tell() {
    // Options template 257: scope system (1), then sampler 48 and interval 34; template 258 names the sampler.
    let options = set(1, &words(&[257, 4, 8, 1, 4, 48, 1, 34, 4]));
    let told = set(257, &[0, 0, 0, 0, 9, 0, 0, 0, 100]);
    let template = set(0, &words(&[258, 4, 8, 4, 12, 4, 2, 4, 48, 1]));
    let record = set(258, &[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 3, 9]);
    let mut decoder = Decoder::default();
    let (flows, health) = decode(&mut decoder, &v9(0, &[template, record.clone()]));
    assert_eq!((flows[0].sampling, health.sampling_unknown), (0, 1));
    let (flows, health) = decode(&mut decoder, &v9(1, &[options, told, record]));
    assert_eq!((flows[0].sampling, flows[0].src.packets), (100, 300));
    assert_eq!((health.sampling_unknown, health.other_records, health.templates), (0, 1, 1));
}

#[test]
fn fills_both_sides_of_a_biflow() {
    // 1 and 2 with their reverse (enterprise 29305).
    let mut fields = words(&[259, 5, 8, 4, 12, 4, 1, 4, 0x8001, 4]);
    fields.extend(29_305_u32.to_be_bytes());
    fields.extend(words(&[0x8006, 1]));
    fields.extend(29_305_u32.to_be_bytes());
    let record = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 8, 0x12];
    let mut decoder = Decoder::default();
    let (flows, _) = decode(&mut decoder, &ipfix(0, 1, &[set(2, &fields), set(259, &record)]));
    assert_eq!((flows[0].src.bytes, flows[0].dst.bytes, flows[0].dst.tcp_flags), (9, 8, 0x12));
}

#[test]
fn counts_what_it_does_not_understand() {
    let mut decoder = Decoder::default();
    for datagram in [&[][..], &[5], &[0, 8, 0, 0], &[0, 5, 0, 1], &[0, 0, 0, 5], &[0, 9], &[0, 10, 0, 16]] {
        let (flows, health) = decode(&mut decoder, datagram);
        assert_eq!((flows.len(), health.malformed, health.datagrams), (0, 1, 1), "{datagram:?}");
    }
}

#[test]
fn forgets_the_least_used_stream_and_says_so() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &ipfix(0, 0, &[template(false)]));
    for domain in 1..u32::try_from(STREAMS_MAX).unwrap() {
        assert_eq!(decode(&mut decoder, &ipfix(0, domain, &[template(false)])).1.streams_forgotten, 0);
    }
    decode(&mut decoder, &ipfix(0, 0, &[]));
    assert_eq!(decode(&mut decoder, &ipfix(0, 9_999, &[])).1.streams_forgotten, 1);
    assert_eq!(decode(&mut decoder, &ipfix(0, 0, &[data(1)])).0.len(), 1, "used of late");
    assert_eq!(decode(&mut decoder, &ipfix(0, 1, &[data(1)])).1.sets_waiting, 1, "forgotten");
    for number in 0..=u8::MAX {
        let address = SocketAddr::from(([10, 0, 0, number], 2055));
        decoder.decode(Sender { address, sampling: 0 }, &v5(0, 1, 0), NOW, &mut |_| ());
    }
    assert_eq!(decoder.exporters.len(), EXPORTERS_MAX);
}

/// A datagram of each protocol, templates included.
fn seeds() -> Vec<Vec<u8>> {
    let mut sflow =
        vec![0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1];
    let mut head = vec![0_u8; 12];
    head.extend([0x81, 0, 0, 5, 8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    head.extend([0, 22, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12]);
    let raw: Vec<u8> = [1_u32, 1, 16 + 52, 1, 64, 4, 52].iter().flat_map(|word| word.to_be_bytes()).collect();
    let sample: Vec<u8> = [7_u32, 3, 400, 0, 0, 3, 4].iter().flat_map(|word| word.to_be_bytes()).collect();
    let sample = [&sample[..], &raw[..4], &raw[4..], &head].concat();
    sflow.extend([0, 0, 0, 1]);
    sflow.extend(u32::try_from(sample.len()).unwrap().to_be_bytes());
    sflow.extend(sample);
    vec![
        v5(0, 3, 0x4000 | 10),
        v9(1, &[template(true), data(3), set(1, &words(&[257, 4, 8, 1, 4, 48, 1, 34, 4]))]),
        ipfix(1, 1, &[template(false), data(3)]),
        sflow,
    ]
}

#[test]
fn reads_a_packet_that_a_switch_sampled() {
    let mut decoder = Decoder::default();
    let (flows, health) = decode(&mut decoder, &seeds()[3]);
    assert_eq!(health, Health { datagrams: 1, records: 1, ..Health::default() });
    let flow = &flows[0];
    assert_eq!((flow.origin, flow.sampling, flow.vlan), (Origin::Sflow, 400, 5));
    assert_eq!((flow.src.packets, flow.src.bytes, flow.src.frame_bytes), (400, 24_000, 25_600));
    assert_eq!((flow.src_port, flow.dst_port, flow.src.tcp_flags), (22, 80, 0x12));
    assert_eq!((flow.input_if, flow.output_if, flow.start), (3, 4, NOW));
}

proptest! {
    #[test]
    fn no_mutation_panics_or_grows_without_bound(
        changes in prop::collection::vec((0_usize..4, 0_usize..400, any::<u8>(), 0_usize..400), 1..40),
    ) {
        let mut decoder = Decoder::default();
        let seeds = seeds();
        for (seed, at, byte, cut) in changes {
            let mut datagram = seeds[seed].clone();
            let length = datagram.len();
            datagram[at % length] = byte;
            datagram.truncate(length - cut.saturating_sub(300) % length);
            let (flows, health) = decode(&mut decoder, &datagram);
            prop_assert_eq!(health.datagrams, 1);
            prop_assert_eq!(u64::try_from(flows.len()).unwrap(), health.records);
            for flow in flows {
                prop_assert!(flow.start <= flow.end);
                prop_assert!((flow.end - NOW).abs() <= event::TS_PAST_MAX);
            }
        }
        prop_assert!(decoder.exporters.len() <= EXPORTERS_MAX);
        prop_assert!(decoder.exporters.values().all(|exporter| exporter.streams.len() <= STREAMS_MAX));
    }
}
