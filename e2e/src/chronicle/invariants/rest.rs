//! N11: where nothing changes, nothing of ours is written but Leases.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Figures, MANAGED_BY, PRODUCT, SECRETS, Seen, Violation};
use crate::chronicle::history::History;

pub(super) fn check(history: &History, figures: &mut Figures) -> Vec<Violation> {
    let mut found = Vec::new();
    for (from, to) in &history.rests {
        figures.rest += to.saturating_sub(*from);
        let mut before: BTreeMap<(&str, String), Value> = BTreeMap::new();
        for seen in &history.seen {
            let Some(state) = written(seen) else { continue };
            let key = (seen.kind, seen.full_name());
            let changed = before.insert(key, state.clone()).is_none_or(|before| before != state);
            if changed && seen.at > *from && seen.at <= *to {
                found.push(Violation {
                    invariant: "N11",
                    at: seen.at,
                    name: seen.name.clone(),
                    what: format!(
                        "the {} {} was written at rest: {}",
                        seen.kind,
                        seen.full_name(),
                        seen.text("/message")
                    ),
                });
            }
        }
    }
    found
}

/// What only we write, if this is ours.
fn written(seen: &Seen) -> Option<Value> {
    let part = |pointer: &str| seen.object.as_ref().and_then(|object| object.pointer(pointer)).cloned();
    let ours = match seen.kind {
        "Secret" => SECRETS.contains(&seen.name.as_str()),
        "ScaledObject" => seen.text(MANAGED_BY) == PRODUCT || seen.object.is_none(),
        "ClusterTriggerAuthentication" => true,
        "Event" => seen.object.is_some() && seen.text("/reportingComponent").starts_with("keda-kaito-"),
        _ => false,
    };
    let state = match seen.kind {
        "ScaledObject" => json!([
            part("/metadata/generation"),
            part("/metadata/annotations"),
            part("/metadata/labels")
        ]),
        _ => json!(part("/metadata/resourceVersion")),
    };
    ours.then_some(state)
}
