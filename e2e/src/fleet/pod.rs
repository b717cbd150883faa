//! One pod as the fleet knows it: who it is, what the API server last showed, what its server shall do and how often it
//! was asked. It decides nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Key;
use super::answer::{Form, Mode};
use super::lifecycle::{Life, Phase};
use super::settings::Settings;
use super::values::Values;

const INFERENCESET_LABEL: &str = "inferenceset.kaito.sh/created-by";
const WORKSPACE_LABEL: &str = "kaito.sh/workspace";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// What the pod's listener shall do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    pub address: Option<Ipv4Addr>,
    pub mode: Mode,
    /// The container's number; another one means a restart, which cuts every connection.
    pub container: u64,
}

/// What changes during a pod's life.
#[derive(Debug)]
pub struct PodState {
    pub life: Life,
    pub phase: Phase,
    pub bound_to: Option<String>,
    pub address: Option<Ipv4Addr>,
    pub pod_started: String,
    pub container_started: String,
    pub ready_changed: String,
    pub values: Values,
    /// Number of the current container, unique in the fleet; the load model's name for it.
    pub container: u64,
}

/// Counts of what a server was asked.
#[derive(Debug, Default)]
pub struct Stats {
    full: AtomicU64,
    filtered: AtomicU64,
    unfiltered: AtomicU64,
    health: AtomicU64,
    other: AtomicU64,
    /// Milliseconds since the epoch; 0 for never.
    pub last_scrape: AtomicU64,
    pub accepted: AtomicU64,
    pub open: AtomicU64,
}

impl Stats {
    const fn counter(&self, form: Form) -> &AtomicU64 {
        match form {
            Form::Full => &self.full,
            Form::Filtered => &self.filtered,
            Form::Unfiltered => &self.unfiltered,
            Form::Health => &self.health,
            Form::Other => &self.other,
        }
    }

    /// Counts one request at `now` (milliseconds since the epoch); returns how many of its form came before.
    pub fn count(&self, form: Form, now: u64) -> u64 {
        if matches!(form, Form::Full | Form::Filtered | Form::Unfiltered) {
            self.last_scrape.store(now, Ordering::Relaxed);
        }
        self.counter(form).fetch_add(1, Ordering::Relaxed)
    }

    #[must_use]
    pub fn requests(&self) -> BTreeMap<Form, u64> {
        [Form::Full, Form::Filtered, Form::Unfiltered, Form::Health, Form::Other]
            .into_iter()
            .map(|form| (form, self.counter(form).load(Ordering::Relaxed)))
            .collect()
    }
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: Key,
    pub uid: String,
    pub inferenceset: Option<Key>,
    pub workspace: Option<String>,
    pub index: u32,
}

impl Identity {
    /// Read from the pod's metadata.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let namespace = pod.namespace().unwrap_or_default();
        let name = pod.name_any();
        let label = |key: &str| pod.labels().get(key).cloned();
        let index = label(INDEX_LABEL)
            .or_else(|| name.rsplit_once('-').map(|(_, tail)| tail.to_owned()))
            .and_then(|tail| tail.parse().ok())
            .unwrap_or_default();
        Self {
            inferenceset: label(INFERENCESET_LABEL).map(|set| Key::new(&namespace, &set)),
            workspace: label(WORKSPACE_LABEL),
            uid: pod.uid().unwrap_or_default(),
            index,
            key: Key { namespace, name },
        }
    }

    /// Only the first pod of a Workspace serves the API and the metrics.
    #[must_use]
    pub const fn serves(&self) -> bool {
        self.workspace.is_some() && self.index == 0
    }

    /// The name the model is served under: the InferenceSet's, or a lone Workspace's.
    #[must_use]
    pub fn model(&self) -> &str {
        self.inferenceset
            .as_ref()
            .map(|set| set.name.as_str())
            .or(self.workspace.as_deref())
            .unwrap_or(&self.key.name)
    }
}

/// One pod.
#[derive(Debug)]
pub struct PodEntry {
    pub identity: Identity,
    pub object: watch::Sender<Arc<Pod>>,
    pub settings: watch::Sender<Arc<Settings>>,
    pub serving: watch::Sender<Serving>,
    /// Told when something changed that neither of the channels carries.
    pub kick: Notify,
    pub gone: CancellationToken,
    pub stats: Stats,
    state: Mutex<PodState>,
}

impl PodEntry {
    pub(super) fn new(pod: &Pod, settings: Settings, state: PodState) -> Self {
        Self {
            identity: Identity::of(pod),
            object: watch::Sender::new(Arc::new(trimmed(pod))),
            settings: watch::Sender::new(Arc::new(settings)),
            serving: watch::Sender::default(),
            kick: Notify::new(),
            gone: CancellationToken::new(),
            stats: Stats::default(),
            state: Mutex::new(state),
        }
    }

    /// The changing part. Never held while the fleet's own lock is taken.
    pub fn state(&self) -> MutexGuard<'_, PodState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server's newest view.
    pub fn show(&self, pod: &Pod) {
        self.object.send_replace(Arc::new(trimmed(pod)));
    }
}

/// The parts of a pod that are read here; thousands are kept.
fn trimmed(pod: &Pod) -> Pod {
    let slim = |container: &Container| Container {
        name: container.name.clone(),
        image: container.image.clone(),
        ..Container::default()
    };
    let mut metadata = pod.metadata.clone();
    metadata.managed_fields = None;
    metadata.annotations = None;
    metadata.owner_references = None;
    Pod {
        metadata,
        spec: pod.spec.as_ref().map(|spec| PodSpec {
            node_name: spec.node_name.clone(),
            node_selector: spec.node_selector.clone(),
            affinity: spec.affinity.clone(),
            containers: spec.containers.iter().map(slim).collect(),
            init_containers: spec
                .init_containers
                .as_ref()
                .map(|containers| containers.iter().map(slim).collect()),
            ..PodSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.namespace = Some("shop".to_owned());
        pod.metadata.labels = Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        pod
    }

    #[test]
    fn only_the_first_pod_of_a_workspace_serves() {
        let labels = [(WORKSPACE_LABEL, "phi-abcde"), (INFERENCESET_LABEL, "phi")];
        let first = Identity::of(&pod("phi-abcde-0", &labels));
        assert!(first.serves());
        assert_eq!(first.model(), "phi");
        assert_eq!(first.inferenceset, Some(Key::new("shop", "phi")));
        assert!(!Identity::of(&pod("phi-abcde-1", &labels)).serves());
        assert!(!Identity::of(&pod("web-0", &[])).serves());
    }

    #[test]
    fn the_index_label_wins_over_the_name() {
        let labels = [(WORKSPACE_LABEL, "w"), (INDEX_LABEL, "3")];
        assert_eq!(Identity::of(&pod("w-0", &labels)).index, 3);
    }

    #[test]
    fn requests_are_counted_by_form_and_only_scrapes_set_the_time() {
        let stats = Stats::default();
        assert_eq!(stats.count(Form::Health, 5), 0);
        assert_eq!(stats.last_scrape.load(Ordering::Relaxed), 0);
        stats.count(Form::Filtered, 7);
        assert_eq!(stats.count(Form::Filtered, 9), 1);
        assert_eq!(stats.requests()[&Form::Filtered], 2);
        assert_eq!(stats.last_scrape.load(Ordering::Relaxed), 9);
    }
}
