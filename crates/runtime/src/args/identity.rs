//! Who this process is, from the downward API in a cluster and from the host outside one.

use std::env;

/// Name and namespace under which the process acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Pod name, or host name and process id outside a cluster.
    pub name: String,
    /// Pod namespace; absent outside a cluster.
    pub namespace: Option<String>,
}

impl Identity {
    /// Reads `POD_NAME` and `POD_NAMESPACE`; an empty variable counts as absent.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|key| env::var(key).ok())
    }

    pub(super) fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |key: &str| var(key).filter(|value| !value.is_empty());
        Self {
            name: set("POD_NAME").unwrap_or_else(host_and_process),
            namespace: set("POD_NAMESPACE"),
        }
    }
}

fn host_and_process() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("{host}-{}", std::process::id())
}
