use super::*;
use lanes::{FAILED_SLOTS, LASTING_SLOTS, Limits, SLOTS};

const INTERVAL: Duration = Duration::from_secs(15);

struct Bed {
    scheduler: Scheduler,
    start: Instant,
    next_id: u64,
}

impl Bed {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::new(INTERVAL),
            start: Instant::now(),
            next_id: 0,
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn set(&mut self, namespace: &str, name: &str, targets: usize) -> (SetKey, Vec<TargetId>) {
        let key = SetKey::new(namespace, name);
        self.scheduler.add_set(&key, 1.0, self.start);
        let ids = (0..targets).map(|_| self.target(&key)).collect();
        self.scheduler.settle(&key);
        (key, ids)
    }

    fn target(&mut self, key: &SetKey) -> TargetId {
        self.next_id += 1;
        let id = TargetId(self.next_id);
        self.scheduler.add_target(key, id);
        id
    }

    fn work(&mut self, seconds: f64) -> Vec<Work> {
        let now = self.at(seconds);
        std::iter::from_fn(|| self.scheduler.next(now)).collect()
    }

    fn scrapes(&mut self, seconds: f64) -> Vec<(SetKey, TargetId)> {
        let scrape = |work| match work {
            Work::Scrape(key, id) => Some((key, id)),
            Work::RoundOver(_) => None,
        };
        self.work(seconds).into_iter().filter_map(scrape).collect()
    }

    fn finish(&mut self, key: &SetKey, id: TargetId, succeeded: bool, seconds: f64) {
        let now = self.at(seconds);
        self.scheduler.finished(key, id, succeeded, 0.0, now);
    }

    /// Everything that can be asked is asked and answers, until nothing is left to do.
    fn answer_all(&mut self, seconds: f64) {
        loop {
            let asked = self.scrapes(seconds);
            if asked.is_empty() {
                return;
            }
            for (key, id) in asked {
                self.finish(&key, id, true, seconds);
            }
        }
    }
}

impl Bed {
    /// The same, but nobody answers.
    fn fail_all(&mut self, seconds: f64) {
        loop {
            let asked = self.scrapes(seconds);
            if asked.is_empty() {
                return;
            }
            for (key, id) in asked {
                self.finish(&key, id, false, seconds);
            }
        }
    }
}

#[test]
fn new_target_is_asked_at_once_and_then_every_interval() {
    let mut bed = Bed::new();
    let (key, ids) = bed.set("ns", "a", 1);
    assert_eq!(bed.work(0.0), [Work::Scrape(key.clone(), ids[0])]);
    bed.finish(&key, ids[0], true, 0.1);
    assert_eq!(bed.work(0.1), [Work::RoundOver(key.clone())]);
    assert!(bed.work(14.9).is_empty());
    assert_eq!(bed.work(15.0), [Work::Scrape(key.clone(), ids[0])]);
    bed.finish(&key, ids[0], true, 15.1);
    let late = bed.target(&key);
    assert_eq!(bed.scrapes(16.0), [(key.clone(), late)]);
    bed.finish(&key, late, true, 16.1);
    bed.work(16.1);
    assert_eq!(bed.scrapes(30.0).len(), 2);
    assert_eq!(bed.scheduler.wakes(), Some(bed.at(45.0)));
}

#[test]
fn round_is_over_when_the_last_of_its_targets_has_answered_or_left() {
    let mut bed = Bed::new();
    let (key, ids) = bed.set("ns", "a", 3);
    let mut asked = bed.scrapes(0.0);
    bed.finish(&key, ids[0], true, 0.1);
    asked.extend(bed.scrapes(0.1));
    assert_eq!(asked.len(), 3);
    bed.finish(&key, ids[1], false, 0.2);
    assert!(bed.work(0.2).is_empty());
    bed.scheduler.remove_target(&key, ids[2]);
    assert_eq!(bed.work(0.3), [Work::RoundOver(key)]);
}

