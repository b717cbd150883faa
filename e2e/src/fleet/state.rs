//! Everything the fleet knows: pods, the choices made about them, the load on each InferenceSet, addresses. Methods are
//! short and never wait; nothing here talks to a network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::Key;
use super::addresses::Addresses;
use super::answer::Mode;
use super::api::SetReport;
use super::exposition::Template;
use super::lifecycle::{Life, Phase};
use super::pod::{Identity, PodEntry, PodState, Serving};
use super::settings::{Fault, Settings, Stream};
use super::values::Values;
pub use load::SetState;

mod choices;
mod load;

/// The fleet's clock starts here, so that what is older than the fleet has a time too.
const ORIGIN: Duration = Duration::from_hours(48);

/// What KAITO's benchmark looks like from outside: a full server with a line in front.
const BENCHMARK_WAITING: f64 = 25.0;
const BENCHMARK_KV_USAGE: f64 = 0.9;
const BENCHMARK_STREAM: Stream = Stream {
    seconds: 2.5,
    per_second: 10.0,
};

#[derive(Debug)]
pub struct Inner {
    pub pods: BTreeMap<Key, Arc<PodEntry>>,
    pub sets: BTreeMap<Key, SetState>,
    pod_settings: BTreeMap<Key, Settings>,
    addresses: Addresses,
    containers: u64,
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    pub template: Template,
    /// Until a container is Ready, unless a setting says otherwise.
    pub cold_start: Duration,
    started: Instant,
    wall: Timestamp,
    inner: Mutex<Inner>,
}

impl Fleet {
    /// An empty fleet that hands out `addresses`.
    #[must_use]
    pub fn new(addresses: Addresses, cold_start: Duration) -> Self {
        Self {
            template: Template::recorded(),
            cold_start,
            started: Instant::now(),
            wall: Timestamp::now(),
            inner: Mutex::new(Inner {
                pods: BTreeMap::new(),
                sets: BTreeMap::new(),
                pod_settings: BTreeMap::new(),
                addresses,
                containers: 0,
            }),
        }
    }

