//! Follows the Secret and publishes what can be served. Bad input is said and counted, and changes nothing: the last good
//! configuration stays.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names::SERVER_SECRET;
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::watch::{Change, Changes};
use kube::Api;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster_time::ClusterTime;
use crate::metrics::Metrics;
use crate::tls::{Credentials, load};

/// Never sleep longer: the wall clock may jump.
const LONGEST: Duration = Duration::from_secs(3600);
/// Credentials that break with the present ones are taken once they have stood this long: a Secret that was spoilt is put
/// right sooner.
const STRANGE_FOR: Duration = Duration::from_secs(10);
/// Between two tries to read the Secret for the first time.
const RETRY: Duration = Duration::from_secs(2);

/// Where credentials come from and go.
pub struct Follower {
    pub api: Api<Secret>,
    pub changes: Changes<Secret>,
    pub publish: watch::Sender<Option<Arc<Credentials>>>,
    pub gate: Gate,
    pub time: ClusterTime,
    pub metrics: Metrics,
}

impl Follower {
    /// Runs until the watch ends.
    pub async fn run(mut self) {
        let mut newest: Option<Arc<Secret>> = None;
        let mut strange: Option<Instant> = None;
        loop {
            let recheck = tokio::time::sleep(self.until_recheck(self.time.now(), strange));
            let corrected = self.time.changes();
            tokio::select! {
                change = self.changes.next() => match change {
                    Some(Change::Applied(secret)) => {
                        newest = Some(secret);
                        strange = None;
                    }
                    Some(Change::Deleted(_)) => {
                        newest = None;
                        strange = None;
                        self.refuse("the Secret was deleted");
                        continue;
                    }
                    None => return,
                },
                () = recheck => {}
                // What seemed expired may not be.
                () = corrected => {}
            }
            if self.publish.borrow().is_none() && newest.is_some() {
                newest = self.newest_of_all().await;
            }
            if let Some(secret) = &newest {
                strange = self.take(secret, strange);
            }
        }
    }

    /// The list may come from a cache that lags. A replica that says it is ready must not start behind a rotation.
    async fn newest_of_all(&self) -> Option<Arc<Secret>> {
        loop {
            match self.api.get_opt(SERVER_SECRET).await {
                Ok(secret) => return secret.map(Arc::new),
                Err(error) => {
                    tracing::warn!(%error, secret = SERVER_SECRET, "failed to read the Secret");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Publishes what can be served; returns since when it has been too strange for that.
    fn take(&self, secret: &Secret, strange: Option<Instant>) -> Option<Instant> {
        match load(secret, &self.time) {
            Ok(credentials) => {
                if let Some(why) = self.break_with(&credentials) {
                    let since = strange.unwrap_or_else(Instant::now);
                    if since.elapsed() < STRANGE_FOR {
                        self.refuse(why);
                        return Some(since);
                    }
                }
                let generation = credentials.generation;
                let before = self.publish.borrow().as_ref().map(|credentials| credentials.generation);
                self.metrics.credentials(&credentials);
                self.gate.open();
                self.publish.send_replace(Some(Arc::new(credentials)));
                if before != Some(generation) {
                    tracing::info!(generation, "serving with new credentials");
                }
            }
            Err(error) => self.refuse(&error.to_string()),
        }
        None
    }

    /// How credentials break with those that are served, under which callers hold theirs.
    fn break_with(&self, credentials: &Credentials) -> Option<&'static str> {
        let current = self.publish.borrow().clone()?;
        if current.not_after < self.time.now() {
            None
        } else if !credentials.trusts_own_leaf() {
            Some("the certificate is none of the authorities in the same Secret")
        } else if !credentials.shares_an_authority_with(&current) {
            Some("it shares no authority with the credentials that are served")
        } else {
            None
        }
    }

    fn refuse(&self, reason: &str) {
        self.metrics.credentials_refused();
        let serving = self.publish.borrow().is_some();
        if !serving {
            self.gate.close(format!("Secret {SERVER_SECRET}: {reason}"));
        }
        tracing::warn!(
            secret = SERVER_SECRET,
            reason,
            serving,
            "cannot use the Secret; the last good credentials stay"
        );
    }

    /// Expired roots have to be dropped when they expire, not when the Secret next changes.
    fn until_recheck(&self, now: Timestamp, strange: Option<Instant>) -> Duration {
        if let Some(since) = strange {
            return STRANGE_FOR.saturating_sub(since.elapsed());
        }
        let ends = self.publish.borrow().as_ref().map(|credentials| credentials.first_root_ends);
        let left = ends.and_then(|ends| Duration::try_from(ends.duration_since(now)).ok());
        left.map_or(LONGEST, |left| (left + Duration::from_secs(1)).min(LONGEST))
    }
}
