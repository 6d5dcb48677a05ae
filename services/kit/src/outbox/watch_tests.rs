//! Which acknowledgements make the stream suspicious.

use super::*;

fn watching() -> Watch {
    let gate = watch::Sender::new(Some(0));
    Watch { active: true, known: None, incarnation: String::new(), floor: 0, doubtful: false, gate }
}

fn opened(watched: &mut Watch, floor: u64) {
    watched.floor = floor;
    watched.gate.send_replace(Some(floor));
}

#[test]
fn what_was_on_its_way_during_a_check_is_not_suspicious() {
    let mut watched = watching();
    // Sent above 100; meanwhile others raised the stream to 900.
    opened(&mut watched, 900);
    assert!(!watched.acked(Uuid::now_v7(), StreamKind::Events, 500, false, 100));
    assert_eq!(*watched.gate.borrow(), Some(900), "nothing is held up");
    assert!(!watched.doubtful);
}

#[test]
fn what_was_sent_after_a_check_and_is_acknowledged_below_it_is() {
    let cases = [(901, false, false), (900, false, true), (1, false, true), (1, true, false)];
    for (sequence, duplicate, suspicious) in cases {
        let mut watched = watching();
        opened(&mut watched, 900);
        let found = watched.acked(Uuid::now_v7(), StreamKind::Events, sequence, duplicate, 900);
        assert_eq!(found, suspicious, "{sequence} {duplicate}");
        assert_eq!(
            watched.gate.borrow().is_none(),
            suspicious,
            "the gate closes until the stream was checked"
        );
        assert!(watched.known.is_some());
    }
    let mut watched = watching();
    assert!(!watched.acked(Uuid::now_v7(), StreamKind::Outbound, 1, false, 900), "only events are watched");
}
