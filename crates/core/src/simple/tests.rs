use crate::fixture::{Bed, sum};
use crate::history::Lean;
use crate::record::{Answer, Clamp};

fn ordered(spec: u32) -> Bed {
    Bed::new(sum(10.0), spec)
}

/// What is answered, and the count the HPA then goes to.
fn answered(bed: &Bed) -> (Answer, Option<u32>) {
    let record = bed.decide();
    (record.answer, record.desired)
}

fn value(value: f64, desired: u32) -> (Answer, Option<u32>) {
    (Answer::Value(value), Some(desired))
}

/// The samples have pointed down long enough.
fn long_down(bed: Bed) -> Bed {
    bed.leaning(Lean::Down, 300)
}

#[test]
fn whole_fleet_answers_its_sum() {
    for (name, bed, expected) in [
        ("in band", ordered(3).serving(5.0).serving(8.0).serving(9.0), value(22.0, 3)),
        ("up", ordered(3).serving(20.0).serving(20.0).serving(21.0), value(61.0, 7)),
        (
            "down",
            long_down(ordered(3).serving(3.0).serving(3.0).serving(3.0)),
            value(9.0, 1),
        ),
        ("quiet at the minimum", ordered(1).serving(0.0), value(0.0, 1)),
        (
            "busy at the maximum",
            ordered(2).bounds(1, 2).serving(40.0).serving(50.0),
            value(90.0, 2),
        ),
        ("fractions", ordered(1).serving(0.333_333), value(0.333, 1)),
    ] {
        assert_eq!(answered(&bed), expected, "{name}");
    }
}

#[test]
fn move_up_is_answered_although_replicas_are_missing() {
    for (name, bed) in [
        ("silent", ordered(2).serving(25.0).silent(60)),
        ("pending", ordered(2).serving(25.0).pending(60)),
        ("unborn", ordered(2).serving(25.0)),
        ("leaving", ordered(2).serving(12.0).serving(13.0).serving(50.0).terminating()),
    ] {
        assert_eq!(answered(&bed), value(25.0, 3), "{name}");
    }
}

#[test]
fn move_down_is_answered_with_the_missing_at_target() {
    let pending = long_down(ordered(4).serving(1.0).serving(1.0).serving(1.0).pending(60));
    assert_eq!(answered(&pending), value(13.0, 2));
    let leaving = long_down(ordered(3).serving(1.0).serving(1.0).serving(1.0).serving(4.0).terminating());
    assert_eq!(answered(&leaving), value(7.0, 1));
}

#[test]
fn silent_replica_forbids_every_move_down() {
    let record = long_down(ordered(4).serving(0.0).serving(0.0).serving(0.0).silent(60)).decide();
    assert_eq!(record.answer, Answer::Value(40.0));
    assert_eq!(record.desired, Some(4));
    assert_eq!(record.clamps, [Clamp::Unknown]);
}

#[test]
fn sum_that_could_be_either_holds() {
    let bed = ordered(2).serving(8.0).pending(60);
    assert_eq!(answered(&bed), value(20.0, 2));
}

#[test]
fn missing_replica_is_never_read_as_idle() {
    // Two of three are pending: their load is somewhere, the one that serves has little.
    let bed = long_down(ordered(3).serving(2.0).pending(60).pending(60));
    assert_eq!(answered(&bed), value(30.0, 3));
}

#[test]
fn nobody_heard_holds_whatever_is_missing() {
    let lost = |mut bed: Bed| {
        bed.last().created = crate::fixture::ago(5000);
        bed.input.timing.process_started = crate::fixture::ago(5000);
        bed
    };
    for (name, bed) in [
        ("silent", ordered(3).silent(60).silent(60).silent(60)),
        ("pending", ordered(3).pending(60).pending(60).pending(60)),
        ("lost", lost(ordered(1).pending(60)).bounds(1, 5)),
        ("unborn", ordered(3)),
    ] {
        let spec = bed.input.scale.spec_replicas;
        let bed = long_down(bed);
        assert_eq!(answered(&bed), value(10.0 * f64::from(spec), spec), "{name}");
        assert!(bed.decide().reason.starts_with("no replica has a fresh sample"), "{name}");
    }
}

