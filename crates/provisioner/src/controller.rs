//! The loop between watches and reconciliations: news in, due InferenceSets out, a bounded number at a time.
//! One session knows one set of served versions; it ends when they change.

#[cfg(test)]
mod tests;
mod traces;
pub(crate) mod watches;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use keda_kaito_core::contest::Contest;
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::moment::Moment;
use keda_kaito_core::names;
use keda_kaito_runtime::panics;
use keda_kaito_runtime::requeue::{self, Requeue};
use keda_kaito_runtime::watch::Change;
use kube::Resource;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::cluster::{Cluster, key_of};
use crate::error::Error;
use crate::queue::{Cause, Key, Queue};
use crate::reconcile::{Done, Memory, Reconciler, Task};
use crate::serving::Serving;
use watches::{News, Watches};

/// Reconciliations under way; most of their time is spent waiting for the API server.
const CONCURRENCY: usize = 8;
/// Of one namespace: its slow webhooks and quotas are its own matter.
const PER_NAMESPACE: usize = 4;
/// What the API server or the network is to blame for is over without anybody telling us. At most [`CONCURRENCY`] are tried at a
/// time, each for as long as a call with its retries takes, which bounds the calls of however many objects.
const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(30);
/// No reconciliation is waited for longer when the loop ends.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// What a session does its work with.
pub(crate) struct Controller {
    pub(crate) reconciler: Reconciler,
    pub(crate) options: RenderOptions,
    pub(crate) require_scaler: bool,
    /// Whether this process leads.
    pub(crate) leading: watch::Receiver<bool>,
    /// False while a reconciliation is under way.
    pub(crate) idle: watch::Sender<bool>,
}

struct State {
    cluster: Cluster,
    queue: Queue,
    serving: Serving,
    memories: HashMap<Key, Memory>,
    contests: HashMap<Key, Contest>,
    begun: Instant,
    provisioned: HashSet<Key>,
    requeue: Requeue<Key>,
    running: JoinSet<(Key, Duration, Result<Done, Error>)>,
}

