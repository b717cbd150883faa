//! The process's one clock: monotonic, with the wall clock's times placed on it once. Pure code gets `Moment`s from here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keda_kaito_core::moment::Moment;
use tokio::time::Instant;

/// Moments count from the creation of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    wall: Timestamp,
}

impl Clock {
    /// A clock that starts at `base`, which is `wall` by the wall clock.
    #[must_use]
    pub fn new(base: Instant, wall: Timestamp) -> Self {
        Self { base, wall }
    }

    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self::new(Instant::now(), Timestamp::now())
    }

    /// Where an instant is.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Moment {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let after = instant.saturating_duration_since(self.base);
        let before = self.base.saturating_duration_since(instant);
        Moment::from_millis(millis(after) - millis(before))
    }

    /// When a moment is, by the wall clock as it was at the start.
    #[must_use]
    pub fn wall(&self, moment: Moment) -> Timestamp {
        let after = SignedDuration::from_millis(moment.millis());
        self.wall.checked_add(after).unwrap_or(self.wall)
    }

    /// Where a time of the cluster's clocks is. Those may be ahead of ours: nothing has happened later than `now`.
    #[must_use]
    pub fn past(&self, wall: Timestamp, now: Moment) -> Moment {
        Moment::from_millis(wall.as_millisecond() - self.wall.as_millisecond()).min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_clocks_meet_and_none_is_in_the_future() {
        let (base, wall) = (Instant::now(), Timestamp::from_second(1_000_000).unwrap());
        let clock = Clock::new(base, wall);
        let now = clock.at(base + Duration::from_secs(60));
        assert_eq!(now, Moment::from_secs(60));
        assert_eq!(clock.at(base - Duration::from_secs(5)), Moment::from_secs(-5));
        let past = |seconds| clock.past(Timestamp::from_second(seconds).unwrap(), now);
        assert_eq!(past(999_000), Moment::from_secs(-1000));
        assert_eq!(past(1_000_030), Moment::from_secs(30));
        assert_eq!(past(1_009_999), now);
        assert_eq!(clock.wall(now), Timestamp::from_second(1_000_060).unwrap());
    }
}
