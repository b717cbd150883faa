//! Wiring: client, credentials, watches and engine, server, Lease. It decides nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::fleet::Timing;
use keda_kaito_core::names;
use keda_kaito_runtime::client::{self, Clients};
use keda_kaito_runtime::crds;
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::program::{About, Essential, ProcessContext};
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::watch::{WatchConfig, WatchMetrics, supervise};
use kube::Api;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::Rules;
use crate::args::ScalerArgs;
use crate::callers::Callers;
use crate::clock::Clock;
use crate::cluster_time::ClusterTime;
use crate::engine::{Engine, EngineConfig, MAX_REPORTS, Quotas};
use crate::explain::Explainer;
use crate::lease::{Acknowledger, Owner};
use crate::metrics::{self, Metrics};
use crate::registry::Registry;
use crate::registry::trigger::TriggerRules;
use crate::reporter::Reporter;
use crate::server::credentials::Follower;
use crate::server::health::follow;
use crate::server::{Connections, Patience, Server, routes};
use crate::service::Service;
use crate::tls::CallerRules;
use crate::watches::{Kinds, Watches, tolerance_changed, tolerance_in_force, wanted_kinds};

/// What the process is called.
pub const ABOUT: About = About {
    name: "scaler",
    product: names::APP_NAME,
    version: env!("CARGO_PKG_VERSION"),
    metric_prefix: "keda_kaito_scaler",
};

/// Shutdown: connections drain for 20 s; below the chart's grace period of 45 s.
const GRACE: Duration = Duration::from_secs(25);
/// How often served versions are looked up again.
const KINDS_EVERY: Duration = Duration::from_secs(30);
/// Finding the API server's addresses, once.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Runs the scaler until it is asked to stop.
///
/// # Errors
/// Bad configuration, or the end of anything it cannot work without.
pub async fn run(args: ScalerArgs, ctx: ProcessContext) -> anyhow::Result<()> {
    let crds = ctx.readiness.gate("crds", "waiting for the API server");
    let cache = ctx.readiness.gate("cache", "waiting for kinds to be served");
    let first_round = ctx.readiness.gate("first round", "waiting for the caches");
    let waiting = format!("waiting for Secret {}", names::SERVER_SECRET);
    let usable = ctx.readiness.gate("credentials", waiting);
    let sight = ctx.readiness.gate("sight", "waiting for the first look at other replicas");
    let ScalerArgs {
        common: _,
        serve,
        scrape,
        memory,
    } = args;
    let working = serve.working_namespace(&ctx.identity);
    let release = ctx.identity.namespace.clone().unwrap_or_else(|| working.clone());
    let clients = client::connect(&ctx.about.user_agent()).await?;
    tracing::info!(working_namespace = working, release_namespace = release, "configured");

    let metrics = Metrics::register(&ctx.registry);
    let watch_metrics = WatchMetrics::register(&ctx.registry);
    let timing = Timing {
        scrape_interval: scrape.scrape_interval,
        replica_deadline: scrape.replica_deadline,
        ..Timing::default()
    };
    let registry = Registry::keeping(Clock::start(), timing, memory.keeping());
    metrics::fleet::register(&ctx.registry, registry.clone());
    let callers = Callers::new(Instant::now(), serve.caller_active_for);
    let connections = Connections::default();
    let time = ClusterTime::default();
    let (publish, credentials) = watch::channel(None);
    let (opened, listening) = watch::channel(false);
    let (reports, reported) = mpsc::channel(MAX_REPORTS);
    let (speak, api_version) = watch::channel(String::new());
    let mut tasks = Essential::new(ctx.shutdown.clone());

    let config = WatchConfig {
        fields: Some(format!("metadata.name={}", names::SERVER_SECRET)),
        ..WatchConfig::default()
    };
    let secrets = Api::<Secret>::namespaced(clients.watch.clone(), &working);
    let (watched, driver) = supervise(secrets, config, &watch_metrics, ctx.shutdown.clone());
    tasks.spawn("watch of the Secret", driver);
    let follower = Follower {
        api: Api::namespaced(clients.api.clone(), &working),
        changes: watched.changes,
        publish,
        gate: usable,
        time: time.clone(),
        metrics: metrics.clone(),
    };
    let (learnt, client) = (time.clone(), clients.api.clone());
    let (measured, shutdown) = (metrics.clone(), ctx.shutdown.clone());
    tasks.spawn("time", async move { learnt.follow(&client, &measured, &shutdown).await });
    tasks.spawn("credentials", follower.run());

    let service = Service::new(
        registry.clone(),
        callers.clone(),
        credentials.clone(),
        &scrape.scrape_ports,
        metrics.clone(),
    );
    let (routes, health) = routes(service)?;
    let server = Arc::new(Server {
        credentials: credentials.clone(),
        rules: CallerRules {
            uris: serve.client_uris(&working),
        },
        connections: connections.clone(),
        patience: Patience {
            retire_within: serve.retire_within,
            age: serve.connection_age,
            ..Patience::default()
        },
        metrics: metrics.clone(),
        shutdown: ctx.shutdown.clone(),
    });
    let address = serve.grpc_address;
    tasks.spawn("gRPC server", async move {
        let listening = |address| {
            tracing::info!(%address, "serving KEDA");
            opened.send_replace(true);
        };
        server.serve(address, routes, listening).await
    });
    let (readiness, shutdown) = (ctx.readiness.clone(), ctx.shutdown.clone());
    tasks.spawn("health", async move { follow(health, readiness, shutdown).await });

    let acknowledger = Acknowledger {
        api: Api::namespaced(clients.api.clone(), &release),
        owner: Owner {
            name: ctx.identity.name.clone(),
            namespace: release,
            pod_uid: std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty()),
        },
        registry: registry.clone(),
        callers,
        connections,
        credentials,
        listening,
        sight,
        time,
        metrics: metrics.clone(),
        shutdown: ctx.shutdown.clone(),
    };
    tasks.spawn("Lease", acknowledger.run());
    let reporter = Reporter {
        reports: reported,
        recorder: Recorder::new(
            clients.api.clone(),
            "keda-kaito-scaler/scaler",
            &ctx.identity.name,
            &ctx.registry,
        ),
        api_version,
    };
    tasks.spawn("reporter", reporter.run());

    if let Some(address) = memory.explain_address {
        let explainer = Explainer {
            registry: registry.clone(),
            told_by: ctx.identity.name.as_str().into(),
        };
        let shutdown = ctx.shutdown.clone();
        let listening = |address| tracing::info!(%address, "explaining decisions");
        tasks.spawn("explain listener", async move {
            explainer.serve(address, listening, &shutdown).await
        });
    }

    let engine = Engine::new(EngineConfig {
        registry,
        metrics,
        rules: Arc::new(Rules {
            refused: api_server_addresses().await,
            loopback_allowed: scrape.allow_loopback_targets,
        }),
        quotas: Quotas {
            all: scrape.max_targets,
            namespace: scrape.max_targets_per_namespace,
        },
        identity: ctx.identity.name,
        reports,
        cache,
        first_round,
    });
    let sessions = Sessions {
        watching: Handle::current(),
        clients,
        ports: scrape.scrape_ports,
        watch_metrics,
        crds,
        speak,
    };
    let shutdown = ctx.shutdown.clone();
    tasks.spawn_on_thread("engine", async move { sessions.run(engine, &shutdown).await });
    tasks.join(GRACE).await
}

