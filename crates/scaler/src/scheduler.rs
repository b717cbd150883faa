//! When to scrape what: rounds per InferenceSet, retries of targets that failed, and a share of the slots for everybody.
//! Time enters as a parameter; nothing here scrapes.

mod lanes;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::SetKey;
use crate::registry::target::TargetId;
use lanes::{Lanes, Standing};

/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause, but for the jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// At how many moments of an interval rounds begin. Whoever wakes for each InferenceSet by itself finds every cache cold.
const MOMENTS: u32 = 150;
/// Pauses vary by this much either way.
const JITTER: f64 = 0.2;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Scrape this target and say how it went with [`Scheduler::finished`].
    Scrape(SetKey, TargetId),
    /// Every target of the InferenceSet that was due has been asked.
    RoundOver(SetKey),
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    interval: Duration,
    /// When the first InferenceSet came: moments are counted from here.
    began: Option<Instant>,
    due: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    /// Orders events of one instant.
    sequence: u64,
    sets: HashMap<SetKey, Round>,
    targets: HashMap<TargetId, Slot>,
    lanes: Lanes,
    over: Vec<SetKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// With the number of the round's InferenceSet: one that was removed and came back has rounds of its own.
    Round(SetKey, u64),
    Retry(TargetId),
}

#[derive(Debug)]
struct Round {
    number: u64,
    targets: BTreeSet<TargetId>,
    /// Asked for in this round and not yet answered.
    outstanding: usize,
    open: bool,
}

#[derive(Debug)]
struct Slot {
    set: SetKey,
    state: State,
    in_round: bool,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    InFlight,
}

