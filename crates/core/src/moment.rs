//! Points in time on one arbitrary monotonic clock, and how times are written in JSON (seconds).
//! Nothing here reads a clock; who measures chooses the epoch.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A point in time, in milliseconds since an epoch of the caller's choice; may lie before it. JSON: seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// Milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Beyond this many seconds a number in JSON is no time (about 30,000 years).
const MOST_SECONDS: f64 = 1e12;

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(clippy::cast_precision_loss, reason = "exact within MOST_SECONDS")]
        let millis = self.0 as f64;
        serializer.serialize_f64(millis / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !seconds.is_finite() || seconds.abs() > MOST_SECONDS {
            return Err(D::Error::custom(format!("{seconds} is no time in seconds")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        Ok(Self((seconds * 1000.0).round() as i64))
    }
}

/// Durations as seconds, fractions allowed, for `#[serde(with)]`.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds > super::MOST_SECONDS {
            return Err(D::Error::custom(format!("{seconds} seconds are too many")));
        }
        Duration::try_from_secs_f64(seconds).map_err(|error| D::Error::custom(format!("{seconds} seconds: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_in_json() {
        let moment: Moment = serde_json::from_str("-12.345").unwrap();
        assert_eq!(moment, Moment::from_millis(-12_345));
        assert_eq!(serde_json::to_string(&moment).unwrap(), "-12.345");
        for bad in ["1e300", "\"now\"", "null"] {
            assert!(serde_json::from_str::<Moment>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_since_a_later_moment() {
        let (early, late) = (Moment::from_secs(5), Moment::from_secs(8));
        assert_eq!(late.since(early), Duration::from_secs(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.plus(Duration::from_secs(3)), late);
        assert_eq!(late.minus(Duration::from_secs(3)), early);
    }
}
