//! N1: no count goes down unless the load asks for so few, or did a moment ago.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Figures, Violation};
use crate::chronicle::history::History;

/// How long ago the load may have asked: samples, the HPA's rounds and a step under way.
const MEMORY: Duration = Duration::from_secs(60);

pub(super) fn check(history: &History, figures: &mut Figures) -> Vec<Violation> {
    let mut found = Vec::new();
    for (kind, pointer) in [
        ("InferenceSet", "/spec/replicas"),
        ("HorizontalPodAutoscaler", "/status/desiredReplicas"),
    ] {
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        for seen in history.of(kind) {
            // An HPA that has decided nothing yet shows nothing, or zero.
            let Some(count) = seen.number(pointer).filter(|count| *count > 0) else {
                last.remove(&seen.full_name());
                continue;
            };
            let Some(before) = last.insert(seen.full_name(), count) else {
                continue;
            };
            figures.counts_changed += usize::from(before != count);
            let set = seen.name.strip_prefix("keda-hpa-").unwrap_or(&seen.name);
            if count < before && !is_wanted(history, &seen.namespace, set, count, seen.at) {
                found.push(Violation {
                    invariant: "N1",
                    at: seen.at,
                    name: set.to_owned(),
                    what: format!("the {kind} goes from {before} to {count}, and the load does not ask for it"),
                });
            }
        }
    }
    found
}

fn is_wanted(history: &History, namespace: &str, name: &str, count: i64, at: Duration) -> bool {
    let said = history
        .wants
        .iter()
        .filter(|want| want.namespace == namespace && want.name == name && want.at <= at);
    let said: Vec<_> = said.collect();
    let ends = said.iter().skip(1).map(|want| want.at).chain([at]);
    said.iter()
        .zip(ends)
        .any(|(want, end)| want.replicas <= count && end + MEMORY >= at)
}