impl Scheduler {
    /// Nothing is scheduled yet.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            began: None,
            due: BinaryHeap::new(),
            sequence: 0,
            sets: HashMap::new(),
            targets: HashMap::new(),
            lanes: Lanes::default(),
            over: Vec::new(),
        }
    }

    /// Adds an InferenceSet; its first round begins with its targets, see [`Self::settle`]. `phase` (0 to 1) spreads the later ones over the interval.
    pub fn add_set(&mut self, key: &SetKey, phase: f64, now: Instant) {
        if self.sets.contains_key(key) {
            return;
        }
        self.sequence += 1;
        let number = self.sequence;
        let round = Round {
            number,
            targets: BTreeSet::new(),
            outstanding: 0,
            open: true,
        };
        self.sets.insert(key.clone(), round);
        let began = *self.began.get_or_insert(now);
        let at = now + self.interval.mul_f64(phase.clamp(0.05, 1.0));
        let at = at - past(self.interval / MOMENTS, began, at);
        self.push(at, Event::Round(key.clone(), number));
    }

    /// All targets of the moment are added: a first round that asks nobody is over.
    pub fn settle(&mut self, key: &SetKey) {
        self.close(key);
    }

    /// Removes an InferenceSet with its targets.
    pub fn remove_set(&mut self, key: &SetKey) {
        if let Some(round) = self.sets.remove(key) {
            for id in round.targets {
                self.drop_target(id);
            }
        }
    }

    /// Adds a target; it is asked at once.
    pub fn add_target(&mut self, key: &SetKey, id: TargetId) {
        let Some(round) = self.sets.get_mut(key) else { return };
        if !round.targets.insert(id) {
            return;
        }
        let slot = Slot {
            set: key.clone(),
            state: State::Idle,
            in_round: false,
            failures: 0,
            not_before: None,
        };
        self.targets.insert(id, slot);
        self.ask(id);
    }

    /// Removes a target. What is under way for it goes on, and nobody waits for it.
    pub fn remove_target(&mut self, key: &SetKey, id: TargetId) {
        if self.sets.get_mut(key).is_some_and(|round| round.targets.remove(&id)) {
            self.drop_target(id);
            self.close(key);
        }
    }

    /// Targets of an InferenceSet.
    pub fn targets_of(&self, key: &SetKey) -> impl Iterator<Item = TargetId> {
        self.sets.get(key).into_iter().flat_map(|round| round.targets.iter().copied())
    }

    /// How many targets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.targets.len()
    }

    /// The next thing to do; call it until there is none.
    pub fn next(&mut self, now: Instant) -> Option<Work> {
        while let Some(Reverse((at, _, _))) = self.due.peek()
            && *at <= now
        {
            if let Some(Reverse((at, _, event))) = self.due.pop() {
                self.happen(event, at, now);
            }
        }
        if let Some(key) = self.over.pop() {
            return Some(Work::RoundOver(key));
        }
        let targets = &self.targets;
        let (key, id) = self
            .lanes
            .take(|id| targets.get(&id).is_some_and(|slot| slot.state == State::Queued))?;
        if let Some(slot) = self.targets.get_mut(&id) {
            slot.state = State::InFlight;
        }
        Some(Work::Scrape(key, id))
    }

    /// A scrape of `id`, a target of `key`, is over.
    pub fn finished(&mut self, key: &SetKey, id: TargetId, succeeded: bool, jitter: f64, now: Instant) {
        self.lanes.release(key, id);
        let Some(slot) = self.targets.get_mut(&id) else { return };
        slot.state = State::Idle;
        let in_round = std::mem::take(&mut slot.in_round);
        if succeeded {
            slot.failures = 0;
            slot.not_before = None;
        } else {
            slot.failures = slot.failures.saturating_add(1);
            let at = now + pause(slot.failures, jitter);
            slot.not_before = Some(at);
            self.push(at, Event::Retry(id));
        }
        if in_round && let Some(round) = self.sets.get_mut(key) {
            round.outstanding = round.outstanding.saturating_sub(1);
        }
        self.close(key);
    }

    /// When [`Self::next`] may have something that no finished scrape announces.
    #[must_use]
    pub fn wakes(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _, _))| *at)
    }

    /// `event` was due `at` a time that has come.
    fn happen(&mut self, event: Event, at: Instant, now: Instant) {
        match event {
            Event::Round(key, number) => {
                if self.sets.get(&key).is_some_and(|round| round.number == number) {
                    self.begin(&key, number, at, now);
                }
            }
            Event::Retry(id) => {
                if self
                    .targets
                    .get(&id)
                    .is_some_and(|slot| slot.not_before.is_some_and(|at| at <= now))
                {
                    self.ask(id);
                }
            }
        }
    }

    fn begin(&mut self, key: &SetKey, number: u64, at: Instant, now: Instant) {
        let Some(round) = self.sets.get_mut(key) else { return };
        if std::mem::replace(&mut round.open, true) {
            // The last round never finished. What is known by now has to do.
            self.over.push(key.clone());
        }
        // Targets still under way answer for this round too.
        let under_way = |id: &&TargetId| self.targets.get(id).is_some_and(|slot| slot.in_round);
        round.outstanding = round.targets.iter().filter(under_way).count();
        let ids: Vec<_> = round.targets.iter().copied().collect();
        // After a stall everybody keeps their moments.
        let next = now - past(self.interval, at, now) + self.interval;
        self.push(next, Event::Round(key.clone(), number));
        for id in ids {
            let rests = self
                .targets
                .get(&id)
                .is_some_and(|slot| slot.not_before.is_some_and(|at| at > now));
            if !rests {
                self.ask(id);
            }
        }
        self.close(key);
    }

    fn ask(&mut self, id: TargetId) {
        let Some(slot) = self.targets.get_mut(&id) else { return };
        if let Some(round) = self.sets.get_mut(&slot.set).filter(|round| round.open && !slot.in_round) {
            slot.in_round = true;
            round.outstanding += 1;
        }
        if slot.state == State::Idle {
            slot.state = State::Queued;
            self.lanes.queue(&slot.set, id, Standing::after(slot.failures));
        }
    }

    fn close(&mut self, key: &SetKey) {
        if let Some(round) = self.sets.get_mut(key)
            && round.open
            && round.outstanding == 0
        {
            round.open = false;
            self.over.push(key.clone());
        }
    }

    fn drop_target(&mut self, id: TargetId) {
        let Some(slot) = self.targets.remove(&id) else { return };
        if slot.in_round
            && let Some(round) = self.sets.get_mut(&slot.set)
        {
            round.outstanding = round.outstanding.saturating_sub(1);
        }
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.due.push(Reverse((at, self.sequence, event)));
    }
}

/// How much of a step has passed at `now`, when steps follow each other since `from`.
fn past(step: Duration, from: Instant, now: Instant) -> Duration {
    let past = now.saturating_duration_since(from).as_nanos() % step.as_nanos().max(1);
    u64::try_from(past).map_or(Duration::ZERO, Duration::from_nanos)
}

/// 5 s doubling to 60 s; `jitter` from −1 to 1 picks a place within ± 20 %.
fn pause(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let base = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    base.mul_f64(JITTER.mul_add(jitter.clamp(-1.0, 1.0), 1.0))
}
