//! What must never be violated, each checked on the whole history and nothing else. Numbers are those of the reliability
//! plan: N1 counts, N4 one ScaledObject each, N5 edits arrive, N6 strangers' objects, N11 silence at rest, N12 one leader.

mod counts;
mod edits;
mod leaders;
mod provisioned;
mod rest;
mod strangers;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::history::{History, Seen};

/// After a fault has ended, everything is as it should be within this.
pub const HEALED_WITHIN: Duration = Duration::from_secs(60);

const AUTO_PROVISION: &str = "/metadata/annotations/scaledobject.kaito.sh~1auto-provision";
const MANAGED_BY: &str = "/metadata/annotations/scaledobject.kaito.sh~1managed-by";
const PRODUCT: &str = "keda-kaito-scaler";
const MANAGERS: [&str; 3] = ["keda-kaito-provisioner", "keda-kaito-certmgr", "certmgr"];
const SECRETS: [&str; 3] = [
    "keda-kaito-scaler-ca",
    "keda-kaito-scaler-server-certs",
    "keda-kaito-scaler-client-certs",
];

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub at: Duration,
    /// The object's.
    pub name: String,
    pub what: String,
}

/// What was looked at, so that a check of nothing is not taken for one that passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub states: usize,
    /// Changes of counts, up and down.
    pub counts_changed: usize,
    /// Edits that had to arrive, and how long each took, sorted.
    pub edits: Vec<Duration>,
    /// The same of those during which nothing was broken.
    pub calm_edits: Vec<Duration>,
    pub strangers: usize,
    pub rest: Duration,
    /// Writes of credentials whose author is known.
    pub leaders_writes: usize,
}

/// Every violation, and what was looked at.
#[must_use]
pub fn check(history: &History, now: Duration) -> (Vec<Violation>, Figures) {
    let mut figures = Figures {
        states: history.seen.len(),
        ..Figures::default()
    };
    let mut found = counts::check(history, &mut figures);
    found.extend(provisioned::check(history, now));
    found.extend(edits::check(history, now, &mut figures));
    found.extend(strangers::check(history, &mut figures));
    found.extend(rest::check(history, &mut figures));
    found.extend(leaders::check(history, &mut figures));
    found.sort_by_key(|violation| violation.at);
    (found, figures)
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            at,
            name,
            what,
        } = self;
        write!(f, "{invariant} at {:.2} s, {name}: {what}", at.as_secs_f64())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = |times: &[Duration]| times.last().map_or(0.0, Duration::as_secs_f64);
        write!(
            f,
            "{} states, {} counts changed, {} edits (longest {:.2} s), {} of them calm (longest {:.2} s), {} strangers, {:.0} s of rest, {} writes of leaders",
            self.states,
            self.counts_changed,
            self.edits.len(),
            longest(&self.edits),
            self.calm_edits.len(),
            longest(&self.calm_edits),
            self.strangers,
            self.rest.as_secs_f64(),
            self.leaders_writes,
        )
    }
}

/// InferenceSets and our ScaledObjects as they are at one moment, by namespace and name.
#[derive(Debug, Default)]
struct World<'a> {
    sets: BTreeMap<String, &'a Seen>,
    ours: BTreeMap<String, &'a Seen>,
}

impl<'a> World<'a> {
    fn take_in(&mut self, seen: &'a Seen) {
        let (map, belongs) = match seen.kind {
            "InferenceSet" => (&mut self.sets, true),
            "ScaledObject" => (&mut self.ours, seen.text(MANAGED_BY) == PRODUCT),
            _ => return,
        };
        if seen.object.is_some() && belongs {
            map.insert(seen.full_name(), seen);
        } else {
            map.remove(&seen.full_name());
        }
    }
}

fn is_enabled(set: &Seen) -> bool {
    set.text(AUTO_PROVISION).eq_ignore_ascii_case("true")
}

/// Of the InferenceSet that owns it.
fn owner(object: &Seen) -> &str {
    let owners = object
        .object
        .as_ref()
        .and_then(|object| object.pointer("/metadata/ownerReferences"));
    let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
    let found = owners.find(|owner| owner.get("kind").and_then(Value::as_str) == Some("InferenceSet"));
    found.and_then(|owner| owner.get("uid")?.as_str()).unwrap_or_default()
}

/// Names of the field managers.
fn managers(seen: &Seen) -> Vec<&str> {
    let entries = seen
        .object
        .as_ref()
        .and_then(|object| object.pointer("/metadata/managedFields"));
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.get("manager")?.as_str()).collect()
}
