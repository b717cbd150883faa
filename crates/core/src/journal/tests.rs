use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::families::WAITING;
use crate::fixture::{Bed, NOW, gauge, policy, sum};
use crate::history::Lean;
use crate::policy::Combine;
use crate::record::{Answer, Clamp, decide};

const PLENTY: Limits = Limits {
    entries: 50,
    bytes: 1 << 20,
};

/// A journal and the time that passes over it.
struct Desk {
    journal: Journal,
    herald: Herald,
    now: Moment,
    limits: Limits,
}

impl Desk {
    fn new() -> Self {
        Self {
            journal: Journal::new(DecisionId::new(0xa0).unwrap()),
            herald: Herald::default(),
            now: NOW,
            limits: PLENTY,
        }
    }

    fn note(&mut self, bed: Bed, occasion: Occasion) -> DecisionId {
        let mut input = bed.input;
        let shift = self.now.since(input.now);
        // Samples and moments of the fixture are of its own time; only what is compared with `now` matters here.
        let record = decide(&input);
        input.now = input.now.plus(shift);
        self.journal.note(&input, &record, occasion, self.limits)
    }

    fn round(&mut self, bed: Bed) -> DecisionId {
        self.now = self.now.plus(Duration::from_secs(15));
        self.note(bed, Occasion::Round)
    }

    fn hear(&mut self, bed: &Bed, seconds: u64, heeded: bool) -> Option<News> {
        let mut input = bed.input.clone();
        let record = decide(&input);
        self.now = self.now.plus(Duration::from_secs(seconds));
        input.now = self.now;
        self.herald.hear(&input, &record, self.journal.upcoming(), heeded)
    }
}

/// One replica that has so much, of a target of 10.
fn one(value: f64) -> Bed {
    Bed::new(sum(10.0), 1).serving(value)
}

fn settled(metrics_value: f64, spec: u32) -> Bed {
    let bed = Bed::new(policy(vec![gauge(WAITING, 10.0, 4.0)], Combine::And), spec);
    let bed = (0..spec).fold(bed, |bed, _| bed.serving(metrics_value));
    bed.leaning(if metrics_value > 10.0 { Lean::Up } else { Lean::Down }, 900)
}

#[test]
fn equal_decisions_are_one_and_their_numbers_may_differ() {
    let mut desk = Desk::new();
    let ids: Vec<_> = [4.0, 4.0, 5.0, 3.0].map(|value| desk.round(one(value))).into();
    let entry = desk.journal.entries().next().unwrap();
    assert_eq!(desk.journal.entries().len(), 1);
    assert_eq!(
        (entry.count, entry.since, entry.until),
        (4, NOW.plus(Duration::from_secs(15)), desk.now)
    );
    assert_eq!(
        (&entry.answer, entry.latest_answer()),
        (&Answer::Value(4.0), &Answer::Value(3.0))
    );
    assert!(
        ids.iter().all(|id| desk.journal.find(*id) == Some(entry)),
        "each id is found: {ids:?}"
    );
    let bands: Vec<_> = desk.journal.points().map(|point| point.bands[0].low).collect();
    assert_eq!(bands, [Some(4.0), Some(5.0), Some(3.0)], "the numbers are on the timeline");
}

#[test]
fn another_wish_begins_another_decision() {
    let mut desk = Desk::new();
    let first = desk.round(one(4.0));
    let second = desk.round(one(35.0));
    assert_eq!(second, first.next());
    let wishes: Vec<_> = desk.journal.entries().map(Entry::wish).collect();
    assert_eq!(wishes, [Lean::Hold, Lean::Up]);
    let replica = &desk.journal.entries().next_back().unwrap().replicas[0];
    assert_eq!((&*replica.workspace, replica.state), ("ws-0", State::Serving));
    assert_eq!((replica.values[0], replica.sample_seconds), (Some(35.0), Some(5.0 + 30.0)));
}

#[test]
fn a_wish_for_more_is_one_decision_while_its_number_changes() {
    let mut desk = Desk::new();
    for value in [25.0, 35.0, 31.0, 24.0, 38.0] {
        desk.round(one(value));
    }
    let wishes: Vec<_> = desk
        .journal
        .entries()
        .map(|entry| (entry.desired, entry.last_desired))
        .collect();
    assert_eq!(wishes, [(Some(3), Some(4))]);
    assert_eq!(desk.journal.entries().next().unwrap().latest_desired(), Some(4));
}

#[test]
fn what_kept_a_move_back_and_what_each_metric_said_is_kept() {
    let mut desk = Desk::new();
    let at_max = settled(30.0, 3).bounds(1, 3);
    desk.round(at_max);
    let entry = desk.journal.entries().next().unwrap();
    assert_eq!(&*entry.clamps, [Clamp::MaxReplicas]);
    assert_eq!((entry.lean, entry.wish(), entry.max_replicas), (Lean::Up, Lean::Hold, 3));
    assert_eq!((entry.metrics[0].lean, entry.metrics[0].low), (Lean::Up, Some(30.0)));
}

