//! When a view of the cluster was last confirmed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Reading side. Clones share it.
#[derive(Clone, Debug)]
pub struct Freshness {
    confirmed: watch::Receiver<Option<Instant>>,
}

/// Writing side.
#[derive(Debug)]
pub(super) struct Confirm {
    confirmed: watch::Sender<Option<Instant>>,
}

pub(super) fn channel() -> (Confirm, Freshness) {
    let (sender, receiver) = watch::channel(None);
    (Confirm { confirmed: sender }, Freshness { confirmed: receiver })
}

impl Freshness {
    /// Time since an event, bookmark, reopened watch or list last confirmed the view; `None` before the first complete
    /// list.
    #[must_use]
    pub fn confirmed_age(&self, now: Instant) -> Option<Duration> {
        self.confirmed.borrow().map(|at| now.saturating_duration_since(at))
    }

    /// Whether the first complete list is in the store.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.confirmed.borrow().is_some()
    }

    /// Waits for the first complete list; false when the watch ended before it.
    pub async fn synced(&self) -> bool {
        self.confirmed.clone().wait_for(Option::is_some).await.is_ok()
    }

    /// Whether somebody still confirms the view.
    pub(super) fn is_watched(&self) -> bool {
        self.confirmed.has_changed().is_ok()
    }
}

impl Confirm {
    pub(super) fn confirm(&self, now: Instant) {
        self.confirmed.send_replace(Some(now));
    }
}
