//! The open connections: who is on them, and which have to go because their credentials or this replica no longer serve.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::Current;
use crate::tls::{Caller, Credentials};

/// Most connections at once.
pub const MAX_CONNECTIONS: usize = 256;

/// Open connections. Clones share them.
#[derive(Clone, Default)]
pub struct Connections {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    caller: Caller,
    chain: Vec<CertificateDer<'static>>,
    /// By the credentials of a generation.
    trusted: Option<(u64, bool)>,
    drain: CancellationToken,
    within: Duration,
}

/// Keeps one connection in the list for as long as it lives.
pub(super) struct Entry {
    id: u64,
    drain: CancellationToken,
    connections: Connections,
}

impl Connections {
    /// Lists a connection; `None` when there are too many.
    pub(super) fn enter(&self, caller: Caller, chain: Vec<CertificateDer<'static>>) -> Option<Entry> {
        let mut inner = self.lock();
        if inner.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let id = inner.next;
        inner.next += 1;
        let drain = CancellationToken::new();
        inner.open.insert(
            id,
            Open {
                caller,
                chain,
                trusted: None,
                drain: drain.clone(),
                within: Duration::ZERO,
            },
        );
        drop(inner);
        Some(Entry {
            id,
            drain,
            connections: self.clone(),
        })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// `notBefore` of the oldest client certificate on an open connection.
    pub fn oldest_client(&self) -> Option<Timestamp> {
        self.lock().open.values().map(|open| open.caller.not_before).min()
    }

    /// How many are open whose callers `credentials` would not let in: they are on their way out.
    pub fn count_untrusted(&self, credentials: &Credentials, now: Timestamp) -> usize {
        let mut inner = self.lock();
        let trusted = inner.open.values_mut().map(|open| open.is_trusted(credentials, now));
        trusted.filter(|trusted| !trusted).count()
    }

    /// Asks every connection to end at once.
    pub fn drain_all(&self) {
        self.drain(|_| true, Duration::ZERO);
    }

    /// Whenever the credentials change, asks connections to end whose callers the new ones would not let in, spread over
    /// `within`. Never ends.
    pub(super) async fn retire_untrusted(&self, mut credentials: Current, within: Duration) {
        while credentials.changed().await.is_ok() {
            let current = credentials.borrow_and_update().clone();
            if let Some(current) = current {
                self.drain_untrusted(&current, within);
            }
        }
        std::future::pending::<()>().await;
    }

    fn drain_untrusted(&self, credentials: &Credentials, within: Duration) {
        let now = credentials.now();
        self.drain(|open| !open.is_trusted(credentials, now), within);
    }

    fn drain(&self, which: impl Fn(&mut Open) -> bool, within: Duration) {
        for open in self.lock().open.values_mut() {
            if which(open) && !open.drain.is_cancelled() {
                open.within = within;
                open.drain.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Signatures are verified once per generation, not whenever somebody counts.
    fn is_trusted(&mut self, credentials: &Credentials, now: Timestamp) -> bool {
        match self.trusted {
            Some((generation, trusted)) if generation == credentials.generation => trusted,
            _ => {
                let trusted = credentials.trusts(&self.chain, now);
                self.trusted = Some((credentials.generation, trusted));
                trusted
            }
        }
    }
}

impl Entry {
    /// For a connection whose handshake began under older credentials than the present ones: whether it may stay.
    pub(super) fn judge(&self, credentials: &Credentials, within: Duration) {
        let now = credentials.now();
        let mut inner = self.connections.lock();
        if let Some(open) = inner.open.get_mut(&self.id)
            && !open.is_trusted(credentials, now)
        {
            open.within = within;
            open.drain.cancel();
        }
    }

    /// Resolves when the connection was asked to end and its share of the spreading has passed.
    pub(super) async fn drained(&self) {
        self.drain.cancelled().await;
        let within = self.connections.lock().open.get(&self.id).map(|open| open.within);
        tokio::time::sleep(within.unwrap_or_default().mul_f64(rand::random_range(0.0..1.0))).await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}