#[test]
fn call_like_the_round_before_goes_by_its_id_and_another_gets_its_own() {
    let mut desk = Desk::new();
    let round = desk.round(one(4.0));
    assert_eq!(desk.note(one(6.0), Occasion::Call), round);
    let other = desk.note(one(35.0), Occasion::Call);
    assert_eq!(other, round.next());
    let told: Vec<_> = desk.journal.entries().map(|entry| (entry.count, entry.calls)).collect();
    assert_eq!(told, [(1, 1), (1, 1)]);
    assert_eq!(desk.journal.points().count(), 1, "calls are no rounds");
}

#[test]
fn move_belongs_to_the_decision_before_it_and_ends_it() {
    let mut desk = Desk::new();
    desk.round(one(35.0));
    desk.journal.moved(desk.now, 1, 2);
    desk.round(one(35.0));
    let moves: Vec<_> = desk.journal.entries().map(|entry| entry.moves.len()).collect();
    assert_eq!(moves, [1, 0]);
    let entry = desk.journal.entries().next().unwrap();
    assert_eq!((entry.moves[0].direction(), entry.wish()), (Lean::Up, Lean::Up));
    for to in 3..20 {
        desk.journal.moved(desk.now, to - 1, to);
    }
    let last = desk.journal.entries().next_back().unwrap();
    assert_eq!((last.moves.len(), last.moves.last().unwrap().to), (MAX_MOVES, 19));
}

#[test]
fn nothing_is_kept_when_nothing_is_to_be() {
    let mut desk = Desk::new();
    desk.limits.entries = 0;
    let first = desk.round(one(4.0));
    assert_eq!(desk.round(one(4.0)), first.next(), "ids count on");
    assert_eq!((desk.journal.entries().len(), desk.journal.bytes()), (0, 0));
}

#[test]
fn fleet_too_large_for_its_share_is_kept_without_its_replicas() {
    let mut desk = Desk::new();
    desk.limits.bytes = 2000;
    let fleet = (0..40).fold(Bed::new(sum(10.0), 40), |bed, _| bed.serving(1.0));
    desk.round(fleet.clone());
    let least = desk.journal.entries().next().unwrap().bytes();
    assert!(least < 1024, "{least} bytes are more than is documented");
    let entry = desk.journal.entries().next().unwrap();
    assert_eq!((entry.replicas.len(), entry.more_replicas), (0, 40));
    desk.round(fleet);
    assert_eq!(desk.journal.entries().len(), 1, "and still folds");
}

#[test]
fn decision_in_the_memory_of_a_forgotten_one_shows_nothing_of_it() {
    let fleets = [
        settled(30.0, 3),
        one(4.0),
        settled(6.0, 2).pending(60),
        settled(30.0, 5),
        Bed::new(sum(10.0), 2),
    ];
    let mut desk = Desk::new();
    desk.limits.entries = 1;
    for (index, bed) in fleets.iter().chain(&fleets).enumerate() {
        let record = decide(&bed.input);
        let id = desk.journal.note(&bed.input, &record, Occasion::Round, desk.limits);
        let fresh = Entry::new(id, &bed.input, &record, MAX_REPLICAS);
        assert_eq!(desk.journal.entries().collect::<Vec<_>>(), [&fresh], "decision {index}");
    }
}

#[test]
fn quiet_journal_gives_back_what_a_larger_share_had_allowed() {
    let mut desk = Desk::new();
    for round in 0..100 {
        desk.round(one(f64::from(round % 2) * 30.0 + f64::from(round) / 100.0));
    }
    let before = desk.journal.bytes();
    desk.limits.bytes = before / 4;
    desk.round(one(31.5));
    desk.round(one(31.5));
    let after = desk.journal.bytes();
    assert!(after <= before / 4, "{after} of {before} bytes");
    assert!(desk.journal.entries().len() > 1 && desk.journal.points().count() > 1);
}

#[test]
fn a_wish_is_news_once_until_the_count_or_the_direction_changes() {
    let mut desk = Desk::new();
    let up = |spec| settled(30.0, spec);
    let first = desk.hear(&up(2), 0, true).unwrap();
    assert_eq!(first.about, About::Up);
    assert_eq!(first.id, desk.journal.upcoming());
    assert!(
        first.message.contains("wants 3 replicas, has 2") && first.message.ends_with(&first.id.to_string()),
        "{}",
        first.message
    );
    assert_eq!(desk.hear(&up(2), 15, true), None);
    assert_eq!(desk.hear(&settled(6.0, 2), 15, true), None, "a hold is none");
    assert_eq!(desk.hear(&up(2), 15, true), None, "nor is the same wish again");
    assert!(desk.hear(&up(3), 15, true).is_some());
    assert_eq!(
        desk.hear(&settled(0.0, 3), 15, true).map(|news| news.about),
        Some(About::Down)
    );
    assert!(
        desk.hear(&settled(0.0, 3), 600, true).is_some(),
        "it is told again after ten minutes"
    );
}

