//! A rotation with real certificates: after every write, every replica that may lag behind still meets every KEDA that
//! may lag behind.

use jiff::Timestamp;
use keda_kaito_core::credentials::{Cause, Phase, Step};
use keda_kaito_core::names;

use super::handshake::handshake;
use super::memory::{DAY, Memory, start};
use crate::stored::Stored;

const NAME: &str = "keda-kaito-scaler-svc.keda.svc";

/// Walks through a whole rotation and calls `seen` after every write.
fn rotate(memory: &mut Memory, mut seen: impl FnMut(&Step, &Memory)) {
    for day in 0..6 {
        let now = start() + day * DAY;
        while let Some(step) = memory.step(now) {
            seen(&step, memory);
        }
    }
}

/// The versions of both Secrets that somebody may still hold.
struct Held {
    servers: Vec<Stored>,
    clients: Vec<Stored>,
    met: usize,
}

impl Held {
    fn of(memory: &Memory) -> Self {
        Self {
            servers: vec![memory.server.clone().unwrap()],
            clients: vec![memory.client.clone().unwrap()],
            met: 0,
        }
    }

    /// A step into a later phase means that every replica holds the latest server Secret; one after the callers were
    /// waited for, that every caller holds the latest client Secret.
    fn after(&mut self, step: &Step, memory: &Memory, callers_known_from: Phase) {
        let Cause::Rotation(phase) = *step.cause() else { return };
        if phase >= Phase::Serve {
            self.servers.drain(..self.servers.len() - 1);
        }
        if phase >= callers_known_from && phase != Phase::Identify {
            self.clients.drain(..self.clients.len() - 1);
        }
        match step {
            Step::Server(_) => self.servers.push(memory.server.clone().unwrap()),
            Step::Client(_) => self.clients.push(memory.client.clone().unwrap()),
            Step::Authority { .. } | Step::Authentication { .. } => return,
        }
        for server in &self.servers {
            for client in &self.clients {
                handshake(server, client, NAME, later()).unwrap();
                self.met += 1;
            }
        }
    }
}

fn later() -> Timestamp {
    start() + 20 * DAY
}

#[test]
fn whoever_may_lag_behind_still_meets() {
    let mut memory = Memory::issued();
    memory.request("test");
    let (old_server, old_client) = (memory.server.clone().unwrap(), memory.client.clone().unwrap());
    let mut held = Held::of(&memory);
    rotate(&mut memory, |step, memory| held.after(step, memory, Phase::Retire));
    assert!(held.met >= 14, "{}", held.met);
    let (server, client) = (memory.server.clone().unwrap(), memory.client.clone().unwrap());
    let refused = handshake(&server, &old_client, NAME, later());
    assert!(refused.is_err(), "the retired client certificate is accepted");
    let refused = handshake(&old_server, &client, NAME, later());
    assert!(refused.is_err(), "the retired server certificate is accepted");
    let authority = memory.authority.unwrap();
    for key in [names::NEXT_CRT, names::NEXT_KEY, names::CROSS_CRT, names::RETIRING_CRT] {
        assert_eq!(authority.value(key), None, "{key}");
    }
}

#[test]
fn new_leaf_verifies_under_the_old_the_new_and_both_authorities() {
    let mut memory = Memory::issued();
    let old = memory.client.clone().unwrap();
    memory.request("test");
    let mut both = None;
    let mut crossed = None;
    let mut last = None;
    rotate(&mut memory, |step, memory| match step {
        Step::Client(_) => {
            both.get_or_insert_with(|| memory.client.clone().unwrap());
            last = memory.client.clone();
        }
        Step::Server(publication) if publication.cause == Cause::Rotation(Phase::Serve) => {
            crossed = memory.server.clone();
        }
        Step::Server(_) | Step::Authority { .. } | Step::Authentication { .. } => {}
    });
    let crossed = crossed.unwrap();
    for client in [old, both.unwrap(), last.unwrap()] {
        handshake(&crossed, &client, NAME, later()).unwrap();
    }
}

#[test]
fn old_private_key_is_erased_before_the_new_client_certificate_is_out() {
    let mut memory = Memory::issued();
    let key = memory.authority.as_ref().unwrap().text(names::CA_KEY).unwrap().to_owned();
    memory.request("test");
    let mut erased = false;
    rotate(&mut memory, |step, memory| {
        let authority = memory.authority.as_ref().unwrap();
        erased = authority.text(names::CA_KEY) != Some(key.as_str());
        if let Step::Client(publication) = step
            && publication.cause == Cause::Rotation(Phase::Identify)
        {
            assert!(erased);
            assert!(authority.value(names::RETIRING_CRT).is_some());
        }
        for secret in [&memory.server, &memory.client].into_iter().flatten() {
            let values = secret.0.data.as_ref().unwrap().values();
            assert!(
                values.into_iter().all(|value| value.0 != key.as_bytes()),
                "the key left its Secret"
            );
        }
    });
    assert!(erased);
}

#[test]
fn lost_authority_is_replaced_without_a_failed_handshake() {
    let mut memory = Memory::issued();
    memory.authority = None;
    let old = memory.client.clone().unwrap();
    let mut held = Held::of(&memory);
    rotate(&mut memory, |step, memory| held.after(step, memory, Phase::Serve));
    assert!(held.met >= 12, "{}", held.met);
    assert!(handshake(&memory.server.unwrap(), &old, NAME, later()).is_err());
}
