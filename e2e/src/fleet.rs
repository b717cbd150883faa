//! Scheduler, kubelet, GPU nodes and vLLM servers of a test bed in which every pod address is local. Decisions are pure
//! (`lifecycle`, `nodes`, `addresses`, `status`, `answer`, `exposition`); `state` holds what is known; the rest carries
//! it out: `watch` and `keeper` towards the API server, `listener`, `kubelet_server` and `control` towards clients.

pub mod addresses;
pub mod answer;
pub mod api;
pub mod control;
pub mod exposition;
pub mod histogram;
pub mod keeper;
pub mod kubelet_server;
pub mod lifecycle;
pub mod listener;
pub mod node_keeper;
pub mod nodes;
pub mod number;
pub mod pod;
pub mod settings;
pub mod state;
pub mod status;
pub mod values;
pub mod watch;

/// Name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
