//! Wiring: client, leadership, sessions. It decides nothing.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::names;
use keda_kaito_runtime::client::{self, Clients};
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::lease::{self, Leader, LeaderStatus, LeaseConfig};
use keda_kaito_runtime::pace::Pace;
use keda_kaito_runtime::program::{About, Essential, ProcessContext};
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::watch::WatchMetrics;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::ProvisionerArgs;
use crate::controller::{Controller, watches};
use crate::discovery::{self, Served};
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;

/// What the process is called.
pub const ABOUT: About = About {
    name: "provisioner",
    product: names::APP_NAME,
    version: env!("CARGO_PKG_VERSION"),
    metric_prefix: "keda_kaito_provisioner",
};

/// Shutdown: reconciliations, then the lease; below the usual grace period of 30 s.
const GRACE: Duration = Duration::from_secs(15);
/// Credential epochs reach at most 10 objects a second, jitter included.
const CREDENTIALS_EVERY: Duration = Duration::from_millis(120);
/// Reconciliations still under way when leadership ends.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Runs the provisioner until it is asked to stop.
///
/// # Errors
/// Bad configuration, or the end of anything it cannot work without.
pub async fn run(args: ProvisionerArgs, ctx: ProcessContext) -> anyhow::Result<()> {
    let crds = ctx.readiness.gate("crds", "waiting for the API server");
    let cache = ctx.readiness.gate("cache", "waiting for kinds to be served");
    let ProvisionerArgs {
        common: _,
        lease,
        address,
        require_scaler,
        api_writes_per_second,
        server,
    } = args;
    let namespace = address.release_namespace(&ctx.identity);
    let scaler_address = address.scaler_address(&ctx.identity);
    let lease = LeaseConfig::new(&lease, &namespace, names::PROVISIONER_LEASE, &ctx.identity)?;
    let clients = client::connect(&ctx.about.user_agent()).await?;
    tracing::info!(namespace, scaler_address, require_scaler, "configured");

    let metrics = Metrics::register(&ctx.registry);
    let now = Instant::now();
    let interval = Duration::from_secs(1) / api_writes_per_second;
    let (fence, fenced) = watch::channel(None);
    let writer = lease::fenced(clients.api.clone(), fenced);
    let reconciler =
        Reconciler {
            client: writer.clone(),
            recorder: Recorder::new(writer, names::PROVISIONER_FIELD_MANAGER, &ctx.identity.name, &ctx.registry)
                .paced(Pace::new(interval, api_writes_per_second, now)),
            metrics,
            writes: Arc::new(Mutex::new(Pace::new(interval, api_writes_per_second, now))),
            credentials: Arc::new(Mutex::new(Pace::new(CREDENTIALS_EVERY, 1, now))),
        };
    let (lead, leading) = watch::channel(false);
    let (idle, idles) = watch::channel(true);
    let sessions = Sessions {
        clients: clients.clone(),
        reconciler,
        scaler_address,
        max_num_seqs: server.max_num_seqs,
        leases: require_scaler.then(|| namespace.clone()),
        watch_metrics: WatchMetrics::register(&ctx.registry),
        leading,
        idle,
        crds,
        cache,
    };
    let status = LeaderStatus::register(&ctx.registry);
    let mut tasks = Essential::new(ctx.shutdown.clone());
    let shutdown = ctx.shutdown.clone();
    tasks.spawn("controller", async move { sessions.run(&shutdown).await });
    let shutdown = ctx.shutdown.clone();
    tasks.spawn("leader election", async move {
        // Nothing is remembered that a lost lease could leave half done, so that it can simply be sought again.
        while !shutdown.is_cancelled() {
            let work = |leader| hold(leader, &fence, &lead, idles.clone());
            if lease::lead(clients.api.clone(), &lease, &status, &shutdown, work)
                .await
                .is_err()
            {
                lead.send_replace(false);
            }
        }
    });
    tasks.join(GRACE).await
}

/// Lets the controller act, and its writes pass, for as long as this process leads.
async fn hold(
    leader: Leader,
    fence: &watch::Sender<Option<Leader>>,
    lead: &watch::Sender<bool>,
    mut idles: watch::Receiver<bool>,
) {
    let token = leader.token().clone();
    fence.send_replace(Some(leader));
    lead.send_replace(true);
    token.cancelled().await;
    lead.send_replace(false);
    let handed_over = tokio::time::timeout(HAND_OVER, idles.wait_for(|idle| *idle)).await;
    if handed_over.is_err() {
        tracing::warn!("reconciliations are still under way while the lease is released");
    }
}

struct Sessions {
    clients: Clients,
    reconciler: Reconciler,
    scaler_address: String,
    max_num_seqs: u32,
    leases: Option<String>,
    watch_metrics: WatchMetrics,
    leading: watch::Receiver<bool>,
    idle: watch::Sender<bool>,
    crds: Gate,
    cache: Gate,
}

impl Sessions {
    /// One session after another, each with the versions that are served at the time.
    async fn run(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        while let Some(served) = discovery::wait(&self.clients.api, &self.crds, shutdown).await {
            let stop = shutdown.child_token();
            let change = {
                let mut session = pin!(self.session(&served, &stop));
                tokio::select! {
                    result = &mut session => {
                        result?;
                        None
                    }
                    change = discovery::changed(&self.clients.api, &served) => {
                        stop.cancel();
                        session.await?;
                        Some(change)
                    }
                }
            };
            stop.cancel();
            match change {
                Some(change) => tracing::info!(change, "starting over with what is served now"),
                None if shutdown.is_cancelled() => break,
                None => anyhow::bail!("the watches have ended"),
            }
        }
        Ok(())
    }

    async fn session(&self, served: &Served, stop: &CancellationToken) -> anyhow::Result<()> {
        let (mut watches, drivers) =
            watches::watches(&self.clients.watch, served, self.leases.as_deref(), &self.watch_metrics, stop);
        let mut running = JoinSet::new();
        for (_, driver) in drivers {
            running.spawn(driver);
        }
        let synced = stop.run_until_cancelled(watches.synced(&self.cache)).await;
        if synced != Some(true) {
            return Ok(());
        }
        let controller = Controller {
            reconciler: self.reconciler.clone(),
            options: RenderOptions {
                scaler_address: self.scaler_address.clone(),
                inference_set_api_version: served.inference_sets.api_version.clone(),
                credential_epoch: None,
                tolerance_in_force: served.tolerance_in_force,
                max_num_seqs: self.max_num_seqs,
            },
            require_scaler: self.leases.is_some(),
            leading: self.leading.clone(),
            idle: self.idle.clone(),
        };
        let mut work = pin!(controller.run(watches, stop));
        tokio::select! {
            () = &mut work => {}
            Some(ended) = running.join_next() => {
                ended?;
                // Asked to stop, the watches end first and the controller has something to finish.
                if stop.is_cancelled() {
                    work.await;
                }
            }
        }
        Ok(())
    }
}
