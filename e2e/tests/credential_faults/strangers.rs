//! Strangers at the port: every kind is refused and counted, and ten thousand handshakes that never go on slow nobody else
//! down. Both are measured in one run, in turns.

mod crowd;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_externalscaler::ScaledObjectRef;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;

use super::certmgr::{self, Gates};
use super::load::{CALLER, call, channel};
use super::stage::{Stage, grpc};
use crowd::Strangers;

const HALF_OPEN: usize = 10_000;
/// Descriptors for them and for everything else.
const DESCRIPTORS: u64 = 12_000;
/// An odd number: what counts is the ratio in the middle, each taken between neighbours, so that business elsewhere on the
/// machine, which comes and goes, does not.
const ROUNDS: usize = 5;
/// In which all of them come, a thousand in a second.
const WINDOW: Duration = Duration::from_secs(12);
/// Between two calls over a connection that lasts, and between two new connections.
const CALL_EVERY: Duration = Duration::from_millis(5);
const DIAL_EVERY: Duration = Duration::from_millis(15);
/// What is below this is taken for this: differences there are the machine's, on which the strangers run too.
const NOISE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_refused_and_counted_and_slow_nobody_down() -> Result<()> {
    let bed = Bed::from_env().await?;
    allow_descriptors()?;
    bed.with_namespace("strangers", async |namespace| {
        let gates = Gates::SHORT;
        let stage = Stage::raise(&bed, &namespace, gates, certmgr::start(gates), |start| start).await?;
        let replica = grpc(stage.scalers.get(&0).context("no replica")?);
        let strangers = Strangers::prepare(&bed, replica).await?;

        let before = Counts::read(&stage).await?;
        strangers.each_is_refused(stage.load.request()).await?;
        let refused = Counts::read(&stage).await?;
        for outcome in crowd::OUTCOMES {
            let rise = refused.of(outcome) - before.of(outcome);
            ensure!(rise >= 1, "nothing is counted as {outcome}: {:#?}", refused.0);
        }

        let (mut calm, mut stormy) = (Vec::new(), Vec::new());
        for _round in 0..ROUNDS {
            calm.push(measure(&stage, replica).await?);
            let storm = strangers.clone();
            let storm = thread::spawn(move || storm.half_open(HALF_OPEN, WINDOW));
            stormy.push(measure(&stage, replica).await?);
            let opened = storm.join().map_err(|_panic| anyhow!("the strangers panicked"))??;
            ensure!(opened == HALF_OPEN, "only {opened} handshakes were begun");
        }
        let given_up = ["crowded_out", "handshake_timeout", "peer_gone"];
        let what = "every half-open handshake is counted";
        eventually(Duration::from_secs(60), what, async || {
            let now = Counts::read(&stage).await?;
            let counted: u64 = given_up.iter().map(|outcome| now.of(outcome) - refused.of(outcome)).sum();
            Ok(Look::when(counted >= (HALF_OPEN * ROUNDS) as u64, counted))
        })
        .await?;
        no_slower("calls", &calm, &stormy, |round| &round.calls)?;
        no_slower("new connections", &calm, &stormy, |round| &round.dials)?;
        stage.lower().await
    })
    .await
}

/// The most this process may have open, if that is enough.
fn allow_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum >= DESCRIPTORS);
    ensure!(
        enough,
        "this test needs {DESCRIPTORS} descriptors; the hard limit is {:?}",
        limit.maximum
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(DESCRIPTORS),
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}

/// The first replica's connections by what became of them.
struct Counts(String);

impl Counts {
    async fn read(stage: &Stage) -> Result<Self> {
        Ok(Self(stage.scalers.get(&0).context("no replica")?.metrics().await?))
    }

    fn of(&self, outcome: &str) -> u64 {
        let name = format!("keda_kaito_scaler_connections_total{{outcome=\"{outcome}\"}} ");
        let line = self.0.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// What one window took.
struct Latencies {
    calls: Vec<Duration>,
    dials: Vec<Duration>,
}

/// Calls and dials for one window, as KEDA would.
async fn measure(stage: &Stage, replica: SocketAddr) -> Result<Latencies> {
    let (config, request) = (stage.load.credentials().await?, stage.load.request());
    let calls = tokio::spawn(timed(Arc::clone(&config), request.clone(), replica, true));
    let dials = tokio::spawn(timed(config, request, replica, false));
    Ok(Latencies {
        calls: calls.await??,
        dials: dials.await??,
    })
}

async fn timed(config: Arc<ClientConfig>, request: ScaledObjectRef, replica: SocketAddr, lasting: bool) -> Result<Vec<Duration>> {
    let pause = if lasting { CALL_EVERY } else { DIAL_EVERY };
    let (mut took, begun) = (Vec::new(), Instant::now());
    let one = channel(Arc::clone(&config), CALLER, replica);
    while begun.elapsed() < WINDOW {
        let each = if lasting {
            one.clone()
        } else {
            channel(Arc::clone(&config), CALLER, replica)
        };
        let start = Instant::now();
        call(each, request.clone())
            .await
            .map_err(|why| anyhow!("a call failed: {why}"))?;
        took.push(start.elapsed());
        tokio::time::sleep(pause).await;
    }
    Ok(took)
}

/// In the round in the middle the p99 is at most twice as long among strangers as it was just before they came.
fn no_slower(what: &str, calm: &[Latencies], stormy: &[Latencies], of: impl Fn(&Latencies) -> &[Duration]) -> Result<()> {
    let mut ratios = Vec::new();
    for (calm, stormy) in calm.iter().zip(stormy) {
        let (calm, stormy) = (of(calm), of(stormy));
        let [samples, among] = [calm.len(), stormy.len()];
        ensure!(samples > 30 && among > 30, "{what}: hardly measured: {samples} and {among}");
        let [calm_50, calm_99] = [50, 99].map(|share| percentile(calm.to_vec(), share));
        let [stormy_50, stormy_99] = [50, 99].map(|share| percentile(stormy.to_vec(), share));
        let ratio = stormy_99.max(NOISE).as_secs_f64() / calm_99.max(NOISE).as_secs_f64();
        eprintln!(
            "{what}: {samples} calm: median {calm_50:?}, p99 {calm_99:?}; {among} among strangers: median {stormy_50:?}, p99 {stormy_99:?}; ratio {ratio:.2}"
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get(ratios.len() / 2).context("nothing was measured")?;
    ensure!(*middle <= 2.0, "{what}: p99 rose to {ratios:?} times what it was");
    Ok(())
}

fn percentile(mut all: Vec<Duration>, share: usize) -> Duration {
    all.sort_unstable();
    let index = (all.len() * share / 100).min(all.len().saturating_sub(1));
    all.get(index).copied().unwrap_or_default()
}