#[test]
fn who_is_not_asked_tells_nothing_until_it_is() {
    let mut desk = Desk::new();
    assert_eq!(desk.hear(&settled(30.0, 2), 0, false), None);
    assert!(desk.hear(&settled(30.0, 2), 15, true).is_some());
}

#[test]
fn hold_at_the_maximum_is_told_once_it_lasts_and_once_an_hour() {
    let mut desk = Desk::new();
    let at_max = settled(30.0, 3).bounds(1, 3);
    let told: Vec<_> = (0..300)
        .filter_map(|round| desk.hear(&at_max, 15, true).map(|news| (round, news)))
        .collect();
    let rounds: Vec<_> = told.iter().map(|(round, _)| *round).collect();
    assert_eq!(rounds, [4, 244]);
    assert_eq!(told[0].1.about, About::Held(Hindrance::Maximum));
    assert!(
        told[0].1.message.contains("more than the 3 replicas allowed"),
        "{}",
        told[0].1.message
    );
}

#[test]
fn hold_that_comes_and_goes_is_told_once() {
    let mut desk = Desk::new();
    let mut pending = settled(30.0, 1).pending(60);
    (pending.input.scale.spec_replicas, pending.input.scale.status_replicas) = (2, 2);
    let calm = settled(6.0, 2);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend((0..25).filter_map(|_| desk.hear(&pending, 15, true)));
        told.extend((0..4).filter_map(|_| desk.hear(&calm, 15, true)));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].about, About::Held(Hindrance::NewCapacity));
    assert!(told[0].message.contains("ws-1"), "{}", told[0].message);
}

#[test]
fn hold_that_is_away_for_a_moment_now_and_then_is_told_all_the_same() {
    let mut desk = Desk::new();
    let mut pending = settled(30.0, 1).pending(60);
    (pending.input.scale.spec_replicas, pending.input.scale.status_replicas) = (2, 2);
    let calm = settled(6.0, 2);
    let hear = |round: u32| desk.hear(if round % 3 == 2 { &calm } else { &pending }, 15, true);
    assert_eq!((0..30).filter_map(hear).count(), 1);
}

fn any_bed() -> impl Strategy<Value = Bed> {
    (1..6_u32, 0..6_u32, 0..40_u32, any::<bool>()).prop_map(|(spec, serving, value, pending)| {
        let bed = Bed::new(sum(10.0), spec);
        let bed = (0..serving.min(spec)).fold(bed, |bed, _| bed.serving(f64::from(value)));
        if pending { bed.pending(60) } else { bed }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_journal_stays_within_its_limits_and_numbers_every_round(
        beds in prop::collection::vec((any_bed(), any::<bool>()), 1..60),
        entries in 1..10_usize,
        bytes in 4000..40_000_usize,
    ) {
        let mut desk = Desk::new();
        desk.limits = Limits { entries, bytes };
        let mut last = desk.journal.latest();
        let mut rounds = 0;
        for (bed, call) in beds {
            let upcoming = desk.journal.upcoming();
            let id = if call { desk.note(bed, Occasion::Call) } else { desk.round(bed) };
            if !call {
                prop_assert_eq!(id, upcoming);
                rounds += 1;
            }
            prop_assert!(id == last || id == last.next());
            last = id;
            prop_assert!(desk.journal.entries().len() <= entries);
            prop_assert!(desk.journal.bytes() <= bytes, "{} of {bytes}", desk.journal.bytes());
            prop_assert!(desk.journal.find(id).is_some(), "the latest is always there");
            let kept: Vec<_> = desk.journal.entries().collect();
            for pair in kept.windows(2) {
                prop_assert_eq!(pair[0].id.after(pair[0].count.into()), pair[1].id, "no id is missing between two");
            }
        }
        let counted: u32 = desk.journal.entries().map(|entry| entry.count).sum();
        prop_assert!(counted >= 1 && u64::from(counted) <= rounds + 60);
    }

    #[test]
    fn news_is_never_a_stream(flips in prop::collection::vec((0..3_u8, 1..120_u64), 1..400)) {
        let mut desk = Desk::new();
        let mut told: Vec<Moment> = Vec::new();
        for (flip, seconds) in flips {
            let bed = match flip {
                0 => settled(30.0, 2),
                1 => settled(0.0, 2),
                _ => settled(30.0, 3).bounds(1, 3),
            };
            if desk.hear(&bed, seconds, true).is_some() {
                told.push(desk.now);
            }
        }
        for seven in told.windows(7) {
            prop_assert!(seven[6].since(seven[0]) >= Duration::from_secs(600));
        }
    }
}
