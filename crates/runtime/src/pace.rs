//! When the next write may go: a bucket that refills steadily. It hands out times and sleeps for nobody.

use std::time::Duration;

use tokio::time::Instant;

/// A rate with a burst.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full, were nothing more taken.
    full_at: Instant,
}

impl Pace {
    /// One place per `interval`, and `burst` of them at once after a rest; at least one.
    #[must_use]
    pub fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst: burst.max(1),
            full_at: now,
        }
    }

    /// Takes the next place in the row and says when it is due.
    pub fn reserve(&mut self, now: Instant) -> Instant {
        let room = self.interval * (self.burst - 1);
        let due = now.max(self.full_at.checked_sub(room).unwrap_or(now));
        self.full_at = self.full_at.max(now) + self.interval;
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Pace;

    #[test]
    fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(100), 3, start);
        let due: Vec<u128> = (0..5).map(|_| (pace.reserve(start) - start).as_millis()).collect();
        assert_eq!(due, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn bucket_refills_while_nothing_is_taken() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(100), 2, start);
        for _ in 0..4 {
            pace.reserve(start);
        }
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.reserve(later), later);
        assert_eq!(pace.reserve(later), later);
        assert_eq!(pace.reserve(later), later + Duration::from_millis(100));
    }
}
