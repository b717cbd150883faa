//! A decision with the name it goes by. Deciding is `core`'s; only the name's random start is made here.

use keda_kaito_core::record::{DecisionId, DecisionRecord};
use keda_kaito_runtime::telemetry::SpanIds;

/// One decision about one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The id of the span, the Event, the exemplar and the explanation that belong to it.
    pub id: DecisionId,
    pub record: DecisionRecord,
    /// The round whose scrapes a call's decision rests on, if that one is traced. A round's own decisions are in its trace.
    pub round: Option<SpanIds>,
}

/// Where the ids of a trigger begin: two triggers, or two processes, share none but by a chance nobody lives to see.
pub fn random_id() -> DecisionId {
    let number = rand::random_range(1..=u64::MAX);
    DecisionId::new(number).unwrap_or_else(random_id)
}
