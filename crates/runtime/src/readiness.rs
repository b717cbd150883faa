//! Named gates that together say whether the process is ready, and what it waits for.
//! It does not serve them; `admin` does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All gates of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, State>>>,
}

/// One named condition for being ready. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    name: String,
    readiness: Readiness,
}

/// A gate that keeps the process from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedGate {
    /// The gate's name.
    pub name: String,
    /// What it waits for.
    pub reason: String,
}

#[derive(Clone, Debug)]
struct State {
    open: bool,
    reason: String,
}

impl Readiness {
    /// Adds a closed gate; `reason` says what it waits for. A gate of the same name is closed and shared.
    #[must_use]
    pub fn gate(&self, name: impl Into<String>, reason: impl Into<String>) -> Gate {
        let gate = Gate {
            name: name.into(),
            readiness: self.clone(),
        };
        gate.close(reason);
        gate
    }

    /// The closed gates by name; empty means ready. A process that has no gate yet is not ready.
    #[must_use]
    pub fn closed(&self) -> Vec<ClosedGate> {
        let gates = self.lock();
        if gates.is_empty() {
            return vec![ClosedGate {
                name: "start".to_owned(),
                reason: "the process has only just started".to_owned(),
            }];
        }
        gates
            .iter()
            .filter(|(_, state)| !state.open)
            .map(|(name, state)| ClosedGate {
                name: name.clone(),
                reason: state.reason.clone(),
            })
            .collect()
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.closed().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        self.set(true, String::new());
    }

    /// The condition does not hold; `reason` says what is waited for.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(false, reason.into());
    }

    /// Changes what a closed gate waits for; an open gate stays open.
    pub fn set_reason(&self, reason: impl Into<String>) {
        if let Some(state) = self.readiness.lock().get_mut(&self.name)
            && !state.open
        {
            state.reason = reason.into();
        }
    }

    fn set(&self, open: bool, reason: String) {
        self.readiness.lock().insert(self.name.clone(), State { open, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::{ClosedGate, Readiness};

    fn closed(readiness: &Readiness) -> Vec<String> {
        readiness
            .closed()
            .into_iter()
            .map(|ClosedGate { name, reason }| format!("{name}: {reason}"))
            .collect()
    }

    #[test]
    fn process_without_gates_is_not_ready() {
        assert!(!Readiness::default().is_ready());
    }

    #[test]
    fn process_is_ready_once_every_gate_is_open() {
        let readiness = Readiness::default();
        let crds = readiness.gate("crds", "waiting for kinds");
        let cache = readiness.gate("cache", "waiting for lists");
        assert_eq!(closed(&readiness), ["cache: waiting for lists", "crds: waiting for kinds"]);
        crds.open();
        assert_eq!(closed(&readiness), ["cache: waiting for lists"]);
        cache.open();
        assert!(readiness.is_ready());
    }

    #[test]
    fn gate_can_close_again_with_another_reason() {
        let readiness = Readiness::default();
        let gate = readiness.gate("tls", "waiting for a certificate");
        gate.open();
        gate.close("the certificate has expired");
        assert_eq!(closed(&readiness), ["tls: the certificate has expired"]);
    }

    #[test]
    fn changing_the_reason_does_not_close_an_open_gate() {
        let readiness = Readiness::default();
        let gate = readiness.gate("crds", "waiting");
        gate.set_reason("waiting for Widget");
        assert_eq!(closed(&readiness), ["crds: waiting for Widget"]);
        gate.open();
        gate.set_reason("late");
        assert!(readiness.is_ready());
    }
}
