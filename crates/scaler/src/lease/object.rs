//! The Lease as an object: built from a report, and read when it is another replica's. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use keda_kaito_core::names;
use kube::core::ObjectMeta;

/// Four renewals may fail.
const DURATION_SECONDS: i32 = 40;

/// Whose Lease it is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The Pod's name, else the identity outside a cluster.
    pub name: String,
    pub namespace: String,
    /// The Pod's UID; without it nothing owns the Lease.
    pub pod_uid: Option<String>,
}

/// What it says.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// `false`: this replica is gone.
    pub(super) held: bool,
    pub(super) serving: bool,
    pub(super) generation: Option<u64>,
    pub(super) lowest_epoch: Option<u64>,
    pub(super) oldest_client: Option<Timestamp>,
    pub(super) callers_since: Timestamp,
    /// Open connections whose client certificate is trusted no more.
    pub(super) retired_connections: usize,
    pub(super) fresh_targets: usize,
    pub(super) now: Timestamp,
}

impl Report {
    /// What changes when callers do.
    pub(super) fn callers(&self) -> (Option<u64>, Option<Timestamp>, usize) {
        (self.lowest_epoch, self.oldest_client, self.retired_connections)
    }
}

/// The Lease to write over `known`, which lends it its resourceVersion.
pub(super) fn lease(owner: &Owner, known: Option<&Lease>, report: &Report) -> Lease {
    let said = |value: &dyn ToString| Some(value.to_string());
    let annotations = [
        (names::LEASE_SERVING, said(&report.serving)),
        (
            names::LEASE_TRUSTED_GENERATION,
            report.generation.as_ref().and_then(|value| said(value)),
        ),
        (
            names::LEASE_SERVED_GENERATION,
            report.generation.as_ref().and_then(|value| said(value)),
        ),
        (
            names::LEASE_LOWEST_CALLER_EPOCH,
            report.lowest_epoch.as_ref().and_then(|value| said(value)),
        ),
        (
            names::LEASE_OLDEST_CLIENT,
            report.oldest_client.as_ref().and_then(|value| said(value)),
        ),
        (names::LEASE_CALLERS_SINCE, said(&report.callers_since)),
        (names::LEASE_RETIRED_CONNECTIONS, said(&report.retired_connections)),
        (names::LEASE_FRESH_TARGETS, said(&report.fresh_targets)),
    ];
    let annotations: BTreeMap<_, _> = annotations
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
    let labels = [
        (names::NAME_LABEL, names::APP_NAME),
        (names::COMPONENT_LABEL, names::SCALER_LEASE_COMPONENT),
    ];
    let acquired = known.and_then(|known| known.spec.as_ref()?.acquire_time.clone());
    Lease {
        metadata: ObjectMeta {
            name: Some(owner.name.clone()),
            namespace: Some(owner.namespace.clone()),
            resource_version: known.and_then(|known| known.metadata.resource_version.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some(annotations),
            owner_references: owner.pod_uid.as_ref().map(|uid| {
                vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Pod".to_owned(),
                    name: owner.name.clone(),
                    uid: uid.clone(),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            // An empty holder is what a released Lease has.
            holder_identity: Some(if report.held { owner.name.clone() } else { String::new() }),
            lease_duration_seconds: Some(DURATION_SECONDS),
            acquire_time: acquired.or(Some(MicroTime(report.now))),
            renew_time: Some(MicroTime(report.now)),
            ..LeaseSpec::default()
        }),
    }
}

/// The most fresh targets any other replica with an unexpired Lease reports.
pub(super) fn fresh_targets_elsewhere(leases: &[Lease], own: &str, now: Timestamp) -> usize {
    let others = leases.iter().filter(|lease| lease.metadata.name.as_deref() != Some(own));
    let seen = others.filter(|lease| is_current(lease, now)).filter_map(|lease| {
        let annotations = lease.metadata.annotations.as_ref()?;
        annotations.get(names::LEASE_FRESH_TARGETS)?.parse().ok()
    });
    seen.max().unwrap_or(0)
}

fn is_current(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let held = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(DURATION_SECONDS)));
    let renewed = spec.renew_time.as_ref().and_then(|time| time.0.checked_add(lasts).ok());
    held && renewed.is_some_and(|until| until > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner {
            name: name.to_owned(),
            namespace: "keda".to_owned(),
            pod_uid: Some("uid-1".to_owned()),
        }
    }

    fn report(now: Timestamp) -> Report {
        Report {
            held: true,
            serving: true,
            generation: Some(7),
            lowest_epoch: None,
            oldest_client: Timestamp::from_second(50).ok(),
            callers_since: Timestamp::UNIX_EPOCH,
            retired_connections: 0,
            fresh_targets: 3,
            now,
        }
    }

    #[test]
    fn lease_says_what_is_known_and_leaves_out_what_is_not() {
        let now = Timestamp::from_second(1000).unwrap();
        let made = lease(&owner("scaler-0"), None, &report(now));
        let annotations = made.metadata.annotations.clone().unwrap();
        assert_eq!(annotations[names::LEASE_SERVING], "true");
        assert_eq!(annotations[names::LEASE_TRUSTED_GENERATION], "7");
        assert_eq!(annotations[names::LEASE_OLDEST_CLIENT], "1970-01-01T00:00:50Z");
        assert!(!annotations.contains_key(names::LEASE_LOWEST_CALLER_EPOCH));
        assert_eq!(made.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-1");

        let mut stored = made;
        stored.metadata.resource_version = Some("42".to_owned());
        let later = Timestamp::from_second(1010).unwrap();
        let renewed = lease(&owner("scaler-0"), Some(&stored), &report(later));
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("42"));
        let spec = renewed.spec.unwrap();
        assert_eq!(spec.acquire_time, Some(MicroTime(now)));
        assert_eq!(spec.renew_time, Some(MicroTime(later)));
    }

    #[test]
    fn only_other_replicas_that_are_there_count_as_seeing() {
        let now = Timestamp::from_second(1000).unwrap();
        let seeing = |name: &str, at: i64, held: bool, fresh_targets: usize| {
            let said = Report {
                held,
                fresh_targets,
                ..report(Timestamp::from_second(at).unwrap())
            };
            lease(&owner(name), None, &said)
        };
        let leases = [
            seeing("own", 1000, true, 9),
            seeing("expired", 900, true, 8),
            seeing("released", 1000, false, 7),
            seeing("other", 990, true, 2),
        ];
        assert_eq!(fresh_targets_elsewhere(&leases, "own", now), 2);
        assert_eq!(fresh_targets_elsewhere(&leases[..3], "own", now), 0);
    }
}
