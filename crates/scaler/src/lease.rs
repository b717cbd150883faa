//! This replica's Lease: which credentials it serves, who still calls with older ones, how many targets it sees. certmgr and
//! provisioner read it; other replicas learn from it that they are blind. One write every 10 s, and one when what a rotation waits
//! for has changed; compare-and-swap.

mod object;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use keda_kaito_core::names;
use keda_kaito_runtime::readiness::Gate;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::callers::Callers;
use crate::cluster_time::ClusterTime;
use crate::metrics::Metrics;
use crate::registry::{self, Registry};
use crate::server::{Connections, Current};

pub use object::Owner;
use object::{Report, fresh_targets_elsewhere, lease};

/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at what a rotation waits for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one conversation with the API server may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Keeps the Lease.
pub struct Acknowledger {
    pub api: Api<Lease>,
    pub owner: Owner,
    pub registry: Registry,
    pub callers: Callers,
    pub connections: Connections,
    pub credentials: Current,
    /// Whether the port is open.
    pub listening: watch::Receiver<bool>,
    /// Closed while this replica sees nothing and another one does.
    pub sight: Gate,
    pub time: ClusterTime,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
}

impl Acknowledger {
    /// Renews until shutdown, and at once when credentials, callers or the port change; then says that this replica is gone.
    pub async fn run(mut self) {
        loop {
            let said = self.renew(true).await;
            self.look_around().await;
            let (mut credentials, mut listening) = (self.credentials.clone(), self.listening.clone());
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = self.otherwise_than(&said) => {}
                Ok(()) = credentials.changed() => {}
                Ok(()) = listening.changed() => {}
                () = self.shutdown.cancelled() => break,
            }
        }
        let _said = self.renew(false).await;
    }

    async fn renew(&mut self, held: bool) -> Report {
        self.credentials.mark_unchanged();
        self.listening.mark_unchanged();
        let report = self.report(held);
        let written = tokio::time::timeout(DEADLINE, self.write(&report)).await;
        let error = match written {
            Ok(Ok(())) => return report,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {} s", DEADLINE.as_secs()),
        };
        tracing::warn!(lease = self.owner.name, error, "failed to renew the Lease");
        report
    }

    /// Resolves when there is something new to say about callers and their connections: a rotation may wait for it.
    async fn otherwise_than(&self, said: &Report) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.report(true).callers() != said.callers() {
                return;
            }
        }
    }

    fn report(&self, held: bool) -> Report {
        let callers = self.callers.summary(Instant::now());
        let current = self.credentials.borrow().clone();
        let retired = |current| self.connections.count_untrusted(current, self.time.now());
        Report {
            held,
            serving: held && *self.listening.borrow(),
            generation: current.as_ref().map(|current| current.generation),
            retired_connections: current.as_deref().map_or(0, retired),
            lowest_epoch: callers.lowest_epoch,
            oldest_client: callers.oldest_client,
            callers_since: self.time.at(self.callers.since),
            fresh_targets: self.fresh_targets(),
            now: self.time.now(),
        }
    }

    fn fresh_targets(&self) -> usize {
        let now = self.registry.clock().at(Instant::now());
        let states = self.registry.all();
        states
            .iter()
            .map(|(_, state)| registry::lock(state).fresh(self.registry.timing(), now))
            .sum()
    }

    async fn write(&self, report: &Report) -> kube::Result<()> {
        let known = self.api.get_opt(&self.owner.name).await?;
        let lease = lease(&self.owner, known.as_ref(), report);
        let params = PostParams::default();
        match known {
            Some(_) => self.api.replace(&self.owner.name, &params, &lease).await?,
            None => self.api.create(&params, &lease).await?,
        };
        Ok(())
    }

    /// A replica that sees no target while another one sees some is cut off from the pods: it steps aside, so that KEDA
    /// dials the other.
    async fn look_around(&self) {
        let ours = self.fresh_targets();
        let blind = ours == 0 && self.elsewhere().await > 0;
        let was = self.registry.set_blind(blind);
        self.metrics.blind(blind);
        if blind {
            self.sight
                .close("seeing a model pod: another replica of the scaler sees some, this one none");
            self.connections.drain_all();
        } else {
            self.sight.open();
        }
        if blind != was {
            tracing::warn!(blind, "sight of the model pods has changed");
        }
    }

    /// Fresh targets of the other replica that sees most; 0 when that cannot be learnt, which blinds nobody.
    async fn elsewhere(&self) -> usize {
        let selector = format!("{}={}", names::COMPONENT_LABEL, names::SCALER_LEASE_COMPONENT);
        let params = ListParams::default().labels(&selector);
        match tokio::time::timeout(DEADLINE, self.api.list(&params)).await {
            Ok(Ok(leases)) => fresh_targets_elsewhere(&leases.items, &self.owner.name, self.time.now()),
            Ok(Err(_)) | Err(_) => 0,
        }
    }
}