impl Controller {
    /// Works until `stop`, or until the watches end.
    pub(crate) async fn run(mut self, mut watches: Watches, stop: &CancellationToken) {
        let mut state = State::new();
        self.prime(&mut state, &watches);
        loop {
            self.dispatch(&mut state);
            let due = state.queue.next_due();
            let lapses = state.serving.next_end(Instant::now());
            let leads = *self.leading.borrow_and_update();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(finished) = state.running.join_next() => {
                    if let Ok((key, took, result)) = finished {
                        self.finish(&mut state, &key, took, result);
                    }
                }
                changed = self.leading.changed() => match changed {
                    Ok(()) => self.enqueue_all(&mut state),
                    Err(_ended) => break,
                },
                news = watches.next() => match news {
                    Some(news) => self.take_in(&mut state, news, Cause::News),
                    None => break,
                },
                () = sleep_until(due), if leads && state.running.len() < CONCURRENCY => {}
                () = sleep_until(lapses) => {}
            }
        }
        self.wind_down(&mut state).await;
    }

    /// Everything that is known when the first lists are complete; only now may absence mean something.
    fn prime(&mut self, state: &mut State, watches: &Watches) {
        for news in watches.known() {
            self.take_in(state, news, Cause::Sweep);
        }
        self.enqueue_all(state);
    }

    fn take_in(&mut self, state: &mut State, news: News, mut cause: Cause) {
        let now = Instant::now();
        let keys = match news {
            News::InferenceSet(change) => {
                let before = state.cluster.inference_sets.apply(&change);
                if is_listed_again(before.as_deref(), &change) {
                    cause = Cause::Sweep;
                }
                let key = key_of(&**change.object());
                if let Change::Applied(set) = &change {
                    let at = state.moment(now);
                    state.contests.entry(key.clone()).or_default().observe(set, at);
                }
                if matches!(change, Change::Deleted(_)) && state.cluster.inference_sets.get(&key).is_none() {
                    self.forget(state, &key);
                }
                vec![key]
            }
            News::ScaledObject(change) => {
                let before = state.cluster.scaled_objects.get(&key_of(&**change.object()));
                if is_listed_again(before.map(AsRef::as_ref), &change) {
                    cause = Cause::Sweep;
                }
                state.cluster.scaled_object(&change, now)
            }
            News::Workspace(change) => state.cluster.workspace(&change),
            News::TriggerAuthentication(change) => {
                cause = Cause::Sweep;
                self.take_in_epoch(state, &change)
            }
            News::Lease(change) => {
                cause = Cause::Sweep;
                self.take_in_lease(state, &change, now)
            }
        };
        for key in keys {
            if state.cluster.inference_sets.get(&key).is_some() {
                state.queue.add(key, now, cause);
            }
        }
    }

    /// A ClusterTriggerAuthentication that is gone says nothing about the epoch: certmgr will put it back.
    fn take_in_epoch(&mut self, state: &State, change: &Change<ClusterTriggerAuthentication>) -> Vec<Key> {
        let Change::Applied(object) = change else { return Vec::new() };
        if object.metadata.name.as_deref() != Some(names::TRIGGER_AUTHENTICATION) {
            return Vec::new();
        }
        let annotations = object.metadata.annotations.as_ref();
        let Some(text) = annotations.and_then(|annotations| annotations.get(names::CREDENTIAL_EPOCH_ANNOTATION)) else {
            return Vec::new();
        };
        let Ok(epoch) = text.parse::<u64>() else {
            tracing::warn!(
                annotation = names::CREDENTIAL_EPOCH_ANNOTATION,
                value = text,
                "the credential epoch is no number"
            );
            return Vec::new();
        };
        if self.options.credential_epoch.replace(epoch) == Some(epoch) {
            return Vec::new();
        }
        tracing::info!(epoch, "the credential epoch is known");
        self.reconciler.metrics.epoch_is(epoch);
        state.cluster.inference_sets.keys()
    }

    fn take_in_lease(&self, state: &mut State, change: &Change<Lease>, now: Instant) -> Vec<Key> {
        let before = state.serving.count(now);
        state.serving.observe(change, now, Timestamp::now());
        let after = state.serving.count(now);
        if before > 0 || after == 0 {
            return Vec::new();
        }
        let waiting = state
            .memories
            .iter()
            .filter(|(_, memory)| memory.awaits_scaler() || memory.is_neglected());
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn enqueue_all(&self, state: &mut State) {
        let now = Instant::now();
        for key in state.cluster.inference_sets.keys() {
            state.queue.add(key, now, Cause::Sweep);
        }
    }

    fn dispatch(&self, state: &mut State) {
        let now = Instant::now();
        while *self.leading.borrow() && state.running.len() < CONCURRENCY {
            let Some(key) = state.queue.take(now) else { break };
            let Some(snapshot) = state.cluster.snapshot(&key) else {
                state.queue.done(&key);
                self.forget(state, &key);
                continue;
            };
            let task = Task {
                key: key.clone(),
                snapshot,
                memory: state.memories.get(&key).cloned().unwrap_or_default(),
                options: self.options.clone(),
                scaler_serves: self.require_scaler.then(|| state.serving.count(now) > 0),
                contest: state
                    .contests
                    .get(&key)
                    .and_then(|contest| contest.complaint(state.moment(now))),
            };
            self.idle.send_replace(false);
            let reconciler = self.reconciler.clone();
            let span = traces::reconcile(&key);
            let work = async move {
                let started = Instant::now();
                let result = Box::pin(panics::caught_async(reconciler.reconcile(task))).await;
                let result = result.unwrap_or_else(|panicked| Err(Error::Panic(panicked)));
                traces::reconciled(&result);
                (key, started.elapsed(), result)
            };
            state.running.spawn(work.instrument(span));
        }
        let queued = i64::try_from(state.queue.len()).unwrap_or(i64::MAX);
        self.reconciler.metrics.queued.set(queued);
        // A Lease also ends without any news.
        self.reconciler.metrics.scaler_replicas.count(state.serving.count(now));
        match *self.leading.borrow() {
            true => self.reconciler.metrics.provisioned.count(state.provisioned.len()),
            false => self.reconciler.metrics.provisioned.set(None),
        }
        let nothing_runs = state.running.is_empty();
        self.idle
            .send_if_modified(|idle| nothing_runs && !std::mem::replace(idle, true));
    }

    fn finish(&self, state: &mut State, key: &Key, took: Duration, result: Result<Done, Error>) {
        let now = Instant::now();
        match result {
            Ok(done) => {
                self.reconciler.metrics.reconciled(done.outcome.as_str(), took);
                state.requeue.succeeded(key);
                state.queue.done(key);
                if let Some(object) = done.written {
                    state.cluster.wrote(object, now);
                }
                if let Some(again) = done.again {
                    state.queue.add(key.clone(), now + again, Cause::News);
                }
                if done.provisioned {
                    state.provisioned.insert(key.clone());
                } else {
                    state.provisioned.remove(key);
                }
                state.memories.insert(key.clone(), done.memory);
            }
            Err(error) => self.failed(state, key, took, &error, now),
        }
        if state.cluster.inference_sets.get(key).is_none() {
            self.forget(state, key);
        }
    }

    fn failed(&self, state: &mut State, key: &Key, took: Duration, error: &Error, now: Instant) {
        self.reconciler.metrics.reconciled(error.category(), took);
        let delay = state.requeue.failed(key.clone());
        let delay = match error.category() {
            "unavailable" | "conflict" => delay.min(LONGEST_OUTAGE_RETRY),
            _ => delay,
        };
        state.queue.failed(key, now, delay, requeue::FIRST.min(delay));
        tracing::warn!(
            namespace = key.namespace,
            name = key.name,
            category = error.category(),
            retry_in = ?delay,
            %error,
            "failed to reconcile an InferenceSet"
        );
    }

    fn forget(&self, state: &mut State, key: &Key) {
        state.memories.remove(key);
        state.contests.remove(key);
        state.provisioned.remove(key);
        state.requeue.succeeded(key);
        self.reconciler.metrics.complain(key, &[]);
    }

    async fn wind_down(&self, state: &mut State) {
        let drained = tokio::time::timeout(WIND_DOWN, async { while state.running.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(
                left = state.running.len(),
                "reconciliations did not end in time and are dropped"
            );
        }
        self.idle.send_replace(true);
    }
}

impl State {
    fn new() -> Self {
        Self {
            cluster: Cluster::default(),
            queue: Queue::new(PER_NAMESPACE),
            serving: Serving::default(),
            memories: HashMap::new(),
            contests: HashMap::new(),
            begun: Instant::now(),
            provisioned: HashSet::new(),
            requeue: Requeue::new(),
            running: JoinSet::new(),
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment::default().plus(now.saturating_duration_since(self.begun))
    }
}

/// Whether the object is as it was known: only listed again.
fn is_listed_again<K: Resource>(before: Option<&K>, change: &Change<K>) -> bool {
    let (Some(before), Change::Applied(after)) = (before, change) else {
        return false;
    };
    let (before, after) = (before.meta(), after.meta());
    before.uid == after.uid && before.resource_version.is_some() && before.resource_version == after.resource_version
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