    /// Time on the fleet's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        ORIGIN + self.started.elapsed()
    }

    /// The instant at which the fleet's clock shows `time`.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        self.started + time.saturating_sub(ORIGIN)
    }

    /// Milliseconds since the epoch at `time` on the fleet's clock.
    #[must_use]
    pub fn epoch_millis(&self, time: Duration) -> u64 {
        let start = u64::try_from(self.wall.as_millisecond()).unwrap_or_default();
        let elapsed = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let origin = u64::try_from(ORIGIN.as_millis()).unwrap_or_default();
        start.saturating_add(elapsed).saturating_sub(origin)
    }

    /// `time` as Kubernetes writes it: RFC 3339, whole seconds.
    #[must_use]
    pub fn stamp(&self, time: Duration) -> String {
        let millis = i64::try_from(self.epoch_millis(time)).unwrap_or_default();
        let at = Timestamp::from_millisecond(millis).unwrap_or(self.wall);
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn pod(&self, key: &Key) -> Option<Arc<PodEntry>> {
        self.lock().pods.get(key).cloned()
    }

    #[must_use]
    pub fn pods(&self) -> Vec<Arc<PodEntry>> {
        self.lock().pods.values().cloned().collect()
    }

    /// Takes in what the API server shows; a pod not known before (or recreated) is returned, for someone to keep.
    pub fn observe(&self, pod: &Pod) -> Option<Arc<PodEntry>> {
        let identity = Identity::of(pod);
        if let Some(known) = self.pod(&identity.key) {
            if known.identity.uid == identity.uid {
                known.show(pod);
                return None;
            }
            self.forget(&known);
        }
        let now = self.now();
        let mut inner = self.lock();
        let settings = inner.effective(&identity);
        let state = self.adopted(pod, &mut inner, now);
        let entry = Arc::new(PodEntry::new(pod, settings, state));
        inner.pods.insert(identity.key, Arc::clone(&entry));
        Some(entry)
    }

    /// A pod's first state; one that already runs (the fleet was restarted) keeps its address and stays as ready as it was.
    fn adopted(&self, pod: &Pod, inner: &mut Inner, now: Duration) -> PodState {
        let container = inner.next_container();
        let status = pod.status.as_ref();
        let address: Option<Ipv4Addr> = status
            .and_then(|status| status.pod_ip.as_deref())
            .and_then(|address| address.parse().ok());
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        // Its counters ended with the fleet that ran it, as in a container that was started again.
        let restarts = status
            .and_then(|status| status.container_statuses.as_ref()?.first())
            .and_then(|container| u32::try_from(container.restart_count).ok())
            .map_or(0, |restarts| restarts.saturating_add(1));
        if let Some(address) = address {
            inner.addresses.adopt(address);
        }
        let stamp = self.stamp(now);
        let pod_started = status
            .and_then(|status| status.start_time.as_ref())
            .map_or_else(|| stamp.clone(), |start| start.0.to_string());
        PodState {
            life: Life {
                started: address.map(|_| if ready { Duration::ZERO } else { now }),
                restarts,
                ..Life::default()
            },
            phase: Phase::Pending,
            bound_to: None,
            address,
            pod_started,
            container_started: stamp.clone(),
            ready_changed: stamp,
            values: self.fresh_values(now),
            container,
        }
    }

    fn fresh_values(&self, now: Duration) -> Values {
        let started = self.epoch_millis(now) as f64 / 1000.0;
        Values::new(started, |latency| self.template.ladder(latency))
    }

    /// Drops a pod that is no more.
    pub fn forget(&self, entry: &Arc<PodEntry>) {
        self.silence(entry);
        entry.gone.cancel();
        let mut inner = self.lock();
        if let Some(address) = entry.state().address {
            inner.addresses.release(address);
        }
        let key = &entry.identity.key;
        if inner.pods.get(key).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            inner.pods.remove(key);
            inner.pod_settings.remove(key);
        }
    }

    /// Closes a pod's server; its unfinished requests go elsewhere.
    pub fn silence(&self, entry: &Arc<PodEntry>) {
        let now = self.now();
        self.lock().leave(entry, now);
        entry.serving.send_modify(|serving| serving.mode = Mode::Closed);
    }

    /// An address and a running container for a pod that has none.
    pub fn start(&self, entry: &Arc<PodEntry>) -> Option<Ipv4Addr> {
        let now = self.now();
        let address = self.lock().addresses.take(entry.identity.inferenceset.as_ref())?;
        let mut state = entry.state();
        state.address = Some(address);
        state.life.started = Some(now);
        state.pod_started = self.stamp(now);
        state.container_started = self.stamp(now);
        state.ready_changed = self.stamp(now);
        state.values = self.fresh_values(now);
        Some(address)
    }

    /// The container ends and a new one starts: counters at zero, another cold start.
    pub fn restart(&self, entry: &Arc<PodEntry>) {
        let now = self.now();
        {
            let mut inner = self.lock();
            inner.leave(entry, now);
            let container = inner.next_container();
            let mut state = entry.state();
            state.container = container;
            state.life.started = Some(now);
            state.life.restarts = state.life.restarts.saturating_add(1);
            state.life.published = None;
            state.container_started = self.stamp(now);
            state.values = self.fresh_values(now);
        }
        entry.kick.notify_one();
    }

    /// The pod is in `phase` now: its server, its share of the load and its own load follow.
    pub fn enter(&self, entry: &Arc<PodEntry>, phase: Phase) {
        let now = self.now();
        {
            let mut state = entry.state();
            if (state.phase == Phase::Ready) != (phase == Phase::Ready) {
                state.ready_changed = self.stamp(now);
            }
            state.phase = phase;
        }
        self.follow(entry, now);
    }

    /// The pod is on its way out: no new requests, but it answers.
    pub fn note_termination(&self, entry: &Arc<PodEntry>) {
        let now = self.now();
        let container = {
            let mut state = entry.state();
            state.life.terminating_since = Some(now);
            state.container
        };
        if let Some(set) = entry.identity.inferenceset.as_ref() {
            let mut inner = self.lock();
            if let Some(set) = inner.sets.get_mut(set) {
                set.queue.close(now, container);
            }
        }
    }

    fn follow(&self, entry: &Arc<PodEntry>, now: Duration) {
        let settings = Arc::clone(&entry.settings.borrow());
        let (phase, container, address, terminating) = {
            let mut state = entry.state();
            let benchmark = state.phase == Phase::Warming && settings.benchmark().enabled;
            let stream = if benchmark {
                Some(BENCHMARK_STREAM)
            } else {
                settings.queue_time_rate.filter(|_| state.phase != Phase::Downloading)
            };
            state.values.set_stream(now, stream);
            let terminating = state.life.terminating_since.is_some();
            (state.phase, state.container, state.address, terminating)
        };
        if !entry.identity.serves() {
            return;
        }
        let mut inner = self.lock();
        match phase {
            Phase::Ready if !terminating => inner.join(entry, container, now),
            Phase::Ready | Phase::Unready | Phase::Warming => inner.close(entry, container, now),
            Phase::Pending | Phase::Downloading | Phase::CrashLoop => inner.leave(entry, now),
        }
        drop(inner);
        let mode = match phase {
            Phase::Pending | Phase::CrashLoop => Mode::Closed,
            Phase::Downloading => Mode::Download,
            Phase::Warming | Phase::Ready | Phase::Unready => Mode::Vllm,
        };
        let serving = Serving {
            address,
            mode,
            container,
        };
        entry.serving.send_if_modified(|current| {
            let changed = *current != serving;
            *current = serving;
            changed
        });
    }

    /// What the pod's server shows now.
    #[must_use]
    pub fn values(&self, entry: &PodEntry) -> Values {
        let now = self.now();
        let settings = Arc::clone(&entry.settings.borrow());
        let container = entry.state().container;
        let load = entry.identity.inferenceset.as_ref().and_then(|set| {
            let mut inner = self.lock();
            let set = inner.sets.get_mut(set)?;
            set.advance(now);
            Some(set.queue.load(container))
        });
        let mut state = entry.state();
        state.values.settle(now);
        let mut values = state.values.clone();
        let load = load.unwrap_or_default();
        if state.phase == Phase::Warming && settings.benchmark().enabled {
            values.waiting = BENCHMARK_WAITING;
            values.running = f64::from(settings.service().concurrency);
            values.kv_usage = BENCHMARK_KV_USAGE;
        } else {
            values.waiting = settings.waiting.unwrap_or(load.waiting as f64);
            values.running = settings.running.unwrap_or(load.running as f64);
            values.kv_usage = settings.kv_usage.unwrap_or(load.kv_usage);
        }
        values
    }

    /// Every InferenceSet that has pods or choices.
    #[must_use]
    pub fn sets(&self) -> Vec<SetReport> {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { sets, pods, .. } = &mut *inner;
        sets.iter_mut()
            .map(|(key, set)| {
                set.advance(now);
                SetReport {
                    namespace: key.namespace.clone(),
                    name: key.name.clone(),
                    settings: set.settings.clone(),
                    totals: set.queue.totals(),
                    pods: pods
                        .values()
                        .filter(|entry| entry.identity.inferenceset.as_ref() == Some(key))
                        .count(),
                }
            })
            .collect()
    }

    /// Plays the load of every InferenceSet up to now, so that nobody finds hours of it to catch up.
    pub fn advance(&self) {
        let now = self.now();
        for set in self.lock().sets.values_mut() {
            set.advance(now);
        }
    }

    /// The fault in force at a pod.
    #[must_use]
    pub fn fault(settings: &Settings) -> &Fault {
        settings.fault.as_ref().unwrap_or(&Fault::None)
    }
}

impl Inner {
    const fn next_container(&mut self) -> u64 {
        self.containers += 1;
        self.containers
    }
}

#[cfg(test)]
mod tests;
