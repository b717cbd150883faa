//! Two clocks, our own and the API server's. Nothing irreversible is decided while they disagree.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::view::Validity;

/// Clocks further apart than this disagree.
pub const LARGEST_SKEW: Duration = Duration::from_secs(300);

/// The present time, as told by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Our own wall clock.
    pub own: Timestamp,
    /// The API server's `Date`; absent when it did not say.
    pub server: Option<Timestamp>,
}

impl Clock {
    /// Both clocks say the same.
    #[must_use]
    pub fn agreed(now: Timestamp) -> Self {
        Self {
            own: now,
            server: Some(now),
        }
    }

    /// How far our clock is ahead of the API server's, if that is known.
    #[must_use]
    pub fn skew(&self) -> Option<SignedDuration> {
        self.server.map(|server| self.own.duration_since(server))
    }

    /// Whether both clocks are known and at most [`LARGEST_SKEW`] apart.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.skew().is_some_and(|skew| skew.unsigned_abs() <= LARGEST_SKEW)
    }

    /// The time to issue certificates at, in whole seconds as they hold it: the cluster's, if the clocks disagree.
    #[must_use]
    pub fn issuing(&self) -> Timestamp {
        let now = match self.server {
            Some(server) if !self.agrees() => server,
            _ => self.own,
        };
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// Whether a moment has passed by every clock known.
    #[must_use]
    pub fn passed(&self, moment: Timestamp) -> bool {
        self.own >= moment && self.server.is_none_or(|server| server >= moment)
    }

    /// Whether a certificate is outside its validity by every clock known, and why.
    #[must_use]
    pub fn invalidity(&self, validity: &Validity) -> Option<String> {
        let early = |now: Timestamp| now < validity.not_before;
        if self.passed(validity.not_after) {
            return Some(format!("expired at {}", validity.not_after));
        }
        (early(self.own) && self.server.is_none_or(early)).then(|| format!("not valid before {}", validity.not_before))
    }
}

/// `moment` plus `span`, or the end of time.
pub(super) fn later(moment: Timestamp, span: Duration) -> Timestamp {
    moment.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// `moment` minus `span`, or the beginning of time.
pub(super) fn earlier(moment: Timestamp, span: Duration) -> Timestamp {
    moment.saturating_sub(span).unwrap_or(Timestamp::MIN)
}
