//! The ledger against a model, cut at every byte, damaged, and on a disk that is full.

use proptest::prelude::*;

use super::*;

const EPOCH: u64 = 11;
const NEW_EPOCH: u64 = 22;

fn known(id: FileId, position: u64) -> Known {
    Known {
        id,
        path: format!("/var/log/{id}.log"),
        device: 5,
        inode: 100 + id,
        fingerprint: Fingerprint { bytes: 18, hash: id },
        position,
        length: position,
        retired: false,
        labels: Labels { format: Format::Syslog, service: "ứng dụng".into(), ..Labels::default() },
    }
}

fn lines(seq: u64, file: FileId, start: u64, end: u64) -> Entry {
    let content = Content::Lines { file, start, end, records: 3, checksum: seq * 7 };
    Entry::Batch(Descriptor { seq, time_base: -5, utc_offset_s: -3600, content })
}

fn note(seq: u64) -> Entry {
    let content = Content::Note { source: "/a".into(), drill_id: String::new(), text: "{}".into() };
    Entry::Batch(Descriptor { seq, time_base: 1, utc_offset_s: 0, content })
}

/// What a run of the agent appends: two files, batches of either, acknowledgements in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Cut(FileId),
    Note,
    Ack(usize),
    Retire(FileId),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..3).prop_map(Step::Cut),
        1 => Just(Step::Note),
        4 => (0_usize..4).prop_map(Step::Ack),
        1 => (1_u64..3).prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 0..30)
}

/// The entries of those steps, as `tail` and `ship` would append them.
fn entries(steps: &[Step]) -> Vec<Entry> {
    let mut out = vec![Entry::File(known(1, 0)), Entry::File(known(2, 50))];
    let mut ends = [0, 0, 50];
    let mut retired = [false; 3];
    let mut waiting = Vec::new();
    let mut seq = 0;
    for step in steps {
        match *step {
            Step::Cut(file) if !retired[file as usize] => {
                seq += 1;
                let end = &mut ends[file as usize];
                out.push(lines(seq, file, *end, *end + 100));
                *end += 100;
                waiting.push(seq);
            }
            Step::Note => {
                seq += 1;
                out.push(note(seq));
                waiting.push(seq);
            }
            Step::Ack(index) if index < waiting.len() => out.push(Entry::Ack(waiting.remove(index))),
            Step::Retire(file) if !retired[file as usize] => {
                retired[file as usize] = true;
                out.push(Entry::Retire(file));
            }
            _ => {}
        }
    }
    out
}

/// What a reader must know after these entries, told from the whole list rather than entry by entry.
fn assert_tells(state: &State, entries: &[Entry]) {
    let acked = |seq| entries.contains(&Entry::Ack(seq));
    let batches: Vec<&Descriptor> = entries
        .iter()
        .filter_map(|entry| if let Entry::Batch(batch) = entry { Some(batch) } else { None })
        .collect();
    let waiting: Vec<_> = batches.iter().filter(|batch| !acked(batch.seq)).copied().collect();
    assert_eq!(state.unacked.values().collect::<Vec<_>>(), waiting);
    assert_eq!(state.seq_next, batches.len() as u64 + 1, "numbers without gaps");
    for (id, first) in [(1, 0), (2, 50)] {
        let of_file =
            |batch: &&Descriptor| matches!(batch.content, Content::Lines { file, .. } if file == id);
        let cut = batches.iter().copied().filter(of_file).count() as u64;
        let is_waited_for = waiting.iter().copied().any(|batch| of_file(&batch));
        let is_known = entries.iter().any(|entry| matches!(entry, Entry::File(known) if known.id == id));
        let retired = entries.contains(&Entry::Retire(id));
        let expected = (is_known && (!retired || is_waited_for)).then(|| (first + 100 * cut, retired));
        assert_eq!(state.files.get(&id).map(|known| (known.position, known.retired)), expected);
    }
}

/// A folder with the ledger of these entries, and the number of bytes after each of them.
fn written(entries: &[Entry]) -> (tempfile::TempDir, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), EPOCH).unwrap();
    assert_eq!(ledger.found(), Found::New);
    let mut ends = vec![ledger.bytes()];
    for entry in entries {
        ledger.append(entry.clone());
        ledger.commit().unwrap();
        ends.push(ledger.bytes());
    }
    (folder, ends)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tells_after_a_restart_what_it_was_told(steps in steps()) {
        let entries = entries(&steps);
        let (folder, _) = written(&entries);
        for _ in 0..2 {
            // The second time from the file that the first opening wrote anew.
            let ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
            prop_assert_eq!(ledger.found(), Found::Whole { torn_bytes: 0 });
            prop_assert_eq!(ledger.state().epoch, EPOCH);
            assert_tells(ledger.state(), &entries);
        }
    }
}

