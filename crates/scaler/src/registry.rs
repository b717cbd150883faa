//! What the process knows, by InferenceSet. The engine writes; calls read. No lock is held across a wait.

pub mod decided;
pub mod replica;
pub mod set;
pub mod story;
pub mod target;
pub mod trigger;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use keda_kaito_core::fleet::Timing;
use keda_kaito_core::moment::Moment;
use keda_kaito_core::record::is_active;
use keda_kaito_core::trigger::TriggerRequest;
use keda_kaito_runtime::watch::Freshness;
use thiserror::Error;
use tokio::time::Instant;

use crate::clock::Clock;
use decided::Decided;
use set::SetState;
use story::Keeping;

/// Namespace and name of an InferenceSet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// Why a question has no answer. The sentences become Events that users read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    #[error("the scaler has only just started and does not know the cluster yet")]
    Starting,
    #[error("InferenceSet {0} does not exist")]
    NotFound(SetKey),
    #[error("this trigger of ScaledObject {namespace}/{name} has not been seen by the scaler yet")]
    TriggerUnknown { namespace: String, name: String },
    #[error("the replica count of InferenceSet {0} has not been confirmed by the API server for {1} s")]
    CountUnconfirmed(SetKey, u64),
    #[error("InferenceSet {0} has more than {max} triggers", max = set::MAX_TRIGGERS)]
    TooManyTriggers(SetKey),
    #[error(
        "the triggers of InferenceSet {0} name more than {endpoints} different endpoints, or more than {metrics} metrics at one",
        endpoints = set::MAX_ENDPOINTS,
        metrics = set::MAX_WANTED
    )]
    TooManyEndpoints(SetKey),
    #[error("this replica of the scaler sees no model pod while another one does")]
    Blind,
}

/// Everything known. Clones share it.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    timing: Timing,
    keeping: Keeping,
    sets: RwLock<HashMap<SetKey, Arc<Mutex<SetState>>>>,
    view: RwLock<View>,
}

#[derive(Default)]
struct View {
    /// Of the InferenceSets; absent before the first complete list.
    counts: Option<Freshness>,
    blind: bool,
}

impl SetKey {
    /// From plain strings.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl Registry {
    /// Knows nothing yet. `timing` says how patient decisions are; its start is where `clock` stands now.
    #[must_use]
    pub fn new(clock: Clock, timing: Timing) -> Self {
        Self::keeping(clock, timing, Keeping::default())
    }

    /// The same, remembering of its decisions what `keeping` allows.
    #[must_use]
    pub fn keeping(clock: Clock, timing: Timing, keeping: Keeping) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                timing,
                keeping,
                sets: RwLock::default(),
                view: RwLock::default(),
            }),
        }
    }

    /// The clock all moments here are of.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The pace decisions assume.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.inner.timing
    }

    /// From now on counts are as fresh as `counts` says.
    pub fn follow(&self, counts: Freshness) {
        self.inner.view.write().unwrap_or_else(PoisonError::into_inner).counts = Some(counts);
    }

    /// Whether questions are turned away because another replica sees more. Returns what it was before.
    pub fn set_blind(&self, blind: bool) -> bool {
        let mut view = self.inner.view.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut view.blind, blind)
    }

    /// The state of an InferenceSet, if somebody scales it.
    #[must_use]
    pub fn get(&self, key: &SetKey) -> Option<Arc<Mutex<SetState>>> {
        self.inner
            .sets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// The state of an InferenceSet, made if need be.
    pub fn track(&self, key: &SetKey) -> Arc<Mutex<SetState>> {
        let mut sets = self.inner.sets.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Mutex::new(SetState::new(self.inner.keeping.clone())));
        Arc::clone(sets.entry(key.clone()).or_insert_with(fresh))
    }

    /// Forgets an InferenceSet.
    pub fn forget(&self, key: &SetKey) {
        self.inner.sets.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// All states.
    #[must_use]
    pub fn all(&self) -> Vec<(SetKey, Arc<Mutex<SetState>>)> {
        let sets = self.inner.sets.read().unwrap_or_else(PoisonError::into_inner);
        sets.iter().map(|(key, state)| (key.clone(), Arc::clone(state))).collect()
    }

    /// Decides for a call.
    ///
    /// # Errors
    /// Nothing can be said; see [`AnswerError`].
    pub fn decide(&self, namespace: &str, scaled_object: &str, request: &TriggerRequest) -> Result<Decided, AnswerError> {
        self.answer(namespace, scaled_object, request, |state, trigger, now| {
            state.decide(trigger, self.timing(), now)
        })
    }

    /// Whether KEDA may think of the workload as active.
    ///
    /// # Errors
    /// Nothing can be said; see [`AnswerError`].
    pub fn is_active(&self, namespace: &str, scaled_object: &str, request: &TriggerRequest) -> Result<bool, AnswerError> {
        self.answer(namespace, scaled_object, request, |state, trigger, now| {
            let input = state.input(state.triggers.get(trigger)?, self.timing(), now)?;
            Some(is_active(&input))
        })
    }

    fn answer<T>(
        &self,
        namespace: &str,
        scaled_object: &str,
        request: &TriggerRequest,
        of: impl FnOnce(&mut SetState, usize, Moment) -> Option<T>,
    ) -> Result<T, AnswerError> {
        let now = Instant::now();
        let unconfirmed = self.unconfirmed(now);
        let key = SetKey::new(namespace, &request.inference_set_name);
        let state = self.get(&key);
        let mut state = state.as_deref().map(lock);
        let trigger = state.as_ref().and_then(|state| state.trigger(scaled_object, request));
        let (Some(state), Some(trigger)) = (&mut state, trigger) else {
            unconfirmed?;
            return Err(match state {
                Some(state) if state.object.is_none() => AnswerError::NotFound(key),
                Some(state) if state.too_many_triggers => AnswerError::TooManyTriggers(key),
                _ => AnswerError::TriggerUnknown {
                    namespace: namespace.to_owned(),
                    name: scaled_object.to_owned(),
                },
            });
        };
        let moment = self.clock().at(now);
        let lasts = state.triggers.get(trigger).map(|trigger| trigger.facts.count_lasts());
        let answer = match unconfirmed {
            Err(error) => Err(error),
            Ok(_) if state.object.is_none() => Err(AnswerError::NotFound(key)),
            Ok(age) if lasts.is_none_or(|lasts| age > lasts) => Err(AnswerError::CountUnconfirmed(key, age.as_secs())),
            Ok(_) => of(state, trigger, moment).ok_or(AnswerError::TooManyEndpoints(key)),
        };
        if let (Err(error), Some(story)) = (&answer, state.stories.get_mut(trigger)) {
            story.refused(moment, error.to_string());
        }
        answer
    }

    /// How long ago replica counts were confirmed.
    ///
    /// # Errors
    /// They never were, or nothing is seen any more.
    pub fn unconfirmed(&self, now: Instant) -> Result<Duration, AnswerError> {
        let view = self.inner.view.read().unwrap_or_else(PoisonError::into_inner);
        if view.blind {
            return Err(AnswerError::Blind);
        }
        let age = view.counts.as_ref().and_then(|counts| counts.confirmed_age(now));
        age.ok_or(AnswerError::Starting)
    }
}

/// Locks a state; a panic elsewhere leaves it usable, for every write of it is whole.
pub fn lock(state: &Mutex<SetState>) -> MutexGuard<'_, SetState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
