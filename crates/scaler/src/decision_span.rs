//! The span of a decision: what was decided, and why, in a round's trace or a call's. It goes by the decision's own id.
//! A call's is linked to the round whose scrapes it rests on.

use keda_kaito_core::record::Answer;
use keda_kaito_runtime::telemetry::{SPANS, SpanIds, child_numbered, ids, link};
use tracing::{Span, info_span};

use crate::registry::decided::Decided;

/// Notes a decision about an InferenceSet below `parent`, if that is traced; returns the names of its span then.
pub(crate) fn note(parent: &Span, namespace: &str, inference_set: &str, decided: &Decided) -> Option<SpanIds> {
    let Decided { id, record, round } = decided;
    let span = child_numbered(parent, id.get(), |parent| {
        let (value, unavailable) = match &record.answer {
            Answer::Value(value) => (Some(*value), None),
            Answer::Unavailable(why) => (None, Some(why.as_str())),
        };
        info_span!(
            target: SPANS, parent: parent, "decide",
            k8s.namespace.name = namespace,
            kaito.inference_set.name = inference_set,
            decision.id = %id,
            decision.value = value,
            decision.unavailable = unavailable,
            decision.replicas = record.desired,
            decision.reason = record.reason,
            decision.clamps = ?record.clamps,
        )
    });
    if let Some(round) = round {
        link(&span, *round);
    }
    ids(&span)
}