#[test]
fn inference_set_without_targets_has_rounds_too() {
    let mut bed = Bed::new();
    let (key, _) = bed.set("ns", "a", 0);
    assert_eq!(bed.work(0.0), [Work::RoundOver(key.clone())]);
    assert_eq!(bed.work(15.0), [Work::RoundOver(key)]);
}

#[test]
fn round_that_hangs_ends_when_the_next_begins() {
    let mut bed = Bed::new();
    let (key, ids) = bed.set("ns", "a", 2);
    assert_eq!(bed.scrapes(0.0).len(), 2);
    bed.finish(&key, ids[0], true, 0.1);
    assert_eq!(
        bed.work(15.0),
        [Work::RoundOver(key.clone()), Work::Scrape(key.clone(), ids[0])]
    );
    bed.finish(&key, ids[0], true, 15.1);
    assert!(bed.work(15.1).is_empty(), "the hung one is still awaited");
    bed.finish(&key, ids[1], true, 15.2);
    assert_eq!(bed.work(15.2), [Work::RoundOver(key)]);
}

#[test]
fn failing_target_is_retried_after_growing_pauses_while_others_keep_their_pace() {
    let mut bed = Bed::new();
    let (key, ids) = bed.set("ns", "a", 2);
    bed.scrapes(0.0);
    bed.finish(&key, ids[0], true, 0.0);
    bed.finish(&key, ids[1], false, 0.0);
    assert!(bed.scrapes(4.9).is_empty());
    assert_eq!(bed.scrapes(5.0), [(key.clone(), ids[1])]);
    bed.finish(&key, ids[1], false, 5.0);
    assert_eq!(bed.scrapes(14.9), []);
    // Due at 15 s both by the round and by its second pause.
    assert_eq!(bed.scrapes(15.0).len(), 2);
    bed.finish(&key, ids[0], true, 15.0);
    bed.finish(&key, ids[1], false, 15.0);
    assert_eq!(bed.scrapes(30.0), [(key.clone(), ids[0])]);
    assert_eq!(bed.scrapes(35.0), [(key.clone(), ids[1])]);
    bed.finish(&key, ids[1], true, 35.0);
    assert_eq!(bed.scrapes(45.0), [(key, ids[1])], "one success and it is back in the rounds");
}

#[test]
fn pauses_double_up_to_a_minute() {
    for (failures, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (100, 60)] {
        assert_eq!(pause(failures, 0.0), Duration::from_secs(seconds));
    }
    assert_eq!(pause(1, 1.0), Duration::from_secs(6));
    assert_eq!(pause(1, -9.0), Duration::from_secs(4));
}

#[test]
fn slots_are_limited_per_inference_set_per_namespace_and_in_all() {
    let mut bed = Bed::new();
    bed.set("one", "a", 100);
    assert_eq!(bed.scrapes(0.0).len(), SLOTS.set);
    bed.set("one", "b", 100);
    bed.set("one", "c", 100);
    assert_eq!(bed.scrapes(0.0).len(), SLOTS.namespace - SLOTS.set);
    for namespace in 0..10 {
        bed.set(&namespace.to_string(), "a", 100);
        bed.set(&namespace.to_string(), "b", 100);
    }
    assert_eq!(bed.scrapes(0.0).len(), SLOTS.all - SLOTS.namespace);
}

/// How many of `asked` there are in all, and at most in one namespace and one InferenceSet.
#[track_caller]
fn assert_within(asked: &[(SetKey, TargetId)], limits: Limits) {
    assert_eq!(asked.len(), limits.all);
    for (key, _) in asked {
        assert!(asked.iter().filter(|(other, _)| other == key).count() <= limits.set);
        assert!(asked.iter().filter(|(other, _)| other.namespace == key.namespace).count() <= limits.namespace);
    }
}

