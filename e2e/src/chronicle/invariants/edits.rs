//! N5: an edited maximum reaches its ScaledObject, at once when nothing is broken, and soon after when something was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Figures, HEALED_WITHIN, Violation, World, is_enabled, owner};
use crate::chronicle::history::History;

const MAXIMUM: &str = "/metadata/annotations/scaledobject.kaito.sh~1max-replicas";
/// Two seconds are promised; a busy machine is given more.
const AT_ONCE: Duration = Duration::from_secs(10);

pub(super) fn check(history: &History, now: Duration, figures: &mut Figures) -> Vec<Violation> {
    let mut world = World::default();
    // By InferenceSet: the maximum asked for, and since when it has not arrived.
    let mut open: BTreeMap<String, (i64, Duration)> = BTreeMap::new();
    let mut asked: BTreeMap<String, i64> = BTreeMap::new();
    let mut found = Vec::new();
    let mut all: Vec<_> = history.of("InferenceSet").chain(history.of("ScaledObject")).collect();
    all.sort_by_key(|seen| seen.at);
    for seen in all {
        world.take_in(seen);
        if seen.kind == "InferenceSet" {
            let name = seen.full_name();
            let maximum = seen
                .text(MAXIMUM)
                .parse()
                .ok()
                .filter(|_| seen.object.is_some() && is_enabled(seen));
            match maximum {
                None => {
                    open.remove(&name);
                    asked.remove(&name);
                }
                Some(maximum) if asked.insert(name.clone(), maximum) == Some(maximum) => {}
                Some(maximum) => drop(open.insert(name, (maximum, seen.at))),
            }
        }
        open.retain(|name, (maximum, since)| {
            let uid = world.sets.get(name).map_or("", |set| set.text("/metadata/uid"));
            let arrived = world
                .ours
                .values()
                .any(|object| owner(object) == uid && object.number("/spec/maxReplicaCount") == Some(*maximum));
            if arrived {
                found.extend(judge(history, name, *maximum, *since, seen.at, figures));
            }
            !arrived
        });
    }
    for (name, (maximum, since)) in open {
        let overdue = history.deadline(since, HEALED_WITHIN).is_some_and(|deadline| now > deadline);
        if overdue {
            found.push(violation(&name, maximum, since, now, "has not arrived"));
        }
    }
    figures.edits.sort_unstable();
    figures.calm_edits.sort_unstable();
    found
}

fn judge(history: &History, name: &str, maximum: i64, since: Duration, at: Duration, figures: &mut Figures) -> Option<Violation> {
    let took = at.saturating_sub(since);
    let calm = history.is_calm(since.saturating_sub(HEALED_WITHIN), at);
    figures.edits.push(took);
    if calm {
        figures.calm_edits.push(took);
    }
    let late = history.deadline(since, HEALED_WITHIN).is_some_and(|deadline| at > deadline);
    (late || (calm && took > AT_ONCE)).then(|| violation(name, maximum, since, at, "has arrived late"))
}

fn violation(name: &str, maximum: i64, since: Duration, at: Duration, what: &str) -> Violation {
    Violation {
        invariant: "N5",
        at,
        name: name.rsplit('/').next().unwrap_or(name).to_owned(),
        what: format!("the maximum {maximum} of {name}, set at {:.2} s, {what}", since.as_secs_f64()),
    }
}
