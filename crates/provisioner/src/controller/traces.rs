//! The span of one reconciliation.

use keda_kaito_runtime::telemetry::{SPANS, root};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::error::Error;
use crate::queue::Key;
use crate::reconcile::Done;

/// Begins a trace, if it is to be kept.
pub(super) fn reconcile(key: &Key) -> Span {
    root(|| {
        info_span!(
            target: SPANS, parent: None, "reconcile",
            otel.status_code = Empty,
            k8s.namespace.name = key.namespace,
            kaito.inference_set.name = key.name,
            outcome = Empty,
            "error.type" = Empty,
        )
    })
}

/// Says in the current span how it ended.
pub(super) fn reconciled(result: &Result<Done, Error>) {
    let span = Span::current();
    if span.is_none() {
        return;
    }
    match result {
        Ok(done) => span.record("outcome", done.outcome.as_str()),
        Err(error) => span
            .record("error.type", error.category())
            .record("otel.status_code", "ERROR"),
    };
}