#[test]
fn targets_that_failed_have_a_quarter_of_the_slots_and_those_that_keep_failing_half_of_it() {
    let mut bed = Bed::new();
    for namespace in 0..10 {
        for name in ["a", "b", "c"] {
            bed.set(&namespace.to_string(), name, 5);
        }
    }
    bed.fail_all(0.0);
    let asked = bed.scrapes(5.0);
    assert_within(&asked, FAILED_SLOTS);
    for (key, id) in asked {
        bed.finish(&key, id, false, 5.0);
    }
    bed.fail_all(5.0);
    bed.fail_all(15.0);
    assert_within(&bed.scrapes(80.0), LASTING_SLOTS);
}

#[test]
fn target_that_failed_once_does_not_queue_behind_those_that_keep_failing() {
    let mut bed = Bed::new();
    for namespace in 0..10 {
        bed.set(&namespace.to_string(), "dead", 10);
    }
    for seconds in [0.0, 5.0, 15.0, 35.0] {
        bed.fail_all(seconds);
    }
    assert_eq!(
        bed.scrapes(75.0).len(),
        LASTING_SLOTS.all,
        "the dead are being asked and hang"
    );
    let (key, ids) = bed.set("good", "a", 1);
    assert_eq!(bed.scrapes(76.0), [(key.clone(), ids[0])]);
    bed.finish(&key, ids[0], false, 76.0);
    assert_eq!(bed.scrapes(81.0), [(key, ids[0])]);
}

#[test]
fn dead_targets_of_one_tenant_do_not_delay_another() {
    let mut bed = Bed::new();
    let (good, _) = bed.set("good", "a", 10);
    bed.answer_all(0.0);
    for name in 0..50 {
        bed.set("bad", &name.to_string(), 10);
    }
    assert_eq!(
        bed.scrapes(1.0).len(),
        SLOTS.namespace,
        "new ones are asked at once, and hang"
    );
    let asked = bed.scrapes(15.0);
    assert_eq!(asked.iter().filter(|(key, _)| *key == good).count(), SLOTS.set);
}

#[test]
fn removed_inference_set_leaves_nothing_and_may_come_back() {
    let mut bed = Bed::new();
    let (key, ids) = bed.set("ns", "a", 2);
    bed.scrapes(0.0);
    bed.scheduler.remove_set(&key);
    bed.finish(&key, ids[0], true, 1.0);
    bed.finish(&key, ids[1], false, 1.0);
    assert_eq!(bed.scheduler.count(), 0);
    bed.work(2.0);
    let (key, again) = bed.set("ns", "a", 1);
    assert_eq!(bed.scrapes(3.0), [(key.clone(), again[0])]);
    bed.finish(&key, again[0], true, 3.0);
    bed.work(3.0);
    assert_eq!(bed.scrapes(15.0).len(), 1, "one round, not two");
    assert!(bed.scheduler.targets_of(&key).eq(again));
}

#[test]
fn many_inference_sets_share_few_moments_and_keep_them_through_a_stall() {
    let mut bed = Bed::new();
    for number in 0..1000_u32 {
        let (key, now) = (SetKey::new("ns", &number.to_string()), bed.at(f64::from(number) * 0.0007));
        bed.scheduler.add_set(&key, f64::from(number % 997) / 997.0, now);
        bed.scheduler.settle(&key);
    }
    let moments_from = |bed: &mut Bed, from: f64| {
        let (mut moments, mut rounds) = (BTreeSet::new(), 0);
        bed.work(from);
        while let Some(at) = bed.scheduler.wakes().filter(|at| *at <= bed.at(from) + INTERVAL) {
            rounds += std::iter::from_fn(|| bed.scheduler.next(at)).count();
            moments.insert(at);
        }
        (moments, rounds)
    };
    let (first, rounds) = moments_from(&mut bed, 20.0);
    assert_eq!(rounds, 1000);
    assert!((100..=151).contains(&first.len()), "{}", first.len());

    let (later, rounds) = moments_from(&mut bed, 20.0 + 100.0 * INTERVAL.as_secs_f64());
    assert_eq!((later.len(), rounds), (first.len(), 1000));
    let shifted: BTreeSet<_> = first.iter().map(|at| *at + 100 * INTERVAL).collect();
    assert_eq!(later, shifted);
}
