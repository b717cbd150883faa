//! From Pods and Leases to what each replica of the scaler acknowledges.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use keda_kaito_core::credentials::{Acknowledgement, Callers, Replica};
use keda_kaito_core::names;

/// A Lease counts as expired this much after its end: its times are another machine's.
const SLACK: Duration = Duration::from_secs(30);

/// Every Running, not terminating Pod with what its Lease says, and everyone else with an unexpired Lease: outside a
/// cluster there are no Pods, and a terminating Pod that renews still serves.
pub(super) fn replicas(pods: &[Pod], leases: &[Lease], now: Timestamp) -> Vec<Replica> {
    let mut found: BTreeMap<String, Option<Acknowledgement>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_running(pod)) {
        found.insert(pod.metadata.name.clone().unwrap_or_default(), None);
    }
    for lease in leases {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let unexpired = is_unexpired(lease, now);
        if unexpired || found.contains_key(&name) {
            found.insert(name, Some(acknowledgement(lease, unexpired)));
        }
    }
    let replica = |(name, acknowledgement)| Replica { name, acknowledgement };
    found.into_iter().map(replica).collect()
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
}

fn is_unexpired(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let (Some(renewed), Some(seconds)) = (&spec.renew_time, spec.lease_duration_seconds) else {
        return false;
    };
    let held = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + SLACK;
    held && renewed.0.saturating_add(duration).is_ok_and(|end| end > now)
}

fn acknowledgement(lease: &Lease, unexpired: bool) -> Acknowledgement {
    let since = annotation(lease, names::LEASE_CALLERS_SINCE).filter(|_| unexpired);
    Acknowledgement {
        trusted: annotation(lease, names::LEASE_TRUSTED_GENERATION),
        served: annotation(lease, names::LEASE_SERVED_GENERATION),
        retired_connections: annotation(lease, names::LEASE_RETIRED_CONNECTIONS).filter(|_| unexpired),
        callers: since.map(|since| Callers {
            since,
            lowest_epoch: annotation(lease, names::LEASE_LOWEST_CALLER_EPOCH),
            oldest_client: annotation(lease, names::LEASE_OLDEST_CLIENT),
        }),
    }
}

fn annotation<T: FromStr>(lease: &Lease, key: &str) -> Option<T> {
    lease.metadata.annotations.as_ref()?.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, ToSpan};
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::replicas;

    fn now() -> Timestamp {
        "2026-03-01T00:10:00Z".parse().unwrap()
    }

    fn pod(name: &str, phase: &str, terminating: bool) -> Pod {
        let deleted = terminating.then_some("2026-03-01T00:00:00Z");
        let pod = json!({
            "metadata": { "name": name, "deletionTimestamp": deleted }, "status": { "phase": phase },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn lease(name: &str, renewed: Timestamp) -> Lease {
        let lease = json!({
            "metadata": { "name": name, "annotations": {
                "keda-kaito-scaler.kaito.sh/trusted-generation": "7",
                "keda-kaito-scaler.kaito.sh/served-generation": "seven",
                "keda-kaito-scaler.kaito.sh/callers-known-since": "2026-03-01T00:00:00Z",
                "keda-kaito-scaler.kaito.sh/lowest-caller-epoch": "3",
            } },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": 15, "renewTime": format!("{renewed:.6}") },
        });
        serde_json::from_value(lease).unwrap()
    }

    #[test]
    fn running_pods_count_with_or_without_a_lease_and_leases_count_while_unexpired() {
        let pods = [
            pod("silent", "Running", false),
            pod("partitioned", "Running", false),
            pod("pending", "Pending", false),
            pod("leaving", "Running", true),
        ];
        let leases = [
            lease("partitioned", now() - 1.hour()),
            lease("outside", now() - 40.seconds()),
            lease("gone", now() - 50.seconds()),
        ];
        let found = replicas(&pods, &leases, now());
        let names: Vec<_> = found.iter().map(|replica| replica.name.as_str()).collect();
        assert_eq!(names, ["outside", "partitioned", "silent"]);
        assert_eq!(found[2].acknowledgement, None);
    }

    #[test]
    fn expired_leases_prove_generations_and_nothing_about_callers() {
        let pods = [pod("a", "Running", false)];
        let read = |renewed| {
            replicas(&pods, &[lease("a", renewed)], now())[0]
                .acknowledgement
                .clone()
                .unwrap()
        };
        let expired = read(now() - 1.hour());
        assert_eq!(expired.trusted, Some(7));
        assert_eq!(expired.served, None);
        assert_eq!(expired.callers, None);
        assert_eq!(read(now()).callers.unwrap().lowest_epoch, Some(3));
    }
}
