//! The loop that keeps the registry true: it takes in changes of objects, has targets scraped when they are due, and ends
//! each round with decisions. It is the only writer of the registry.

mod quota;
mod run;
mod scraping;
#[cfg(test)]
mod tests;
mod traces;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use keda_kaito_core::journal::News;
use keda_kaito_runtime::panics;
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::telemetry::ids;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::Rules;
use crate::decision_span;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::registry::decided::Decided;
use crate::registry::replica::Reader;
use crate::registry::set::ObjectFacts;
use crate::registry::story::Story;
use crate::registry::target::TargetId;
use crate::registry::trigger::TriggerRules;
use crate::registry::{Registry, SetKey, lock};
use crate::scheduler::{Scheduler, Work};
use crate::watches::{Changed, Watches};
use quota::Quota;
use scraping::Outcome;
use traces::Traces;

pub use quota::Quotas;

/// Rounds that the reporter has not yet looked at; more are dropped, for the next says the same.
pub const MAX_REPORTS: usize = 256;

/// What the loop is built from.
pub struct EngineConfig {
    pub registry: Registry,
    pub metrics: Metrics,
    pub rules: Arc<Rules>,
    pub quotas: Quotas,
    /// Differs between replicas of the scaler, so that they do not scrape in step.
    pub identity: String,
    pub reports: mpsc::Sender<RoundReport>,
    pub cache: Gate,
    pub first_round: Gate,
}

/// What a round said of one InferenceSet.
#[derive(Debug)]
pub struct RoundReport {
    pub key: SetKey,
    pub object: ObjectFacts,
    /// One per trigger that can be decided.
    pub decisions: Vec<Decided>,
    /// What is worth an Event.
    pub news: Vec<News>,
    /// How much more there was that waited for too long and is forgotten.
    pub dropped: u32,
}

/// See the module.
pub struct Engine {
    config: EngineConfig,
    index: Index,
    scheduler: Scheduler,
    quota: Quota,
    scrapes: JoinSet<Outcome>,
    /// Whose scrape a task is.
    tasks: HashMap<tokio::task::Id, (SetKey, TargetId)>,
    dirty: BTreeSet<SetKey>,
    /// InferenceSets whose first round is awaited; `None` before they are known.
    first_rounds: Option<HashSet<SetKey>>,
    next_id: u64,
    traces: Traces,
}

