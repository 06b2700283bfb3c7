//! The spool alone: rotation, its bound, what a crash leaves, deletion.

use super::*;

const MIB: u64 = 1024 * 1024;

fn spool(folder: &Path, bytes_max: u64) -> Arc<Spool> {
    Spool::open(folder, bytes_max).unwrap()
}

fn segments(spool: &Arc<Spool>, interface: &str) -> Segments {
    Segments::new(Arc::clone(spool), interface, IntCounter::new("dropped", "lines").unwrap())
}

fn lines(bytes: usize) -> Vec<u8> {
    let mut lines = vec![b'x'; bytes - 1];
    lines.push(b'\n');
    lines
}

#[test]
fn begins_segments_anew_when_they_are_full_and_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = spool(folder.path(), MIB);
    let mut writer = segments(&first, "eth-0");
    for _ in 0..3 {
        writer.write(&mut lines(SEGMENT_BYTES_MIN as usize / 2));
    }
    let paths = first.paths();
    assert_eq!(paths.len(), 2, "a segment is an eighth of the spool");
    assert_eq!(paths.iter().map(|path| first.is_closed(path)).collect::<Vec<_>>(), [true, false]);
    assert_eq!(std::fs::metadata(&paths[0]).unwrap().len(), SEGMENT_BYTES_MIN);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&paths[0]).unwrap().permissions().mode() & 0o777, 0o600);
    // As after kill -9: nobody has closed anything.
    let again = spool(folder.path(), MIB);
    assert_eq!(again.paths(), paths);
    assert_eq!(again.bytes(), first.bytes());
    assert!(again.is_closed(&paths[1]));
    segments(&again, "eth-0").write(&mut b"new\n".to_vec());
    let now = again.paths();
    assert_eq!(now[..2], paths);
    assert_eq!(std::fs::read(&now[2]).unwrap(), b"new\n");
}

#[test]
fn drops_and_counts_what_finds_no_room_and_goes_on_when_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), MIB);
    let mut writer = segments(&spool, "eth0");
    let piece = 64 * 1024;
    let mut fitted = 0;
    while writer.dropped_lines.get() == 0 {
        fitted += 1;
        writer.write(&mut lines(piece));
    }
    let mut two = [lines(piece / 2), lines(piece / 2)].concat();
    writer.write(&mut two);
    assert!(two.is_empty());
    assert!(spool.bytes() <= MIB && spool.bytes() > MIB - 2 * piece as u64, "{}", spool.bytes());
    assert_eq!(writer.dropped_lines.get(), 3);
    let lost = Loss { lines: 3, bytes: 2 * piece as u64 };
    assert_eq!(spool.take_losses(), [("capture:eth0".to_owned(), FULL, lost)]);
    assert_eq!(spool.take_losses(), []);
    let on_disk: u64 = spool.paths().iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert_eq!(on_disk, (fitted - 1) * piece as u64);

    assert!(spool.paths().iter().all(|path| spool.is_closed(path)), "so that all of it can be deleted");
    spool.delete(&spool.paths()[0]).unwrap();
    writer.write(&mut lines(piece));
    assert_eq!(writer.dropped_lines.get(), 3);
    assert!(!writer.troubled);
    for path in spool.paths() {
        spool.delete(&path).unwrap();
    }
    assert_eq!(spool.bytes(), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
}

#[test]
fn bounds_the_number_of_segments_too() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), MIB);
    let dropped = (0..1_000).map(|_| {
        let mut writer = segments(&spool, "eth0");
        writer.write(&mut b"started\n".to_vec());
        writer.close();
        writer.dropped_lines.get()
    });
    assert!(dropped.sum::<u64>() > 700);
    assert!(spool.paths().len() <= 256);
}

#[test]
fn counts_what_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spool"), "no folder").unwrap_or_default();
    assert!(Spool::open(folder.path(), MIB).is_err());
    std::fs::remove_file(folder.path().join("spool")).unwrap();
    let spool = spool(folder.path(), MIB);
    std::fs::write(folder.path().join("spool"), "no folder").unwrap();
    let mut writer = segments(&spool, "eth0");
    writer.write(&mut b"one\ntwo\n".to_vec());
    assert_eq!(writer.dropped_lines.get(), 2);
    assert_eq!(spool.take_losses()[0].1, NOT_WRITTEN);
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn begins_another_segment_when_one_was_deleted_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), MIB);
    let mut writer = segments(&spool, "eth0");
    writer.write(&mut b"one\n".to_vec());
    let path = spool.paths().remove(0);
    std::fs::remove_file(&path).unwrap();
    writer.write(&mut b"two\n".to_vec());
    spool.delete(&path).unwrap();
    assert_eq!(std::fs::read(&spool.paths()[0]).unwrap(), b"two\n");
}

#[test]
fn knows_its_names() {
    for (path, interface) in [
        ("/d/spool/eth0-0000000000000001.log", "eth0"),
        ("/d/spool/br-a1b2-1795400107120501.log", "br-a1b2"),
        ("spool/eth0.100-7.log", "eth0.100"),
    ] {
        assert_eq!(interface_of(path), Some(interface), "{path}");
        assert_eq!(source_of(path), Some(format!("capture:{interface}")));
    }
    for path in ["ledger", "eth0.log", "-1.log", "eth0-.log", "eth0-1a.log", "eth0-1.log.gz", "eth0-+1.log"] {
        assert_eq!(interface_of(&format!("/d/spool/{path}")), None, "{path}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    std::fs::write(folder.path().join("spool/eth0-9000000000000000.log"), "").unwrap();
    let spool = spool(folder.path(), MIB);
    assert_eq!(spool.name("eth0"), "eth0-9000000000000001.log", "also when the clock was set back");
    assert!(spool.name("eth1").as_str() < "eth1-9");
    // A file of somebody else's is never deleted, whatever its name.
    let own = folder.path().join("spool/eth0-9.log");
    let foreign = folder.path().join("elsewhere/spool/eth0-9.log");
    assert_eq!((spool.owns(own.to_str().unwrap()), spool.owns(foreign.to_str().unwrap())), (true, false));
    assert!(!spool.owns("/var/log/eth0-9.log"));
}

#[test]
fn counts_a_torn_line_once() {
    for (written, rest) in [(0, 0), (1, 4), (3, 4), (4, 4), (5, 8), (8, 8)] {
        assert_eq!(behind_torn_line(b"one\ntwo\n", written), rest, "{written}");
    }
}
