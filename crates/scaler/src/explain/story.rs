//! From what the registry remembers to what is told. Times become the wall clock's here.

use jiff::Timestamp;
use keda_kaito_core::explain::{Call, Explanation, Line, Overview, Threshold, TriggerStory};
use keda_kaito_core::journal::Entry;
use keda_kaito_core::moment::Moment;
use keda_kaito_core::record::decide;
use keda_kaito_core::trigger::Aggregation;
use tokio::time::Instant;

use crate::registry::set::{SetState, TriggerState};
use crate::registry::story::Story;
use crate::registry::{Registry, SetKey, lock};

/// Most replicas told of the present decision; a namespace has no more by default.
const MAX_REPLICAS: usize = 500;

/// Everything known of one InferenceSet; `None` when nobody scales it.
pub(super) fn explanation(registry: &Registry, key: &SetKey, told_by: &str) -> Option<Explanation> {
    let state = registry.get(key)?;
    let state = lock(&state);
    let now = registry.clock().at(Instant::now());
    let stories = state.triggers.iter().zip(&state.stories);
    let object = state.object.as_ref();
    Some(Explanation {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        at: registry.clock().wall(now),
        told_by: told_by.to_owned(),
        spec_replicas: object.map(|object| object.spec_replicas),
        status_replicas: object.map(|object| object.status_replicas),
        triggers: stories
            .map(|(trigger, story)| trigger_story(registry, &state, trigger, story, now))
            .collect(),
    })
}

/// The first `limit` InferenceSets after `after`.
pub(super) fn overview(registry: &Registry, after: Option<&SetKey>, limit: usize, told_by: &str) -> Overview {
    let mut all = registry.all();
    all.retain(|(key, _)| after.is_none_or(|after| key > after));
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let more = all.len().saturating_sub(limit);
    let lines = all
        .into_iter()
        .take(limit)
        .map(|(key, state)| line(registry, &key, &lock(&state)));
    Overview {
        inference_sets: lines.collect(),
        at: registry.clock().wall(registry.clock().at(Instant::now())),
        told_by: told_by.to_owned(),
        more,
    }
}

fn line(registry: &Registry, key: &SetKey, state: &SetState) -> Line {
    let now = registry.clock().at(Instant::now());
    let latest = state.stories.iter().filter_map(|story| story.journal.entries().next_back());
    // What was decided before that says nothing of the present.
    let speaker = latest
        .filter(|entry| now.since(entry.until) <= registry.timing().fresh_for())
        .max_by_key(|entry| entry.latest_desired());
    let moves = state.stories.iter().flat_map(|story| story.journal.entries());
    let moved = moves.flat_map(|entry| &entry.moves).map(|step| step.at).max();
    let object = state.object.as_ref();
    Line {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        spec_replicas: object.map(|object| object.spec_replicas),
        status_replicas: object.map(|object| object.status_replicas),
        desired: speaker.and_then(Entry::latest_desired),
        lean: speaker.map(|entry| entry.lean),
        reason: speaker.map(|entry| entry.reason.to_string()),
        id: speaker.map(|entry| entry.id),
        moved: moved.map(|at| registry.clock().wall(at)),
    }
}

fn trigger_story(registry: &Registry, state: &SetState, trigger: &TriggerState, story: &Story, now: Moment) -> TriggerStory {
    let wall = |moment: Moment| -> Timestamp { registry.clock().wall(moment) };
    let facts = &trigger.facts;
    let aggregation = &facts.request.aggregation;
    let current = state.input(trigger, registry.timing(), now).map(|input| {
        let record = decide(&input);
        Entry::new(story.journal.latest(), &input, &record, MAX_REPLICAS).told(wall)
    });
    TriggerStory {
        scaled_object: facts.scaled_object.clone(),
        aggregation: word(aggregation).to_owned(),
        metric: aggregation.metric_name().to_owned(),
        target: aggregation.target(),
        thresholds: Threshold::of(aggregation),
        min_replicas: facts.min_replicas,
        max_replicas: facts.max_replicas,
        up_window_seconds: facts.up_window.as_secs(),
        down_window_seconds: facts.down_window.as_secs(),
        last_call: story.last_call.as_ref().map(|call| Call {
            at: wall(call.at),
            answer: call.answer.clone(),
            id: call.id,
            calls: call.calls,
        }),
        current,
        decisions: story.journal.entries().rev().map(|entry| entry.told(wall)).collect(),
        timeline: story.journal.points().map(|point| point.told(wall)).collect(),
    }
}

/// As it is written in a trigger.
fn word(aggregation: &Aggregation) -> &'static str {
    match aggregation {
        Aggregation::Sum { .. } => "sum",
        Aggregation::ServiceAvg { .. } => "service-avg",
        Aggregation::WindowedAvg { .. } => "windowed-avg",
        Aggregation::Gate { .. } => "gate",
        Aggregation::DesiredReplicas(_) => "desired-replicas",
    }
}
