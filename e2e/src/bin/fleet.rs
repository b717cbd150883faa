//! `fleet`: scheduler, kubelet, GPU nodes and vLLM servers of a test bed. Flags and wiring; the parts are in the library.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use keda_kaito_e2e::fleet::addresses::Addresses;
use keda_kaito_e2e::fleet::keeper::Keeping;
use keda_kaito_e2e::fleet::node_keeper::Nodes;
use keda_kaito_e2e::fleet::nodes::Machine;
use keda_kaito_e2e::fleet::state::Fleet;
use keda_kaito_e2e::fleet::{control, kubelet_server, watch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

/// The load of every InferenceSet is played at least this often.
const ADVANCE_EVERY: Duration = Duration::from_millis(200);

/// Stands in for scheduler, kubelet, GPU nodes and vLLM servers in a test bed
#[derive(Debug, Parser)]
#[command(name = "fleet", version)]
struct Args {
    /// Credentials for the API server; the usual search if absent
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Where the kubelet's HTTPS port listens; also the nodes' address
    #[arg(long, default_value = "10.244.255.1:10250")]
    kubelet_address: SocketAddr,
    /// Where the control API listens
    #[arg(long, default_value = "10.244.255.1:9900")]
    control_address: SocketAddr,
    /// First two octets of the pods' addresses
    #[arg(long, default_value = "10.244.")]
    pod_cidr_prefix: String,
    /// Seconds from a container's start to Ready, unless the control API says otherwise; `1s`, `250ms` and `2m` work too
    #[arg(long, default_value = "1s", value_parser = duration)]
    cold_start: Duration,
    /// Nodes for each distinct node selector
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Memory per GPU in MiB, from which KAITO estimates how many nodes a replica needs
    #[arg(long, default_value_t = 81_920)]
    gpu_memory: u64,
    /// Log filter
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_error| format!("{text:?} is not a duration"))?;
    let factor = match text.get(digits.len()..) {
        Some("" | "s") => 1.0,
        Some("ms") => 0.001,
        Some("m") => 60.0,
        _ => return Err(format!("{text:?} has an unknown unit; ms, s and m are known")),
    };
    let duration = Duration::try_from_secs_f64(number * factor).map_err(|error| format!("{text:?}: {error}"))?;
    if duration > Duration::from_hours(24) {
        return Err(format!("{text:?} is longer than a day"));
    }
    Ok(duration)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log).with_context(|| format!("log filter {:?}", args.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    raise_file_limit();
    run(args).await
}

/// A listener and some connections per pod are more descriptors than a shell allows by default.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let client = client(args.kubeconfig.as_deref()).await?;
    let addresses = Addresses::below(&args.pod_cidr_prefix).with_context(|| {
        format!(
            "--pod-cidr-prefix {:?} must be two octets, such as \"10.244.\"",
            args.pod_cidr_prefix
        )
    })?;
    let fleet = Arc::new(Fleet::new(addresses, args.cold_start));
    let mut tasks = JoinSet::new();

    // The log port comes before the nodes and the pods: KAITO reads a log once and gives up for ever.
    let kubelet = TcpListener::bind(args.kubelet_address)
        .await
        .with_context(|| format!("--kubelet-address {}", args.kubelet_address))?;
    tasks.spawn(kubelet_server::serve(Arc::clone(&fleet), kubelet));

    let machine = Machine {
        gpu_memory: args.gpu_memory,
        address: args.kubelet_address.ip().to_string(),
        port: args.kubelet_address.port(),
    };
    let nodes = Arc::new(Nodes::create(client.clone(), machine, args.nodes).await?);
    tasks.spawn(Arc::clone(&nodes).follow_inferencesets());

    let host_ip = args.kubelet_address.ip().to_string();
    let keeping = Keeping::new(Arc::clone(&fleet), Arc::clone(&nodes), host_ip, client.clone());
    tasks.spawn(watch::follow_pods(client, Arc::new(keeping)));
    tasks.spawn(play(Arc::clone(&fleet)));

    // Last, so that an answer from it means that everything runs.
    let listener = TcpListener::bind(args.control_address)
        .await
        .with_context(|| format!("--control-address {}", args.control_address))?;
    tracing::info!(control = %args.control_address, kubelet = %args.kubelet_address, "fleet is up");
    let router = control::router(fleet, Some(nodes));
    tasks.spawn(async move { axum::serve(listener, router).await.context("control API") });

    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for an interrupt"),
        Some(ended) = tasks.join_next() => ended.context("a task panicked")?,
    }
}

async fn play(fleet: Arc<Fleet>) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(ADVANCE_EVERY);
    loop {
        ticks.tick().await;
        fleet.advance();
    }
}

async fn client(kubeconfig: Option<&std::path::Path>) -> anyhow::Result<kube::Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await?,
    };
    Ok(kube::Client::try_from(config)?)
}
