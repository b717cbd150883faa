//! What to do about a Lease, from what was seen of it. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

/// What this process has seen of the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The record as last read; absent when the Lease does not exist.
    pub record: Option<&'a LeaseSpec>,
    /// When this process first saw the record as it is. The record's own times are another machine's clock.
    pub unchanged_since: Instant,
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody holds the Lease any more: try to take it.
    Acquire,
    /// We hold it: renew.
    Renew,
    /// Somebody holds it for at least this long.
    Wait(Duration),
}

/// Decides as the candidate `holder`; `duration` stands in where a record does not state its own.
#[must_use]
pub fn decide(observation: Observation<'_>, holder: &str, duration: Duration, now: Instant) -> Decision {
    let Some(record) = observation.record else {
        return Decision::Acquire;
    };
    match record.holder_identity.as_deref() {
        None | Some("") => return Decision::Acquire,
        Some(current) if current == holder => return Decision::Renew,
        Some(_) => {}
    }
    let stated = record
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(duration, Duration::from_secs);
    let unchanged = now.saturating_duration_since(observation.unchanged_since);
    match stated.checked_sub(unchanged) {
        Some(left) if !left.is_zero() => Decision::Wait(left),
        _ => Decision::Acquire,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use tokio::time::Instant;

    use super::{Decision, Observation, decide};

    fn record(holder: &str, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: (!holder.is_empty()).then(|| holder.to_owned()),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn lease_is_taken_only_when_nobody_can_still_hold_it() {
        let wait = |seconds| Decision::Wait(Duration::from_secs(seconds));
        let cases = [
            ("no lease", None, 0, Decision::Acquire),
            ("released", Some(record("", Some(1))), 0, Decision::Acquire),
            ("ours", Some(record("me", Some(15))), 0, Decision::Renew),
            ("ours and old", Some(record("me", Some(15))), 99, Decision::Renew),
            ("just seen", Some(record("other", Some(15))), 0, wait(15)),
            ("not long enough unchanged", Some(record("other", Some(15))), 14, wait(1)),
            (
                "unchanged for its duration",
                Some(record("other", Some(15))),
                15,
                Decision::Acquire,
            ),
            (
                "states a longer duration than ours",
                Some(record("other", Some(60))),
                15,
                wait(45),
            ),
            ("states no duration", Some(record("other", None)), 10, wait(5)),
            ("states a senseless duration", Some(record("other", Some(-3))), 10, wait(5)),
            ("identity that starts like ours", Some(record("me2", Some(15))), 0, wait(15)),
        ];
        let start = Instant::now();
        for (name, record, after, expected) in cases {
            let observation = Observation {
                record: record.as_ref(),
                unchanged_since: start,
            };
            let now = start + Duration::from_secs(after);
            assert_eq!(decide(observation, "me", Duration::from_secs(15), now), expected, "{name}");
        }
    }
}
