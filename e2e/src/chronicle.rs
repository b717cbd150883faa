//! An independent observer: it reads the API server only, straight and with watches of its own, writes down every state
//! of every object that matters, and checks on that history what must never be violated (`invariants`). Of the test it
//! is told only what it cannot see: which counts the load asks for, when something was broken, when nothing should move.

mod collect;
pub mod history;
pub mod invariants;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::{Bed, Look, eventually};
use crate::cases::objects::{Kind, text};
use history::History;
use invariants::Figures;

/// Everything whose states are kept.
const KINDS: [Kind; 7] = [
    Kind::INFERENCE_SET,
    Kind::SCALED_OBJECT,
    Kind::HPA,
    Kind::TRIGGER_AUTHENTICATION,
    Kind::SECRET,
    Kind::LEASE,
    Kind::EVENT,
];
/// A violation is reported with so many of the states before it.
const CONTEXT: usize = 12;

/// Records until it is dropped.
#[derive(Debug)]
pub struct Chronicle {
    begun: Instant,
    history: Arc<Mutex<History>>,
    _tasks: JoinSet<()>,
}

impl Chronicle {
    /// Watches from now on; returns once everything that is there has been seen.
    ///
    /// # Errors
    /// When it is not within 30 seconds.
    pub async fn start(bed: &Bed) -> Result<Self> {
        let (begun, history) = (Instant::now(), Arc::new(Mutex::new(History::default())));
        // What other tests have left is on its way out.
        let namespaces = bed.list(Kind::NAMESPACE, "").await?;
        let leaving = namespaces
            .iter()
            .filter(|namespace| namespace.pointer("/metadata/deletionTimestamp").is_some());
        let leaving: Arc<BTreeSet<String>> = Arc::new(
            leaving
                .map(|namespace| text(namespace, "/metadata/name").to_owned())
                .collect(),
        );
        let mut tasks = JoinSet::new();
        let mut seen = Vec::new();
        for kind in KINDS {
            let (complete, is_complete) = tokio::sync::watch::channel(false);
            seen.push(is_complete);
            let noted = Arc::clone(&history);
            tasks.spawn(collect::collect(
                bed.api(kind, ""),
                kind.kind,
                begun,
                noted,
                Arc::clone(&leaving),
                complete,
            ));
        }
        eventually(Duration::from_secs(30), "the observer has seen everything", async || {
            let missing = seen.iter().filter(|seen| !*seen.borrow()).count();
            Ok(Look::when(missing == 0, missing))
        })
        .await?;
        Ok(Self {
            begun,
            history,
            _tasks: tasks,
        })
    }

    /// From now on the load of an InferenceSet asks for so many replicas.
    pub fn wants(&self, namespace: &str, name: &str, replicas: i64) {
        let at = self.now();
        self.lock().wants(at, namespace, name, replicas);
    }

    /// Something is broken from now on, until what is returned is dropped. What is due in that time may come later.
    #[must_use = "the trouble ends when this is dropped"]
    pub fn trouble(&self) -> Trouble {
        let at = self.now();
        Trouble {
            number: self.lock().trouble_begins(at),
            begun: self.begun,
            history: Arc::clone(&self.history),
        }
    }

    /// Nothing may move between `since` and now.
    pub fn rested(&self, since: Instant) {
        let (from, to) = (since.saturating_duration_since(self.begun), self.now());
        self.lock().rests.push((from, to));
    }

    /// What happens to this object is the test's own doing.
    pub fn forgive(&self, kind: Kind, namespace: &str, name: &str) {
        self.lock().forgive(kind.kind, namespace, name);
    }

    /// Checks every invariant on everything seen so far.
    ///
    /// # Errors
    /// Every violation, with the states around it.
    pub fn check(&self) -> Result<Figures> {
        let now = self.now();
        let history = self.lock();
        let (violations, figures) = invariants::check(&history, now);
        if violations.is_empty() {
            return Ok(figures);
        }
        let mut text = String::new();
        for violation in &violations {
            text.push_str(&format!("{violation}\n"));
            for line in history.before(violation.at, &violation.name, CONTEXT) {
                text.push_str(&format!("    {line}\n"));
            }
        }
        bail!("the observer saw {} violations:\n{text}", violations.len());
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

/// A time in which something is broken.
#[derive(Debug)]
pub struct Trouble {
    number: usize,
    begun: Instant,
    history: Arc<Mutex<History>>,
}

impl Drop for Trouble {
    fn drop(&mut self) {
        lock(&self.history).trouble_ends(self.number, self.begun.elapsed());
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