impl Engine {
    /// A loop that knows nothing yet.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let interval = config.registry.timing().scrape_interval;
        let quota = Quota::new(config.quotas);
        Self {
            config,
            index: Index::default(),
            scheduler: Scheduler::new(interval),
            quota,
            scrapes: JoinSet::new(),
            tasks: HashMap::new(),
            dirty: BTreeSet::new(),
            first_rounds: None,
            next_id: 0,
            traces: Traces::default(),
        }
    }

    /// Everything may be different: reads all of it again.
    fn reindex(&mut self, watches: &Watches, rules: &TriggerRules) {
        let known = std::mem::take(&mut self.index);
        self.dirty.extend(known.wanted().cloned());
        for workspace in watches.workspaces.store.state() {
            self.indexed(&*workspace, |index| index.workspace(&workspace, true));
        }
        for object in watches.scaled_objects.store.state() {
            self.indexed(&*object, |index| index.scaled_object(&object, true, rules));
        }
        self.dirty.extend(self.index.wanted().cloned());
        if self.first_rounds.is_none() {
            self.first_rounds = Some(self.index.wanted().cloned().collect());
        }
        self.config.registry.follow(watches.inference_sets.freshness.clone());
    }

    /// Marks what a change concerns.
    fn note(&mut self, changed: &Changed, rules: &TriggerRules) {
        use keda_kaito_runtime::watch::Change;
        let concerned = match changed {
            Changed::InferenceSet(change) => BTreeSet::from([crate::index::key_of(&**change.object())]),
            Changed::Workspace(change) => {
                let (object, exists) = (change.object(), !matches!(change, Change::Deleted(_)));
                self.indexed(&**object, |index| index.workspace(object, exists))
            }
            Changed::ScaledObject(change) => {
                let (object, exists) = (change.object(), !matches!(change, Change::Deleted(_)));
                self.indexed(&**object, |index| index.scaled_object(object, exists, rules))
            }
            Changed::Pod(change) => self.indexed(&**change.object(), |index| index.pod(change.object())),
        };
        self.dirty.extend(concerned);
    }

    /// The index takes an object in; one that makes it panic is left out until it changes.
    fn indexed(
        &mut self,
        object: &impl kube::ResourceExt,
        task: impl FnOnce(&mut Index) -> BTreeSet<SetKey>,
    ) -> BTreeSet<SetKey> {
        panics::caught(|| task(&mut self.index)).unwrap_or_else(|panicked| {
            self.config.metrics.panicked("index");
            let (namespace, name) = (object.namespace(), object.name_any());
            tracing::warn!(namespace, name, %panicked, "an object is left out until it changes");
            BTreeSet::new()
        })
    }

    /// Brings one InferenceSet up to date with its objects.
    fn refresh(&mut self, key: &SetKey, watches: &Watches, rules: &TriggerRules, now: Instant) {
        let names = self.index.scaled_objects_of(key);
        let objects = watches.objects(key, names, self.index.workspaces_of(key), rules);
        if objects.triggers.is_empty() {
            self.forget(key);
            return;
        }
        let registry = &self.config.registry;
        let reader = Reader {
            clock: registry.clock(),
            rules: &self.config.rules,
            now: registry.clock().at(now),
        };
        let state = registry.track(key);
        let mut state = lock(&state);
        state.refresh(objects, &reader, &mut self.next_id);
        let targets: BTreeSet<TargetId> = state.scrapeable().collect();
        let phase = phase(key, &self.config.identity);
        self.scheduler.add_set(key, phase, now);
        let before: Vec<_> = self.scheduler.targets_of(key).filter(|id| !targets.contains(id)).collect();
        for id in before {
            self.scheduler.remove_target(key, id);
        }
        let admitted = self.quota.admit(key, &targets).clone();
        for id in &targets {
            if admitted.contains(id) {
                self.scheduler.add_target(key, *id);
            } else {
                self.scheduler.remove_target(key, *id);
                state.refuse(*id, &self.quota.refusal(), reader.now);
            }
        }
        self.scheduler.settle(key);
    }

    /// One InferenceSet whose objects or samples make us panic costs the others nothing. It is forgotten: no value is
    /// better than one computed from what was left half done.
    fn guarded(&mut self, work: &'static str, key: &SetKey, task: impl FnOnce(&mut Self)) {
        let Err(panicked) = panics::caught(|| task(self)) else {
            return;
        };
        self.config.metrics.panicked(work);
        tracing::warn!(namespace = %key.namespace, name = %key.name, work, %panicked, "an InferenceSet is given up until it changes");
        self.forget(key);
    }

    fn forget(&mut self, key: &SetKey) {
        self.config.registry.forget(key);
        self.scheduler.remove_set(key);
        self.quota.forget(key);
        self.traces.forget(key);
        self.first_round_of(key);
    }

    /// One InferenceSet fewer to wait for.
    fn first_round_of(&mut self, key: &SetKey) {
        let Some(awaited) = &mut self.first_rounds else { return };
        awaited.remove(key);
        if awaited.is_empty() {
            self.config.first_round.open();
        }
    }

    /// Does everything that is due.
    fn work(&mut self, watches: &Watches, now: Instant) {
        while let Some(work) = self.scheduler.next(now) {
            match work {
                Work::Scrape(key, id) => self.guarded("scrape", &key, |engine| engine.scrape(&key, id, watches, now)),
                Work::RoundOver(key) => self.guarded("round", &key, |engine| engine.end_round(&key, now)),
            }
        }
    }

    fn end_round(&mut self, key: &SetKey, now: Instant) {
        self.first_round_of(key);
        let registry = &self.config.registry;
        let Some(state) = registry.get(key) else { return };
        let round = self.traces.end(key);
        let mut state = lock(&state);
        state.round = ids(&round);
        let decisions = state.end_round(registry.timing(), registry.unconfirmed(now).ok(), registry.clock().at(now));
        let Some(object) = state.object.clone() else { return };
        // A full queue means that the reporter lags: what is news waits for the next round, the rest is said again then.
        let room = self.config.reports.try_reserve().ok();
        let (news, dropped) = match room {
            Some(_) => taken_news(&mut state.stories),
            None => Default::default(),
        };
        drop(state);
        for decided in &decisions {
            let span = decision_span::note(&round, &key.namespace, &key.name, decided);
            self.config.metrics.decided(decided, object.spec_replicas, span);
        }
        if let Some(room) = room {
            room.send(RoundReport {
                key: key.clone(),
                object,
                decisions,
                news,
                dropped,
            });
        }
        if self.quota.refuses(key) {
            self.dirty.insert(key.clone());
        }
    }
}

fn taken_news(stories: &mut [Story]) -> (Vec<News>, u32) {
    let (mut news, mut dropped) = (Vec::new(), 0_u32);
    for (more, lost) in stories.iter_mut().map(Story::take_news) {
        news.extend(more);
        dropped = dropped.saturating_add(lost);
    }
    (news, dropped)
}

/// Where in the interval an InferenceSet's rounds lie, 0 to 1.
fn phase(key: &SetKey, identity: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    (key, identity).hash(&mut hasher);
    let [a, b, ..] = hasher.finish().to_le_bytes();
    f64::from(u16::from_le_bytes([a, b])) / f64::from(u16::MAX)
}
