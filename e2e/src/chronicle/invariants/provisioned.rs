//! N4: every InferenceSet that asks for it has one ScaledObject of ours, and no other ScaledObject is ours.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{HEALED_WITHIN, Violation, World, is_enabled, owner};
use crate::chronicle::history::History;

pub(super) fn check(history: &History, now: Duration) -> Vec<Violation> {
    let mut world = World::default();
    let mut since: BTreeMap<(String, &'static str), Duration> = BTreeMap::new();
    let mut found = Vec::new();
    for seen in history
        .of("InferenceSet")
        .chain(history.of("ScaledObject"))
        .collect::<Sorted<'_>>()
        .0
    {
        world.take_in(seen);
        let wrong = wrong(&world);
        since.retain(|(name, what), begun| {
            let lasts = wrong.contains(&(name.clone(), *what));
            if !lasts {
                found.extend(overdue(history, name, what, *begun, seen.at));
            }
            lasts
        });
        for one in wrong {
            since.entry(one).or_insert(seen.at);
        }
    }
    for ((name, what), begun) in since {
        found.extend(overdue(history, &name, what, begun, now));
    }
    found
}

fn wrong(world: &World<'_>) -> Vec<(String, &'static str)> {
    let mut wrong = Vec::new();
    let uid_of = |name: &String| world.sets.get(name).map_or("", |set| set.text("/metadata/uid"));
    for (name, set) in &world.sets {
        let uid = set.text("/metadata/uid");
        let owned = world.ours.values().filter(|object| owner(object) == uid).count();
        match (is_enabled(set), owned) {
            (true, 0) => wrong.push((name.clone(), "has no ScaledObject")),
            (false, 1..) => wrong.push((name.clone(), "is disabled and has a ScaledObject")),
            (true, 2..) => wrong.push((name.clone(), "has several ScaledObjects")),
            (true, 1) | (false, 0) => {}
        }
    }
    for (name, object) in &world.ours {
        let of = owner(object);
        let orphan = of.is_empty() || !world.sets.keys().any(|name| uid_of(name) == of);
        if orphan {
            wrong.push((name.clone(), "is a ScaledObject without its InferenceSet"));
        }
    }
    wrong
}

fn overdue(history: &History, name: &str, what: &str, from: Duration, to: Duration) -> Option<Violation> {
    let deadline = history.deadline(from, HEALED_WITHIN)?;
    (to > deadline).then(|| Violation {
        invariant: "N4",
        at: to,
        name: name.rsplit('/').next().unwrap_or(name).to_owned(),
        what: format!(
            "{name} {what} since {:.2} s, which was to end by {:.2} s",
            from.as_secs_f64(),
            deadline.as_secs_f64()
        ),
    })
}

/// By time: two kinds come from two watches.
struct Sorted<'a>(Vec<&'a super::Seen>);

impl<'a> FromIterator<&'a super::Seen> for Sorted<'a> {
    fn from_iter<I: IntoIterator<Item = &'a super::Seen>>(seen: I) -> Self {
        let mut all: Vec<_> = seen.into_iter().collect();
        all.sort_by_key(|seen| seen.at);
        Self(all)
    }
}
