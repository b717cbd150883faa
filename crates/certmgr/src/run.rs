//! Wiring: client, watches, leadership, the loop. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::names;
use keda_kaito_runtime::client;
use keda_kaito_runtime::crds::wait_served;
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::lease::{self, Leader, LeaderStatus, LeaseConfig};
use keda_kaito_runtime::program::{About, Essential, ProcessContext};
use keda_kaito_runtime::watch::WatchMetrics;
use tokio::sync::{Notify, watch};

use crate::args::CertmgrArgs;
use crate::cluster::{Cluster, authentication_kind};
use crate::controller::{Controller, watches};
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;

/// What the process is called.
pub const ABOUT: About = About {
    name: "certmgr",
    product: names::APP_NAME,
    version: env!("CARGO_PKG_VERSION"),
    metric_prefix: "keda_kaito_certmgr",
};

/// Shutdown: the turn under way, then the lease; below the usual grace period of 30 s.
const GRACE: Duration = Duration::from_secs(15);
/// A turn still under way when leadership ends; its next write finds the lease gone, or loses the race.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Runs certmgr until it is asked to stop.
///
/// # Errors
/// Bad configuration, or the end of anything it cannot work without.
pub async fn run(args: CertmgrArgs, ctx: ProcessContext) -> anyhow::Result<()> {
    let crds = ctx.readiness.gate("crds", "waiting for the API server");
    let credentials = ctx.readiness.gate("credentials", "waiting for the API server");
    let config = args.pace.config()?;
    let working = args.place.working_namespace(&ctx.identity);
    let release = args.place.release_namespace(&ctx.identity);
    let wanted = args.place.leaf_names(&ctx.identity);
    let lease = LeaseConfig::new(&args.lease, &release, names::CERTMGR_LEASE, &ctx.identity)?;
    let clients = client::connect(&ctx.about.user_agent()).await?;
    tracing::info!(
        working_namespace = working,
        release_namespace = release,
        names = wanted.server.join(" "),
        "configured"
    );

    let changed = Arc::new(Notify::new());
    let (lead, leader) = watch::channel(None);
    let (idle, idles) = watch::channel(true);
    let (fence, fenced) = watch::channel(None);
    let writer = lease::fenced(clients.api.clone(), fenced);
    let watch_metrics = WatchMetrics::register(&ctx.registry);
    let mut tasks = Essential::new(ctx.shutdown.clone());
    for (name, driver) in watches(&clients.watch, &working, &watch_metrics, &changed, &ctx.shutdown) {
        tasks.spawn(name, driver);
    }
    let controller = Controller {
        reconciler: Reconciler {
            cluster: Cluster::new(writer.clone(), &working, &release),
            config: Arc::new(config),
            wanted: Arc::new(wanted),
            recorder: Recorder::new(writer, names::CERTMGR_FIELD_MANAGER, &ctx.identity.name, &ctx.registry),
            metrics: Metrics::register(&ctx.registry),
        },
        leader,
        idle,
        changed: Arc::clone(&changed),
        poll_interval: args.poll_interval,
        credentials,
    };
    tasks.spawn("controller", controller.run(ctx.shutdown.clone()));
    let status = LeaderStatus::register(&ctx.registry);
    let (api, shutdown) = (clients.api.clone(), ctx.shutdown.clone());
    tasks.spawn("leader election", async move {
        // Nothing is remembered that a lost lease could leave half done, so that it can simply be sought again.
        while !shutdown.is_cancelled() {
            let work = |leader| hold(leader, &fence, &lead, idles.clone());
            if lease::lead(api.clone(), &lease, &status, &shutdown, work).await.is_err() {
                lead.send_replace(None);
            }
        }
    });
    let shutdown = ctx.shutdown.clone();
    tasks.spawn("kinds", async move {
        // The Secrets do not wait for KEDA: the scaler can have its credentials before.
        if wait_served(&clients.api, &[authentication_kind()], &crds, &shutdown)
            .await
            .is_some()
        {
            changed.notify_one();
        }
        shutdown.cancelled().await;
    });
    tasks.join(GRACE).await
}

/// Lets the loop write for as long as this process leads.
async fn hold(
    leader: Leader,
    fence: &watch::Sender<Option<Leader>>,
    lead: &watch::Sender<Option<Leader>>,
    mut idles: watch::Receiver<bool>,
) {
    let token = leader.token().clone();
    fence.send_replace(Some(leader.clone()));
    lead.send_replace(Some(leader));
    token.cancelled().await;
    lead.send_replace(None);
    if tokio::time::timeout(HAND_OVER, idles.wait_for(|idle| *idle)).await.is_err() {
        tracing::warn!("a turn is still under way while the lease is released");
    }
}
