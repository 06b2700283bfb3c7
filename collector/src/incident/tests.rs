//! An incident as its entries tell it, held against the decrees that ship.

use std::path::Path;

use jiff::civil::date;

use super::*;
use crate::priority::Levels;

const HOUR: Micros = 3_600_000_000;

fn decrees(folder: &str) -> Levels {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").join(folder);
    Levels::load(&folder, date(2026, 10, 1)).unwrap()
}

fn at(text: &str) -> Micros {
    moment(text).unwrap()
}

fn entry(action: &str, text: &str) -> Entry {
    Entry {
        at: at("2026-10-01T03:00:00Z"),
        alert_id: format!("{SUBJECT}20261001-ab12"),
        action: action.to_owned(),
        actor: "lan".to_owned(),
        text: text.to_owned(),
        ..Entry::default()
    }
}

fn incident(entries: &[Entry]) -> Incident {
    let mut all = incidents(entries);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn standings(incident: &Incident, levels: &Levels, now: &str) -> Vec<(String, Standing)> {
    let decree = incident.decree(levels.decrees(), &TimeZone::UTC).unwrap();
    let terms = incident.terms(decree, &TimeZone::UTC);
    terms.iter().map(|term| (term.deadline.provision.id.clone(), term.standing(at(now)))).collect()
}

#[test]
fn the_last_word_counts() {
    let told = [
        entry("open", "Webshell on the portal"),
        entry("set", "system cong-dvc"),
        entry("set", "detected_at 2026-10-01T02:30:00Z"),
        entry("set", "classes serious, personal_data"),
        entry("set", "symptoms unknown processes"),
        entry("set", "symptoms a shell below /uploads"),
        entry("set", "cause"),
        entry("comment", "set system nobody"),
        entry("sent", "incident 2026-10-02T02:30:00Z 12/BC-TTDL, by document system"),
        Entry { verdict: TRUE_POSITIVE.to_owned(), ..entry("close", "cleaned") },
    ];
    let incident = incident(&told);
    assert_eq!((&*incident.title, &*incident.system), ("Webshell on the portal", "cong-dvc"));
    assert_eq!(incident.detected_at, at("2026-10-01T02:30:00Z"));
    assert_eq!(incident.classes, ["serious", "personal_data"]);
    assert_eq!(
        incident.fields.iter().collect::<Vec<_>>(),
        [(&"symptoms".to_owned(), &"a shell below /uploads".to_owned())]
    );
    assert_eq!(incident.sent["incident"][0].proof, "12/BC-TTDL, by document system");
    assert_eq!(incident.closed.unwrap().text, "cleaned");
}

#[test]
fn the_new_decree_wants_three_reports_of_a_serious_one_at_their_times() {
    let levels = decrees("levels");
    let told = [
        entry("open", "x"),
        entry("set", "classes serious,national_security,violation"),
        entry("sent", "serious-incident 2026-10-02T03:00:59Z 1"),
        entry("sent", "national-security 2026-10-01T04:01:00Z 2"),
    ];
    let incident = incident(&told);
    let expected = [
        ("incident", Standing::Open),
        // Within the minute that is due; and an hour and a minute behind "at once".
        ("serious-incident", Standing::Met),
        ("national-security", Standing::Missed),
        ("violation", Standing::Undated),
    ]
    .map(|(id, standing)| (id.to_owned(), standing));
    assert_eq!(standings(&incident, &levels, "2026-10-04T03:00:00Z"), expected);
    let later = standings(&incident, &levels, "2026-10-04T03:01:00Z");
    assert_eq!(later[0], ("incident".to_owned(), Standing::Overdue));
}

#[test]
fn the_old_decree_holds_for_what_was_detected_under_it() {
    let levels = decrees("levels");
    let mut told = vec![
        entry("open", "x"),
        entry("set", "detected_at 2026-05-01T00:00:00Z"),
        entry("set", "classes beyond_capacity"),
    ];
    let open = standings(&incident(&told), &levels, "2026-05-05T00:00:00Z");
    let expected = [
        ("incident-notice", Standing::Open),
        ("initial-report", Standing::Overdue),
        // Its time begins when the incident ends.
        ("final-report", Standing::Undated),
    ]
    .map(|(id, standing)| (id.to_owned(), standing));
    assert_eq!(open, expected);
    told.push(entry("set", "ended_at 2026-05-03T00:00:00Z"));
    let ended = standings(&incident(&told), &levels, "2026-05-08T00:01:00Z");
    assert_eq!(ended[2], ("final-report".to_owned(), Standing::Overdue));
    told.push(entry("set", "ended_at"));
    assert_eq!(standings(&incident(&told), &levels, "2026-05-08T00:01:00Z")[2].1, Standing::Undated);
}

#[test]
fn what_was_none_has_no_deadline_and_what_is_closed_keeps_its_own() {
    let levels = decrees("levels");
    let closed = |verdict: &str| {
        incident(&[entry("open", "x"), Entry { verdict: verdict.into(), ..entry("close", "y") }])
    };
    assert_eq!(standings(&closed("false_positive"), &levels, "2026-10-09T00:00:00Z"), []);
    let told = [
        entry("open", "x"),
        entry("sent", "incident 2026-10-01T05:00:00Z 1"),
        Entry { verdict: "benign".into(), ..entry("close", "y") },
    ];
    let sent = standings(&incident(&told), &levels, "2026-10-09T00:00:00Z");
    assert_eq!(sent, [("incident".to_owned(), Standing::Met)], "what was sent is not forgotten");
    let kept = standings(&closed(TRUE_POSITIVE), &levels, "2026-10-09T00:00:00Z");
    assert_eq!(kept, [("incident".to_owned(), Standing::Overdue)]);
}

#[test]
fn what_was_sent_first_counts_and_can_be_taken_back() {
    let levels = decrees("levels");
    let mut told = vec![
        entry("open", "x"),
        entry("sent", "incident 2026-10-09T03:00:00Z final"),
        entry("sent", "incident 2026-10-02T03:00:00Z preliminary"),
    ];
    let standing = |told: &[Entry]| standings(&incident(told), &levels, "2026-10-09T04:00:00Z")[0].1;
    assert_eq!(standing(&told), Standing::Met);
    assert_eq!(incident(&told).sent["incident"].len(), 2);
    told.push(entry("unsent", "incident it was another one"));
    assert_eq!(standing(&told), Standing::Overdue);
}

#[test]
fn says_what_cannot_be() {
    let levels = decrees("levels");
    let fault = |told: &[Entry]| {
        let incident = incident(told);
        incident.fault(incident.decree(levels.decrees(), &TimeZone::UTC)).unwrap_or_default()
    };
    let open = entry("open", "x");
    for (told, expected) in [
        (vec![entry("set", "ended_at 2026-09-30T00:00:00Z")], "ended_at: "),
        (vec![entry("sent", "incident 2026-09-30T00:00:00Z x")], "sent before the detection"),
        (vec![entry("set", "classes terrible")], "expected serious, national_security"),
        // Under the old decree there is no such class, and no such deadline.
        (
            vec![entry("set", "classes violation"), entry("set", "detected_at 2026-05-01T00:00:00Z")],
            "(vn-nd85-2016)",
        ),
        (
            vec![
                entry("sent", "incident 2026-10-02T00:00:00Z x"),
                entry("set", "detected_at 2026-05-01T00:00:00Z"),
            ],
            "no deadline \"incident\"",
        ),
        (vec![entry("set", "classes serious,serious")], ""),
    ] {
        let told: Vec<Entry> = std::iter::once(open.clone()).chain(told).collect();
        let found = fault(&told);
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{told:?}: {found}");
    }
}

#[test]
fn no_country_is_known_here() {
    let levels = decrees("levels/neutral");
    let decree = levels.decrees().in_force(date(2026, 10, 1)).unwrap();
    assert_eq!(classes(decree), [""; 0]);
    let ended = incident(&[entry("open", "x"), entry("set", "ended_at 2026-10-31T00:00:00Z")]);
    let terms = ended.terms(decree, &TimeZone::UTC);
    // A month behind the last of October is the last of November.
    assert_eq!(terms[1].due, Some(at("2026-11-30T00:00:00Z")));
    let (due, first) = first_due(levels.decrees(), at("2026-10-01T00:00:00Z"), &TimeZone::UTC).unwrap();
    assert_eq!((due, &*first.provision.id), (at("2026-10-01T00:00:00Z") + 24 * HOUR, "early-notice"));
}

#[test]
fn a_decree_tells_its_classes() {
    let levels = decrees("levels");
    let of = |day| classes(levels.decrees().in_force(day).unwrap());
    assert_eq!(of(date(2026, 5, 1)), ["beyond_capacity", "serious"]);
    let new = ["serious", "national_security", "dangerous_situation", "violation", "personal_data"];
    assert_eq!(of(date(2026, 10, 1)), new);
}
