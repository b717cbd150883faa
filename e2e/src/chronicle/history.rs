//! What was seen and what the test said, in order. Times are since the observer's start.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

/// A state of an object.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Duration,
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// Absent once it is gone.
    pub object: Option<Value>,
    /// Whether it was there before the observer.
    pub old: bool,
}

/// What an InferenceSet's load asks for from a moment on.
#[derive(Clone, Debug)]
pub struct Want {
    pub at: Duration,
    pub namespace: String,
    pub name: String,
    pub replicas: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    pub seen: Vec<Seen>,
    pub wants: Vec<Want>,
    /// From and to; those that last have no end yet.
    pub troubles: Vec<(Duration, Option<Duration>)>,
    pub rests: Vec<(Duration, Duration)>,
    forgiven: BTreeSet<(&'static str, String, String)>,
}

impl Seen {
    /// A JSON pointer's string; empty when absent.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        let found = self.object.as_ref().and_then(|object| object.pointer(pointer));
        found.and_then(Value::as_str).unwrap_or_default()
    }

    /// A JSON pointer's integer.
    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.object.as_ref()?.pointer(pointer)?.as_i64()
    }

    /// Namespace and name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl History {
    pub fn wants(&mut self, at: Duration, namespace: &str, name: &str, replicas: i64) {
        self.wants.push(Want {
            at,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas,
        });
    }

    /// Its number, for when it ends.
    pub fn trouble_begins(&mut self, at: Duration) -> usize {
        self.troubles.push((at, None));
        self.troubles.len() - 1
    }

    pub fn trouble_ends(&mut self, number: usize, at: Duration) {
        if let Some(trouble) = self.troubles.get_mut(number) {
            trouble.1 = Some(at);
        }
    }

    pub fn forgive(&mut self, kind: &'static str, namespace: &str, name: &str) {
        self.forgiven.insert((kind, namespace.to_owned(), name.to_owned()));
    }

    /// States of a kind, but for what the test did itself.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Seen> + 'a {
        self.seen
            .iter()
            .filter(move |seen| seen.kind == kind && !self.is_forgiven(seen))
    }

    fn is_forgiven(&self, seen: &Seen) -> bool {
        self.forgiven
            .contains(&(seen.kind, seen.namespace.clone(), seen.name.clone()))
    }

    /// By when something must have happened that was due at `at` and may take `within`: that long after the last trouble
    /// that stood in its way has ended. `None` while one still does.
    #[must_use]
    pub fn deadline(&self, at: Duration, within: Duration) -> Option<Duration> {
        let mut troubles = self.troubles.clone();
        troubles.sort_unstable();
        let mut deadline = at + within;
        for (from, to) in troubles {
            if from <= deadline && to.is_none_or(|to| to >= at) {
                deadline = deadline.max(to? + within);
            }
        }
        Some(deadline)
    }

    /// Whether nothing was broken at any time between the two.
    #[must_use]
    pub fn is_calm(&self, from: Duration, to: Duration) -> bool {
        let overlaps = |trouble: &(Duration, Option<Duration>)| trouble.0 <= to && trouble.1.is_none_or(|end| end >= from);
        !self.troubles.iter().any(overlaps)
    }

    /// The last states of what is called `name` up to a moment, in short.
    #[must_use]
    pub fn before(&self, at: Duration, name: &str, count: usize) -> Vec<String> {
        let concerned = |seen: &&Seen| seen.at <= at && (seen.name.contains(name) || name.contains(&seen.name));
        let mut found: Vec<String> = self.seen.iter().rev().filter(concerned).take(count).map(short).collect();
        found.reverse();
        found
    }
}

fn short(seen: &Seen) -> String {
    let what = match &seen.object {
        None => "gone".to_owned(),
        Some(object) if seen.kind == "Secret" => format!(
            "version {}",
            object.pointer("/metadata/resourceVersion").unwrap_or(&Value::Null)
        ),
        Some(object) => {
            let part = |pointer: &str| object.pointer(pointer).map(ToString::to_string).unwrap_or_default();
            let parts = [
                "/metadata/resourceVersion",
                "/metadata/annotations",
                "/reason",
                "/message",
                "/spec",
                "/status",
            ];
            parts.map(part).join(" ").chars().take(600).collect()
        }
    };
    format!("{:8.2} {} {} {what}", seen.at.as_secs_f64(), seen.kind, seen.full_name())
}
