//! Whether a scaler replica serves, by the Leases that scaler replicas keep.
//! Another machine's clock is trusted once, at first sight; from then on a Lease counts from when it was seen to change.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use keda_kaito_core::names;
use keda_kaito_runtime::watch::Change;
use tokio::time::Instant;

/// A Lease without a duration counts this long.
const USUAL_DURATION: Duration = Duration::from_secs(15);
/// No Lease counts longer.
const LONGEST_DURATION: Duration = Duration::from_secs(120);

/// The scaler replicas that have been seen.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    replicas: HashMap<String, Replica>,
}

#[derive(Debug)]
struct Replica {
    version: Option<String>,
    serves: bool,
    until: Instant,
}

impl Serving {
    /// A Lease was seen at `now`, which is `wall` on our own clock.
    pub(crate) fn observe(&mut self, change: &Change<Lease>, now: Instant, wall: Timestamp) {
        let lease = change.object();
        let name = lease.metadata.name.clone().unwrap_or_default();
        if matches!(change, Change::Deleted(_)) {
            self.replicas.remove(&name);
            return;
        }
        let version = lease.metadata.resource_version.clone();
        let until = match self.replicas.get(&name) {
            Some(known) if known.version == version => known.until,
            Some(_) => now + duration(lease),
            None => now + left_at_first_sight(lease, wall),
        };
        let annotations = lease.metadata.annotations.as_ref();
        let serves = annotations
            .and_then(|annotations| annotations.get(names::LEASE_SERVING))
            .is_some_and(|value| value == "true");
        self.replicas.insert(name, Replica { version, serves, until });
    }

    /// How many replicas serve.
    pub(crate) fn count(&self, now: Instant) -> usize {
        self.replicas
            .values()
            .filter(|replica| replica.serves && replica.until > now)
            .count()
    }

    /// When the next of those that serve ends, unless it is renewed.
    pub(crate) fn next_end(&self, now: Instant) -> Option<Instant> {
        let serving = self.replicas.values().filter(|replica| replica.serves && replica.until > now);
        serving.map(|replica| replica.until).min()
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(USUAL_DURATION, Duration::from_secs).min(LONGEST_DURATION)
}

fn left_at_first_sight(lease: &Lease, wall: Timestamp) -> Duration {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let Some(renewed) = renewed else { return Duration::ZERO };
    let age = Duration::try_from(wall.duration_since(renewed.0)).unwrap_or_default();
    duration(lease).saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use k8s_openapi::api::coordination::v1::Lease;
    use keda_kaito_runtime::watch::Change;
    use serde_json::json;
    use tokio::time::Instant;

    use super::Serving;

    fn lease(version: &str, renewed: &str, serving: &str) -> Arc<Lease> {
        let lease = json!({
            "metadata": {
                "name": "scaler-0", "resourceVersion": version,
                "annotations": { "keda-kaito-scaler.kaito.sh/serving": serving },
            },
            "spec": { "renewTime": renewed, "leaseDurationSeconds": 15 },
        });
        Arc::new(serde_json::from_value(lease).unwrap())
    }

    const RENEWED: &str = "2026-11-22T12:00:00.000000Z";

    fn wall(seconds: i64) -> Timestamp {
        let renewed: Timestamp = RENEWED.parse().unwrap();
        renewed + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn lease_counts_until_it_expires() {
        let (mut serving, start) = (Serving::default(), Instant::now());
        serving.observe(&Change::Applied(lease("1", RENEWED, "true")), start, wall(5));
        assert_eq!(serving.count(start + Duration::from_secs(9)), 1);
        assert_eq!(serving.count(start + Duration::from_secs(10)), 0);
    }

    #[test]
    fn renewal_counts_from_when_it_was_seen_whatever_the_other_clock_says() {
        let (mut serving, start) = (Serving::default(), Instant::now());
        serving.observe(&Change::Applied(lease("1", RENEWED, "true")), start, wall(3600));
        assert_eq!(serving.count(start), 0);
        serving.observe(&Change::Applied(lease("2", RENEWED, "true")), start, wall(3600));
        assert_eq!(serving.count(start + Duration::from_secs(14)), 1);
        // Listed again unchanged: no renewal.
        serving.observe(
            &Change::Applied(lease("2", RENEWED, "true")),
            start + Duration::from_secs(14),
            wall(3614),
        );
        assert_eq!(serving.count(start + Duration::from_secs(15)), 0);
    }

    #[test]
    fn replica_that_does_not_serve_or_is_gone_does_not_count() {
        let (mut serving, now) = (Serving::default(), Instant::now());
        serving.observe(&Change::Applied(lease("1", RENEWED, "false")), now, wall(0));
        assert_eq!(serving.count(now), 0);
        serving.observe(&Change::Applied(lease("2", RENEWED, "true")), now, wall(0));
        assert_eq!(serving.count(now), 1);
        serving.observe(&Change::Deleted(lease("2", RENEWED, "true")), now, wall(0));
        assert_eq!(serving.count(now), 0);
    }
}
