use super::*;

const WINDOW: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Moment {
    Moment::from_secs(seconds)
}

fn members(names: &[&str]) -> Sighting {
    Sighting {
        members: names.iter().map(|name| (*name).to_owned()).collect(),
        heard: !names.is_empty(),
        ..Sighting::default()
    }
}

/// Rounds at the given seconds, each leaning as said.
fn rounds(rounds: impl IntoIterator<Item = (i64, Lean)>) -> History {
    let mut history = History::default();
    for (second, lean) in rounds {
        history.see(at(second), members(&["a"]), &Timing::default());
        history.lean(at(second), lean);
    }
    history
}

fn every_sample() -> Timing {
    Timing {
        proof: Proof::EverySample,
        ..Timing::default()
    }
}

fn supports_down(history: &History, now: i64) -> bool {
    history.supports(Lean::Down, WINDOW, at(now), &every_sample())
}

#[test]
fn fresh_history_supports_no_move_and_every_hold() {
    let history = History::default();
    let timing = Timing::default();
    assert!(!history.supports(Lean::Down, WINDOW, at(1000), &timing));
    assert!(!history.supports(Lean::Up, Duration::ZERO, at(1000), &timing));
    assert!(history.supports(Lean::Hold, WINDOW, at(1000), &timing));
}

#[test]
fn move_is_supported_once_its_run_covers_the_window() {
    let history = rounds([
        (0, Lean::Hold),
        (15, Lean::Down),
        (30, Lean::Down),
        (45, Lean::Down),
        (60, Lean::Down),
    ]);
    assert!(!supports_down(&history, 74));
    assert!(supports_down(&history, 75));
    assert!(!history.supports(Lean::Up, Duration::ZERO, at(75), &every_sample()));
}

#[test]
fn single_other_round_starts_the_run_anew() {
    for other in [Lean::Hold, Lean::Up] {
        let history = rounds([
            (0, Lean::Down),
            (15, Lean::Down),
            (30, other),
            (45, Lean::Down),
            (60, Lean::Down),
            (75, Lean::Down),
        ]);
        assert!(!supports_down(&history, 104), "{other:?}");
        assert!(supports_down(&history, 105), "{other:?}");
    }
}

#[test]
fn gap_between_rounds_starts_everything_anew() {
    let history = rounds([(0, Lean::Down), (15, Lean::Down), (49, Lean::Down), (64, Lean::Down)]);
    assert!(!supports_down(&history, 80), "the run before the gap is 80 seconds old");
    let history = rounds([(0, Lean::Down), (15, Lean::Down), (48, Lean::Down), (63, Lean::Down)]);
    assert!(supports_down(&history, 80), "one round left out is no gap");
}

#[test]
fn history_that_gets_no_rounds_supports_nothing() {
    let history = rounds((0..10).map(|round| (15 * round, Lean::Down)));
    assert!(supports_down(&history, 135 + 33));
    assert!(!supports_down(&history, 135 + 34));
}

#[test]
fn without_every_sample_agreeing_none_may_be_missing() {
    let timing = Timing {
        proof: Proof::NoGap,
        ..Timing::default()
    };
    let mut history = History::default();
    let mut round = |second, names: &[&str], now| {
        history.see(at(second), members(names), &timing);
        history.lean(at(second), Lean::Hold);
        history.supports(Lean::Down, WINDOW, at(now), &timing)
    };
    assert!(!round(0, &["a"], 10));
    assert!(!round(30, &["a"], 59));
    assert!(round(45, &["a"], 60));
    assert!(!round(60, &[], 61), "nobody was heard");
    assert!(!round(75, &["a"], 76));
}

#[test]
fn nothing_depends_on_how_often_it_is_asked() {
    let history = rounds((0..5).map(|round| (15 * round, Lean::Down)));
    let asked = history.clone();
    for now in 60..90 {
        supports_down(&asked, now);
    }
    assert_eq!(asked, history);
}

#[test]
fn members_are_known_since_their_last_change() {
    let timing = Timing::default();
    let mut history = History::default();
    history.see(at(0), members(&["a", "b"]), &timing);
    history.see(at(15), members(&["a", "b"]), &timing);
    assert_eq!(history.members_since(&["a", "b"]), Some(at(0)));
    assert_eq!(history.members_since(&["a"]), None, "a change that no round has seen");
    history.see(at(30), members(&["a"]), &timing);
    assert_eq!(history.members_since(&["a"]), Some(at(30)));
}

#[test]
fn idleness_is_a_run_of_rounds_too() {
    let timing = Timing::default();
    let idle = |idle, quiet| Sighting {
        idle,
        quiet,
        ..members(&["a"])
    };
    let mut history = History::default();
    history.see(at(0), idle(true, false), &timing);
    history.see(at(15), idle(true, true), &timing);
    assert_eq!((history.idle_since(), history.quiet_since()), (Some(at(0)), Some(at(15))));
    history.see(at(60), idle(true, true), &timing);
    assert_eq!(
        (history.idle_since(), history.quiet_since()),
        (Some(at(60)), Some(at(60))),
        "after a gap"
    );
    history.see(at(75), idle(false, false), &timing);
    assert_eq!((history.idle_since(), history.quiet_since()), (None, None));
}

#[test]
fn each_missing_workspace_has_its_own_beginning() {
    let timing = Timing::default();
    let missing = |missing| Sighting {
        missing,
        ..members(&["a"])
    };
    let mut history = History::default();
    history.see(at(0), missing(1), &timing);
    history.see(at(15), missing(3), &timing);
    assert_eq!(history.missing_since(), [at(0), at(15), at(15)]);
    history.see(at(30), missing(2), &timing);
    assert_eq!(history.missing_since(), [at(0), at(15)]);
    history.see(at(45), missing(0), &timing);
    history.see(at(60), missing(1), &timing);
    assert_eq!(history.missing_since(), [at(60)]);
    history.see(at(75), missing(u32::MAX), &timing);
    assert_eq!(history.missing_since().len(), MAX_MISSING);
}

#[test]
fn history_survives_json() {
    let history = rounds([(0, Lean::Down), (15, Lean::Down)]);
    let json = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
    assert_eq!(serde_json::from_str::<History>("{}").unwrap(), History::default());
}