/// One set of watches after another, each with the versions that are served at the time. What the engine knows stays.
struct Sessions {
    /// Where watches run: reading long lists must not hold up the engine.
    watching: Handle,
    clients: Clients,
    ports: Vec<u16>,
    watch_metrics: WatchMetrics,
    crds: Gate,
    speak: watch::Sender<String>,
}

impl Sessions {
    async fn run(&self, mut engine: Engine, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let wanted = wanted_kinds();
        while let Some(served) = crds::wait_served(&self.clients.api, &wanted, &self.crds, shutdown).await {
            let Some(kinds) = Kinds::of(&served) else {
                anyhow::bail!("discovery answered fewer kinds than were asked for");
            };
            let Some(tolerance) = shutdown.run_until_cancelled(tolerance_in_force(&self.clients.api)).await else {
                break;
            };
            self.speak.send_replace(kinds.inference_set.api_version.clone());
            let rules = TriggerRules {
                ports: self.ports.clone(),
                tolerance_in_force: tolerance,
            };
            let stop = shutdown.child_token();
            let (mut watches, drivers) = Watches::start(&self.clients, kinds, &self.watch_metrics, &stop);
            let mut running = JoinSet::new();
            for driver in drivers {
                running.spawn_on(driver, &self.watching);
            }
            let changed = tokio::select! {
                () = engine.run(&mut watches, &rules) => false,
                _ended = running.join_next() => false,
                _change = crds::changed(&self.clients.api, &wanted, &served, KINDS_EVERY) => true,
                () = tolerance_changed(&self.clients.api, tolerance) => true,
            };
            stop.cancel();
            if shutdown.is_cancelled() {
                break;
            }
            anyhow::ensure!(changed, "the watches have ended");
            tracing::info!("starting over with what the API server serves now");
        }
        Ok(())
    }
}

/// Addresses that no pod may send us to. What cannot be resolved now cannot be refused by address; kubelets write podIPs,
/// so this is a second lock on the door.
async fn api_server_addresses() -> BTreeSet<IpAddr> {
    let mut hosts: Vec<String> = std::env::var("KUBERNETES_SERVICE_HOST").into_iter().collect();
    if let Ok(config) = kube::Config::infer().await {
        hosts.extend(config.cluster_url.host().map(|host| host.trim_matches(['[', ']']).to_owned()));
    }
    let mut addresses = BTreeSet::new();
    for host in hosts {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((host.as_str(), 443))).await;
        if let Ok(Ok(found)) = found {
            addresses.extend(found.map(|address| address.ip().to_canonical()));
        }
    }
    addresses
}
