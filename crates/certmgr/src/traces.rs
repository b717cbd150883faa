//! The spans of a turn and of the writes in it. No attribute holds anything of what is written.

use keda_kaito_core::credentials::{Plan, Step};
use keda_kaito_core::names;
use keda_kaito_runtime::telemetry::{SPANS, child, root};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::error::Error;
use crate::events;
use crate::write::Outcome;

/// Begins the trace of a turn, if it is to be kept.
pub(crate) fn reconcile() -> Span {
    root(|| {
        info_span!(
            target: SPANS, parent: None, "reconcile",
            otel.status_code = Empty,
            phase = Empty,
            "error.type" = Empty,
        )
    })
}

/// Says how a turn ended.
pub(crate) fn reconciled(span: &Span, turn: &Result<Plan, Error>) {
    match turn {
        Ok(plan) => span.record("phase", plan.phase.name()),
        Err(error) => span
            .record("error.type", error.category())
            .record("otel.status_code", "ERROR"),
    };
}

/// Begins the span of one write, below that of the turn.
pub(crate) fn rotate(step: &Step, working_namespace: &str) -> Span {
    child(&Span::current(), |turn| {
        let object = events::object(step);
        let namespace = (object != names::TRIGGER_AUTHENTICATION).then_some(working_namespace);
        info_span!(
            target: SPANS, parent: turn, "rotate",
            otel.status_code = Empty,
            k8s.namespace.name = namespace,
            k8s.object.name = object,
            k8s.object.kind = if namespace.is_some() { "Secret" } else { "ClusterTriggerAuthentication" },
            cause = %step.cause(),
            outcome = Empty,
            "error.type" = Empty,
        )
    })
}

/// Says how a write ended.
pub(crate) fn rotated(span: &Span, result: &Result<Outcome, Error>) {
    match result {
        Ok(Outcome::Written) => span.record("outcome", "written"),
        Ok(Outcome::Lost) => span.record("outcome", "lost"),
        Err(error) => span
            .record("error.type", error.category())
            .record("otel.status_code", "ERROR"),
    };
}
