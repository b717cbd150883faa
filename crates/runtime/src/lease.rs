//! Leader election over one Lease: compare-and-swap writes, another holder's expiry judged on our own clock.
//! What two leaders must not both write goes through [`fenced`], and names the version it was decided on.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::{Identity, LeaseArgs};
use crate::error::ConfigError;
use crate::metrics::SharedRegistry;
use elector::Elector;

pub use fence::{NotLeading, fenced};

pub mod decide;
mod elector;
mod fence;

/// Which Lease, as whom, and how fast.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Unique to this process: a restarted container must not take itself for its predecessor.
    pub holder: String,
    /// How long others wait after they last saw us renew.
    pub duration: Duration,
    /// How long we try to renew before we give up.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// Checks the flags and makes the holder unique.
    ///
    /// # Errors
    /// As of [`LeaseArgs::validate`].
    pub fn new(args: &LeaseArgs, namespace: &str, name: &str, identity: &Identity) -> Result<Self, ConfigError> {
        args.validate()?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            holder: format!("{}_{:08x}", identity.name, rand::random::<u32>()),
            duration: args.lease_duration,
            renew_deadline: args.lease_renew_deadline,
            retry_period: args.lease_retry_period,
        })
    }

    /// Leaves time for a second try.
    fn call_deadline(&self) -> Duration {
        self.renew_deadline / 2
    }
}

/// Leadership was lost; the process must end, because what it did as the leader may be half done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("lost the lease {name:?}: held by {holder:?}")]
    Taken { name: String, holder: String },
    #[error("lost the lease {name:?}: could not renew it within {deadline:?}: {reason}")]
    NotRenewed {
        name: String,
        deadline: Duration,
        reason: String,
    },
}

/// Whether this process leads, as a metric.
#[derive(Clone, Debug, Default)]
pub struct LeaderStatus {
    gauge: Gauge,
}

impl LeaderStatus {
    /// Registers the gauge `leader`.
    #[must_use]
    pub fn register(registry: &SharedRegistry) -> Self {
        let status = Self::default();
        registry.register(|registry| {
            registry.register("leader", "1 while this process holds the lease, else 0", status.gauge.clone());
        });
        status
    }

    /// Whether this process leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.gauge.get() == 1
    }
}

/// Held by the work a leader does.
#[derive(Clone, Debug)]
pub struct Leader {
    token: CancellationToken,
    /// When others may take over; in the past once leadership has ended.
    until: watch::Receiver<Instant>,
    /// Between the last moment to renew and the end of the lease.
    margin: Duration,
}

impl Leader {
    /// Cancelled when leadership is lost or the process is asked to stop. The leader's work hangs off this token.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// How long nobody else can have taken over yet; zero when somebody may have.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Duration {
        if self.token.is_cancelled() {
            return Duration::ZERO;
        }
        self.until.borrow().saturating_duration_since(now)
    }
}

/// Waits for the lease, runs `work` while holding it, and releases it once the work has ended.
///
/// `None` when `shutdown` was cancelled before leadership. After a cancellation the work's own end is awaited, while the
/// lease is still renewed.
///
/// # Errors
/// Leadership was lost: the token is cancelled and the work dropped.
pub async fn lead<T, F, Fut>(
    client: Client,
    config: &LeaseConfig,
    status: &LeaderStatus,
    shutdown: &CancellationToken,
    work: F,
) -> Result<Option<T>, Error>
where
    F: FnOnce(Leader) -> Fut,
    Fut: Future<Output = T>,
{
    let api: Api<Lease> = Api::namespaced(client, &config.namespace);
    let mut elector = Elector::new(api, config);
    let Some(held) = shutdown.run_until_cancelled(elector.acquire()).await else {
        // The cancelled attempt may have been applied without us hearing of it.
        elector.release_if_ours().await;
        return Ok(None);
    };
    tracing::info!(lease = config.name, holder = config.holder, "became the leader");
    status.gauge.set(1);
    let (extend, until) = watch::channel(held + config.duration);
    let token = shutdown.child_token();
    let leader = Leader {
        token: token.clone(),
        until,
        margin: config.duration.saturating_sub(config.renew_deadline),
    };
    let outcome = tokio::select! {
        output = work(leader) => Ok(output),
        error = elector.keep(held, &extend) => Err(error),
    };
    // Whoever still holds the leader writes no more, whatever became of the work.
    extend.send_replace(Instant::now());
    status.gauge.set(0);
    token.cancel();
    match outcome {
        Ok(output) => {
            elector.release_if_ours().await;
            Ok(Some(output))
        }
        Err(error) => {
            tracing::error!(%error, "leadership is lost");
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
