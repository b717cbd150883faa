//! The provisioner's own metrics. An object's name is a label only where the series goes with the object.

use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::policy::complaint::{Complaint, Reason};
use keda_kaito_runtime::metrics::{Known, SharedRegistry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use crate::queue::Key;

type Complaints = Family<[(&'static str, String); 3], Gauge>;

/// Handles to every metric. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<[(&'static str, &'static str); 1], Counter>,
    duration: Histogram,
    writes: Family<[(&'static str, &'static str); 2], Counter>,
    complaints: Complaints,
    pub(crate) queued: Gauge,
    pub(crate) scaler_replicas: Known,
    credential_epoch: Known,
    pub(crate) provisioned: Known,
    unaccepted: Counter,
    said: Arc<std::sync::Mutex<std::collections::HashMap<Key, Vec<Reason>>>>,
}

impl Metrics {
    /// Registers all of them; once per process.
    #[must_use]
    pub fn register(registry: &SharedRegistry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            duration: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            writes: Family::default(),
            complaints: Complaints::default(),
            queued: Gauge::default(),
            scaler_replicas: Known::default(),
            credential_epoch: Known::default(),
            provisioned: Known::default(),
            unaccepted: Counter::default(),
            said: Arc::default(),
        };
        registry.register(|registry| {
            registry.register("reconciles", "Reconciliations by outcome", metrics.reconciles.clone());
            registry.register_with_unit(
                "reconcile_duration",
                "Time one reconciliation takes, its calls included",
                Unit::Seconds,
                metrics.duration.clone(),
            );
            registry.register(
                "writes",
                "Calls that change ScaledObjects, by what they do and how they end",
                metrics.writes.clone(),
            );
            registry.register(
                "complaints",
                "What is wrong with an InferenceSet's annotations or surroundings, by reason; absent when nothing is",
                metrics.complaints.clone(),
            );
            registry.register(
                "queued_inference_sets",
                "InferenceSets due for reconciliation, now or later",
                metrics.queued.clone(),
            );
            registry.register(
                "scaler_replicas_serving",
                "Scaler replicas whose Lease says they serve; absent before the first complete list",
                metrics.scaler_replicas.clone(),
            );
            registry.register(
                "credential_epoch",
                "The credential epoch that triggers are given; absent while unknown",
                metrics.credential_epoch.clone(),
            );
            registry.register(
                "provisioned_inference_sets",
                "InferenceSets that have a ScaledObject of ours; absent where this process does not lead",
                metrics.provisioned.clone(),
            );
            registry.register(
                "unaccepted_writes",
                "Writes after which the API server kept other values than those sent",
                metrics.unaccepted.clone(),
            );
        });
        metrics
    }

    pub(crate) fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&[("outcome", outcome)]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn wrote(&self, step: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&[("step", step), ("outcome", outcome)]).inc();
    }

    pub(crate) fn epoch_is(&self, epoch: u64) {
        #[expect(clippy::cast_precision_loss, reason = "one rotation a second reaches 2^52 in no one's life")]
        self.credential_epoch.set(Some(epoch as f64));
    }

    pub(crate) fn not_accepted(&self) {
        self.unaccepted.inc();
    }

    /// Replaces what is said of one InferenceSet.
    pub(crate) fn complain(&self, key: &Key, complaints: &[Complaint]) {
        let labels = |reason: Reason| {
            [
                ("namespace", key.namespace.clone()),
                ("name", key.name.clone()),
                ("reason", reason.as_str().to_owned()),
            ]
        };
        let mut reasons: Vec<Reason> = complaints.iter().map(|complaint| complaint.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for reason in said.remove(key).unwrap_or_default() {
            if !reasons.contains(&reason) {
                self.complaints.remove(&labels(reason));
            }
        }
        for reason in &reasons {
            let count = complaints.iter().filter(|complaint| complaint.reason == *reason).count();
            self.complaints
                .get_or_create(&labels(*reason))
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if !reasons.is_empty() {
            said.insert(key.clone(), reasons);
        }
    }
}

#[cfg(test)]
mod tests {
    use keda_kaito_core::policy::complaint::{Complaint, Reason};
    use keda_kaito_runtime::metrics::SharedRegistry;

    use super::Metrics;
    use crate::queue::Key;

    #[test]
    fn unknown_epoch_is_absent_rather_than_zero() {
        let registry = SharedRegistry::with_prefix("keda_kaito_provisioner");
        let metrics = Metrics::register(&registry);
        let series = |text: String| {
            text.lines()
                .filter(|line| line.starts_with("keda_kaito_provisioner_credential_epoch"))
                .count()
        };
        assert_eq!(series(registry.encode().unwrap()), 0);
        metrics.epoch_is(3);
        let text = registry.encode().unwrap();
        assert!(text.contains("keda_kaito_provisioner_credential_epoch 3"), "{text}");
    }

    #[test]
    fn complaints_vanish_with_their_cause() {
        let registry = SharedRegistry::with_prefix("keda_kaito_provisioner");
        let metrics = Metrics::register(&registry);
        let key = Key {
            namespace: "default".to_owned(),
            name: "phi-4".to_owned(),
        };
        let complaint = |reason| Complaint {
            reason,
            subject: "x".to_owned(),
            value: None,
            problem: "y".to_owned(),
        };
        metrics.complain(&key, &[complaint(Reason::NarrowBand), complaint(Reason::UnknownAnnotation)]);
        metrics.complain(
            &key,
            &[complaint(Reason::UnknownAnnotation), complaint(Reason::UnknownAnnotation)],
        );
        let text = registry.encode().unwrap();
        let series: Vec<&str> = text.lines().filter(|line| line.contains("_complaints{")).collect();
        let expected = r#"keda_kaito_provisioner_complaints{namespace="default",name="phi-4",reason="UnknownAnnotation"} 2"#;
        assert_eq!(series, [expected]);
        metrics.complain(&key, &[]);
        assert!(!registry.encode().unwrap().contains("_complaints{"));
    }
}
