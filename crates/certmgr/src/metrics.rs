//! What certmgr measures. Every label comes from a closed list, but for the replicas waited for.

use std::time::Duration;

use keda_kaito_core::credentials::{Acknowledgements, Objects, Phase, Plan, Wait};
use keda_kaito_runtime::metrics::{Known, SharedRegistry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use crate::waiting::what;

type Label = [(&'static str, &'static str); 1];

/// Handles of the program's metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    phase: Family<Label, Gauge>,
    expiry: Family<Label, Gauge>,
    missing: Known,
    waits: Family<Label, Gauge>,
    waited_for: Family<[(&'static str, String); 2], Gauge>,
    replicas: Known,
    skew: Known,
    repairs: Family<Label, Counter>,
    writes: Family<[(&'static str, &'static str); 2], Counter>,
    turns: Family<Label, Counter>,
    duration: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &SharedRegistry) -> Self {
        let metrics = Self::unregistered();
        registry.register(|registry| {
            let Self {
                phase,
                expiry,
                missing,
                waits,
                waited_for,
                replicas,
                skew,
                repairs,
                writes,
                turns,
                duration,
            } = metrics.clone();
            registry.register("phase", "1 for the phase the credentials are in, 0 for every other", phase);
            registry.register_with_unit(
                "certificate_expiry_timestamp",
                "When a certificate ends, as a Unix time",
                Unit::Seconds,
                expiry,
            );
            registry.register(
                "acknowledgements_missing",
                "Scaler replicas that the next phase waits for; absent while they cannot be listed",
                missing,
            );
            registry.register(
                "waits",
                "1 for each thing that the next phase waits for, whoever lacks it",
                waits,
            );
            registry.register(
                "replica_waited_for",
                "1 for each scaler replica the next phase waits for, by what it lacks",
                waited_for,
            );
            registry.register(
                "scaler_replicas",
                "Scaler replicas whose acknowledgement counts; absent while they cannot be listed",
                replicas,
            );
            registry.register_with_unit(
                "clock_skew",
                "How far our clock is ahead of the API server's; absent while unknown",
                Unit::Seconds,
                skew,
            );
            registry.register("repairs", "Objects written because something was wrong with them", repairs);
            registry.register("writes", "Writes by object and outcome", writes);
            registry.register("reconciles", "Turns by outcome", turns);
            let help = "Time one turn takes, its calls and the making of keys included";
            registry.register_with_unit("reconcile_duration", help, Unit::Seconds, duration);
        });
        metrics
    }

    /// Handles that nobody reads.
    pub(crate) fn unregistered() -> Self {
        Self {
            phase: Family::default(),
            expiry: Family::default(),
            missing: Known::default(),
            waits: Family::default(),
            waited_for: Family::default(),
            replicas: Known::default(),
            skew: Known::default(),
            repairs: Family::default(),
            writes: Family::default(),
            turns: Family::default(),
            duration: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
        }
    }

    pub(crate) fn observe(&self, objects: &Objects, acknowledgements: &Acknowledgements, plan: &Plan) {
        for phase in Phase::ALL {
            self.phase(phase).set(i64::from(phase == plan.phase));
        }
        let authority = &objects.authority;
        let current = authority.current.iter().map(|root| root.validity.not_after).min();
        let leaf = |leaf: &Result<keda_kaito_core::credentials::Leaf, _>| leaf.as_ref().ok().map(|leaf| leaf.validity.not_after);
        for (certificate, end) in [
            ("authority", current),
            ("next_authority", authority.next.as_ref().map(|root| root.validity.not_after)),
            ("server", leaf(&objects.server.leaf)),
            ("client", leaf(&objects.client.leaf)),
        ] {
            let label = [("certificate", certificate)];
            match end {
                Some(end) => {
                    self.expiry.get_or_create(&label).set(end.as_second());
                }
                None => {
                    self.expiry.remove(&label);
                }
            }
        }
        self.waits.clear();
        self.waited_for.clear();
        let mut missing = 0;
        for wait in &plan.waits {
            self.waits.get_or_create_owned(&[("need", what(wait))]).set(1);
            if let Wait::Replica { name, .. } = wait {
                missing += 1;
                let labels = [("replica", name.clone()), ("need", what(wait).to_owned())];
                self.waited_for.get_or_create(&labels).set(1);
            }
        }
        match acknowledgements {
            Acknowledgements::Known(replicas) => {
                self.missing.count(missing);
                self.replicas.count(replicas.len());
            }
            Acknowledgements::Unknown(_) => {
                self.missing.set(None);
                self.replicas.set(None);
            }
        }
    }

    pub(crate) fn skew(&self, seconds: Option<f64>) {
        self.skew.set(seconds);
    }

    pub(crate) fn repaired(&self, object: &'static str) {
        self.repairs.get_or_create(&[("object", object)]).inc();
    }

    pub(crate) fn wrote(&self, object: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&[("object", object), ("outcome", outcome)]).inc();
    }

    pub(crate) fn turned(&self, outcome: &'static str, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.turns.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn phase(&self, phase: Phase) -> Gauge {
        self.phase.get_or_create_owned(&[("phase", phase.name())])
    }
}
