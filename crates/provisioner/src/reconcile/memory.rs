//! What is remembered of one InferenceSet between two reconciliations. All of it may be lost: nothing becomes wrong.

use std::time::Duration;

use keda_kaito_core::crd::ScaledObject;
use keda_kaito_core::plan::{Wait, Why};
use keda_kaito_runtime::requeue;
use tokio::time::Instant;

/// Repairs of the same desired state that go at once. Whoever undoes more of them in a row is another controller, such as
/// the reference during an upgrade, and a fight at the speed of watches helps nobody.
const AT_ONCE: u32 = 10;
/// KEDA makes an HPA within a second; it is asked again after this, then after twice as long, up to [`STIR_EVERY`].
const STIR_FIRST: Duration = Duration::from_secs(5);
/// After an outage KEDA's connection may wait up to 144 s before it dials the scaler again (gRPC's back-off of 120 s ± 20 %),
/// and whoever asks before that asks in vain. So it is asked this often for longer than that, and only then less and less.
const STIR_EVERY: Duration = Duration::from_secs(30);
const STIRS_AT_THAT_PACE: u32 = 6;
const STIR_LAST: Duration = Duration::from_secs(300);
/// A repair this much later than the one before is a new matter.
const IN_A_ROW: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(super) scaler_awaited_since: Option<Instant>,
    pub(super) waiting_told: Option<Wait>,
    pub(super) credentials_due: Option<Instant>,
    pub(super) unaccepted: Option<Unaccepted>,
    repairs: Option<Repairs>,
    stirs: Option<Stirs>,
}

/// A write that the API server did not take as it was: sending it again and again would change nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unaccepted {
    pub(super) desired: ScaledObject,
    pub(super) why: Why,
}

/// An object of which KEDA makes nothing, and how often it was asked to.
#[derive(Clone, Debug)]
struct Stirs {
    times: u32,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Repairs {
    desired: ScaledObject,
    times: u32,
    last: Instant,
}

impl Memory {
    /// Whether the InferenceSet waits for a scaler.
    pub(crate) fn awaits_scaler(&self) -> bool {
        self.scaler_awaited_since.is_some()
    }

    /// What holds whatever the next outcome is.
    pub(super) fn lasting(&self) -> Self {
        Self {
            unaccepted: self.unaccepted.clone(),
            repairs: self.repairs.clone(),
            stirs: self.stirs.clone(),
            ..Self::default()
        }
    }

    /// How long KEDA is given before it is asked to look again. `before` is what was known until now.
    pub(super) fn stir_in(&mut self, before: &Self, now: Instant) -> Duration {
        let stirs = before.stirs.clone().unwrap_or(Stirs { times: 0, since: now });
        let due = stirs.since + stirs.pause();
        self.stirs = Some(stirs);
        due.saturating_duration_since(now)
    }

    /// KEDA has been asked.
    pub(super) fn stirred(&mut self, now: Instant) {
        let times = self.stirs.as_ref().map_or(0, |stirs| stirs.times) + 1;
        self.stirs = Some(Stirs { times, since: now });
    }

    /// KEDA has made of the object what it should.
    pub(super) fn heeded(&mut self) {
        self.stirs = None;
    }

    /// Whether KEDA makes nothing of the object.
    pub(crate) fn is_neglected(&self) -> bool {
        self.stirs.is_some()
    }

    /// How long a repair towards `desired` has to wait.
    pub(super) fn repair_in(&self, desired: &ScaledObject, now: Instant) -> Duration {
        match &self.repairs {
            Some(repairs) if repairs.times >= AT_ONCE && repairs.desired == *desired => {
                (repairs.last + repairs.pause()).saturating_duration_since(now)
            }
            Some(_) | None => Duration::ZERO,
        }
    }

    /// A repair has been made.
    pub(super) fn repaired(&mut self, desired: &ScaledObject, now: Instant) {
        let times = match &self.repairs {
            Some(before) if before.desired == *desired && now < before.last + before.pause() + IN_A_ROW => before.times + 1,
            Some(_) | None => 1,
        };
        self.repairs = Some(Repairs {
            desired: desired.clone(),
            times,
            last: now,
        });
    }
}

impl Stirs {
    fn pause(&self) -> Duration {
        let first = STIR_FIRST.saturating_mul(1 << self.times.min(6)).min(STIR_EVERY);
        // The first three are shorter.
        let more = self.times.saturating_sub(STIRS_AT_THAT_PACE + 2).min(6);
        first.saturating_mul(1 << more).min(STIR_LAST)
    }
}

impl Repairs {
    fn pause(&self) -> Duration {
        match self.times.checked_sub(AT_ONCE) {
            Some(more) => requeue::delay(more + 1, 0.0),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keda_kaito_core::crd::ScaledObject;
    use tokio::time::Instant;

    use super::{AT_ONCE, Memory};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn fight_over_an_object_slows_down_and_a_new_wish_does_not() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let desired = ScaledObject::default();
        for _ in 0..AT_ONCE {
            assert_eq!(memory.repair_in(&desired, now), Duration::ZERO);
            memory.repaired(&desired, now);
        }
        for pause in [1, 2, 4, 8] {
            assert_eq!(memory.repair_in(&desired, now), pause * SECOND);
            now += pause * SECOND;
            assert_eq!(memory.repair_in(&desired, now), Duration::ZERO);
            memory.repaired(&desired, now);
        }
        let mut other = ScaledObject::default();
        other.spec.max_replica_count = Some(5);
        assert_eq!(memory.repair_in(&other, now), Duration::ZERO);
    }

    #[test]
    fn keda_is_given_time_and_asked_less_and_less_often() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let mut waited = Vec::new();
        for _ in 0..14 {
            let mut next = memory.lasting();
            let left = next.stir_in(&memory, now);
            now += left;
            let mut then = next.lasting();
            assert_eq!(then.stir_in(&next, now), Duration::ZERO);
            then.stirred(now);
            waited.push(left.as_secs());
            memory = then;
        }
        assert_eq!(waited, [5, 10, 20, 30, 30, 30, 30, 30, 30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn repairs_far_apart_are_no_fight() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let desired = ScaledObject::default();
        for _ in 0..3 * AT_ONCE {
            assert_eq!(memory.repair_in(&desired, now), Duration::ZERO);
            memory.repaired(&desired, now);
            now += 61 * SECOND;
        }
    }
}