#[test]
fn survives_a_cut_at_every_byte() {
    let steps =
        [Step::Cut(1), Step::Cut(2), Step::Ack(1), Step::Note, Step::Retire(2), Step::Cut(1), Step::Ack(0)];
    let entries = entries(&steps);
    let (folder, ends) = written(&entries);
    let bytes = std::fs::read(folder.path().join("ledger")).unwrap();
    for length in ends[0]..=bytes.len() as u64 {
        let (state, found) = read(&bytes[..length as usize], NEW_EPOCH);
        let whole = ends.iter().filter(|end| **end <= length).count() - 1;
        assert_eq!(found, Found::Whole { torn_bytes: length - ends[whole] }, "{length}");
        assert_eq!(state.epoch, EPOCH);
        assert_tells(&state, &entries[..whole]);
    }
    for length in 0..ends[0] {
        let (state, found) = read(&bytes[..length as usize], NEW_EPOCH);
        assert_eq!(found, Found::Damaged { lost_bytes: length });
        assert_eq!(state, State::new(NEW_EPOCH));
    }
}

#[test]
fn goes_on_after_a_torn_entry() {
    let (folder, _) = written(&entries(&[Step::Cut(1), Step::Cut(1)]));
    let path = folder.path().join("ledger");
    let length = std::fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
    let mut ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
    assert!(matches!(ledger.found(), Found::Whole { torn_bytes } if torn_bytes > 0));
    assert_eq!(ledger.state().seq_next, 2, "the torn batch was never sent: its number is free");
    ledger.append(lines(2, 1, 100, 150));
    ledger.commit().unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
    assert_eq!(ledger.state().files[&1].position, 150);
    assert_eq!(ledger.state().epoch, EPOCH);
}

/// A number that may have been sent is never used again for other lines.
#[test]
fn draws_a_new_epoch_when_damaged_before_its_end() {
    let steps = [Step::Cut(1), Step::Ack(0), Step::Cut(1), Step::Cut(1), Step::Cut(2)];
    let entries = entries(&steps);
    let (folder, ends) = written(&entries);
    let path = folder.path().join("ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    // The third batch of file 1: [200, 300).
    let damaged = entries.len() - 2;
    bytes[ends[damaged] as usize + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
    assert!(matches!(ledger.found(), Found::Damaged { lost_bytes } if lost_bytes > 0));
    let state = ledger.state();
    assert_eq!((state.epoch, state.seq_next), (NEW_EPOCH, 1));
    assert!(state.unacked.is_empty());
    assert_eq!(state.files[&1].position, 100, "from the first line that is not known to be acknowledged");
    assert_eq!(state.files[&2].position, 50);
}

#[test]
fn stays_small_while_batches_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), EPOCH).unwrap();
    ledger.append(Entry::File(known(1, 0)));
    for seq in 1..=20_000 {
        ledger.append(lines(seq, 1, (seq - 1) * 10, seq * 10));
        assert!(ledger.ack(seq));
        assert!(!ledger.ack(seq), "once");
        if seq % 8 == 0 {
            ledger.flush().unwrap();
        }
        // Every batch is durable before it is sent; here a few at once, to spare the disk.
        if seq % 1000 == 0 {
            ledger.commit().unwrap();
        }
    }
    ledger.commit().unwrap();
    assert!(ledger.bytes() <= LEDGER_BYTES_MAX, "{}", ledger.bytes());
    let state = ledger.state().clone();
    drop(ledger);
    assert_eq!(Ledger::open(folder.path(), NEW_EPOCH).unwrap().state(), &state);
    assert_eq!(state.seq_next, 20_001);
}

#[test]
fn holds_everything_after_a_full_disk() {
    let (folder, _) = written(&entries(&[Step::Cut(1)]));
    let mut ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
    ledger.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    ledger.append(lines(2, 1, 100, 150));
    assert!(ledger.commit().is_err());
    ledger.append(lines(3, 1, 150, 170));
    ledger.commit().unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
    assert_eq!(ledger.found(), Found::Whole { torn_bytes: 0 });
    assert_eq!(ledger.state().files[&1].position, 170);
    assert_eq!(ledger.state().unacked.len(), 3);
}

#[test]
fn replaces_a_batch_that_is_lost_by_its_notice() {
    let mut state = State::new(EPOCH);
    for entry in [Entry::File(known(1, 0)), lines(1, 1, 0, 100), lines(2, 1, 100, 200), note(1)] {
        state.apply(entry);
    }
    assert!(matches!(state.unacked[&1].content, Content::Note { .. }));
    assert_eq!(state.seq_next, 3);
    state.apply(Entry::Retire(1));
    assert!(state.files.contains_key(&1), "batch 2 is of it");
    state.apply(Entry::Ack(2));
    assert!(state.files.is_empty());
}

#[test]
fn keeps_the_length_at_which_a_file_was_seen() {
    let (folder, _) =
        written(&[Entry::File(known(1, 0)), Entry::Seen { file: 1, length: 700 }, lines(1, 1, 0, 100)]);
    for _ in 0..2 {
        let ledger = Ledger::open(folder.path(), NEW_EPOCH).unwrap();
        assert_eq!((ledger.state().files[&1].position, ledger.state().files[&1].length), (100, 700));
    }
}

/// Written by the agent of November 2026, before a file's entry told its length.
#[test]
fn reads_a_file_without_its_length() {
    let mut bytes = Vec::new();
    codec::push_entry(&mut bytes, &Entry::File(known(1, 50)));
    let body = &bytes[2..bytes.len() - 8 - 8];
    let mut older = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    older.extend_from_slice(body);
    older.extend(xxhash_rust::xxh3::xxh3_64(body).to_be_bytes());
    assert_eq!(codec::read_entry(&older, 0), Some((Entry::File(known(1, 50)), older.len())));
}
