//! What became of spans that were to be sent.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::SharedRegistry;

/// Counts spans; clones share the numbers.
#[derive(Clone, Debug)]
pub(super) struct Outcomes {
    /// The collector has them.
    pub(super) sent: Counter,
    /// Too many were waiting already.
    pub(super) queue_full: Counter,
    /// The collector was not reached, not in time, or refused them.
    pub(super) failed: Counter,
}

impl Outcomes {
    /// Registers the family, with every outcome at 0; once per process.
    pub(super) fn register(registry: &SharedRegistry) -> Self {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let help = "Spans by whether they were sent to the collector or dropped, and why";
        registry.register(|registry| registry.register("spans", help, family.clone()));
        let counter = |outcome| family.get_or_create_owned(&[("outcome", outcome)]);
        Self {
            sent: counter("sent"),
            queue_full: counter("queue_full"),
            failed: counter("failed"),
        }
    }
}