#[test]
fn lagging_status_does_not_turn_a_quiet_band_into_a_move() {
    // Inside its tolerance the HPA returns status.replicas: 2 of the 3 ordered.
    let fleet = || ordered(3).serving(6.0).serving(6.0).serving(7.0).status(2);
    let record = long_down(fleet()).decide();
    assert_eq!(record.answer, Answer::Value(30.0));
    assert_eq!(record.clamps, [Clamp::StatusLags]);
    assert_eq!(long_down(fleet().status(3)).decide().answer, Answer::Value(19.0));
}

#[test]
fn value_that_both_counts_agree_on_is_used() {
    let bed = ordered(3).serving(20.0).serving(20.0).serving(20.0).status(2);
    assert_eq!(answered(&bed), value(60.0, 6));
}

#[test]
fn hold_is_published_as_the_value_that_works() {
    // 11 of which 10 are reported: everyone at target would be read as 10.
    let near = ordered(11).bounds(1, 20).status(10).serving(5.0);
    let record = near.decide();
    assert!(matches!(record.answer, Answer::Unavailable(_)), "{record:?}");
    let wide = ordered(3).status(2).serving(5.0);
    assert_eq!(answered(&wide), value(30.0, 3));
    let tight = ordered(12).bounds(1, 20).status(11).tolerance(0.1, 0.1).serving(5.0);
    let Answer::Unavailable(why) = tight.decide().answer else {
        panic!()
    };
    assert!(why.contains("spec.replicas is 12 and status.replicas 11"), "{why}");
}

#[test]
fn move_down_waits_for_our_own_window() {
    for (covered, expected) in [(285, value(30.0, 3)), (300, value(9.0, 1))] {
        let bed = ordered(3).serving(3.0).serving(3.0).serving(3.0).leaning(Lean::Down, covered);
        assert_eq!(answered(&bed), expected, "{covered}");
    }
    let record = ordered(3).serving(3.0).serving(3.0).serving(3.0).decide();
    assert_eq!(record.clamps, [Clamp::Window]);
    assert_eq!(record.lean, Lean::Down);
}

#[test]
fn move_up_waits_for_nothing_here() {
    assert_eq!(answered(&ordered(1).serving(30.0)), value(30.0, 3));
}

#[test]
fn counts_are_compared_within_the_bounds() {
    // The HPA would go to 1, but the minimum is 3: nothing moves, so the truth is told.
    let bed = ordered(3).bounds(3, 10).serving(0.0).serving(0.0).serving(1.0);
    assert_eq!(answered(&bed), value(1.0, 3));
    assert_eq!(bed.decide().clamps, [Clamp::MinReplicas]);
}

#[test]
fn nothing_is_asked_of_a_fleet_scaled_to_zero() {
    let bed = ordered(0).bounds(0, 5);
    assert_eq!(answered(&bed), value(0.0, 0));
}

#[test]
fn lean_ignores_bounds_and_windows_so_that_it_can_be_remembered() {
    for (name, bed, lean) in [
        ("idle at the minimum", ordered(1).serving(0.0), Lean::Down),
        ("busy at the maximum", ordered(1).bounds(1, 1).serving(50.0), Lean::Up),
        ("in band", ordered(1).serving(8.0), Lean::Hold),
        ("silent", ordered(2).serving(0.0).silent(60), Lean::Hold),
        ("down for sure", ordered(3).serving(0.0).serving(0.0).pending(60), Lean::Down),
        ("nobody", ordered(1).silent(60), Lean::Hold),
    ] {
        assert_eq!(bed.decide().lean, lean, "{name}");
    }
}

#[test]
fn value_that_calls_for_a_move_within_the_tolerance_says_so() {
    let near = |values: [f64; 2]| {
        let mut bed = long_down(ordered(2).serving(values[0]).serving(values[1]));
        bed = bed.tolerance(0.1, 0.6);
        let record = bed.decide();
        (record.desired, record.clamps)
    };
    assert_eq!(near([10.0, 11.0]), (Some(2), vec![Clamp::Tolerance]));
    assert_eq!(near([5.0, 5.0]), (Some(2), vec![Clamp::Tolerance]));
    // The HPA rounds up: twelve are two replicas' work anyway.
    assert_eq!(near([6.0, 6.0]), (Some(2), vec![]));
    assert_eq!(near([10.0, 10.0]), (Some(2), vec![]));
    assert_eq!(near([10.0, 13.0]), (Some(3), vec![]));
    // No more would be allowed in any case.
    let mut full = ordered(2).bounds(1, 2).serving(10.0).serving(11.0);
    full = full.tolerance(0.1, 0.1);
    assert_eq!(full.decide().clamps, []);
}
