//! The scaler as a process, inside a test bed with nothing but a control plane: pods and their metrics are played here,
//! objects are written straight to the API server. Each scenario starts a fresh scaler.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::programs::{Name, Program, Start};
use tokio::time::sleep;

use crate::calls;
use crate::figures::{Figures, Goal};
use crate::objects::{self, Fleet, Size};
use crate::pods::Pods;
use crate::rounds::quantile;

const SCALER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 10));
const CERTMGR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 20));
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Until every pod that is well has been scraped.
const HEARD_WITHIN: Duration = Duration::from_secs(400);
const MEASURED: Duration = Duration::from_secs(60);
/// Rounds of scrapes until forms are known and targets have proven themselves.
const SETTLED: Duration = Duration::from_secs(60);
/// Until windows of 300 s are full.
const WINDOWS_FULL: Duration = Duration::from_secs(330);
const INTERVAL: f64 = 15.0;
const CALLS_PER_SECOND: u32 = 3200;

/// What is measured of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Idle,
    Filtered,
    Calls,
    Full,
    Faults,
}

/// A scaler, and how long it took to begin.
struct Running {
    program: Program,
    ready: Duration,
    heard: Duration,
}

/// What every scenario works with.
struct Stage {
    bed: Bed,
    pods: Pods,
    fleet: Fleet,
}

/// Measures the scenarios in their own order and hands each one's figures to `tell`.
pub(crate) async fn measure(scenarios: &[Scenario], replicas: usize, mut tell: impl FnMut(&Figures)) -> Result<()> {
    let wanted = |scenario| scenarios.contains(&scenario);
    let bed = Bed::from_env().await?;
    let pods = Pods::serve()?;
    bed.create(Kind::NAMESPACE, "", &serde_json::json!({"metadata": {"name": "keda"}}))
        .await?;
    let logs = bed.directory.join("logs");
    let _certmgr = Program::spawn(&logs, Start::new(Name::Certmgr, CERTMGR))?;
    eventually(READY_WITHIN, "KEDA's credentials are issued", async || {
        Ok(Look::when(
            !bed.is_absent(Kind::SECRET, "keda", names::CLIENT_SECRET).await?,
            (),
        ))
    })
    .await?;

    let mut stage = Stage {
        bed,
        pods,
        fleet: Fleet::default(),
    };
    if wanted(Scenario::Idle) {
        stage
            .grow(
                "idle",
                250,
                Size {
                    namespaces: 1,
                    inference_sets: 10,
                    replicas: 2,
                },
            )
            .await?;
        tell(&stage.idle().await?);
    }
    if scenarios.iter().all(|scenario| *scenario == Scenario::Idle) {
        return Ok(());
    }
    let begun = Instant::now();
    stage
        .grow(
            "many",
            1,
            Size {
                namespaces: 50,
                inference_sets: 20,
                replicas,
            },
        )
        .await?;
    eprintln!(
        "bench: {} pods after {:.0} s",
        stage.fleet.pods.len(),
        begun.elapsed().as_secs_f64()
    );
    if wanted(Scenario::Filtered) || wanted(Scenario::Calls) {
        let scaler = stage.start().await?;
        if wanted(Scenario::Filtered) {
            tell(&stage.filtered(&scaler).await?);
        }
        if wanted(Scenario::Calls) {
            tell(&stage.calls(&scaler.program).await?);
        }
        scaler.program.stop().await?;
    }
    if wanted(Scenario::Full) {
        tell(&stage.full().await?);
    }
    if wanted(Scenario::Faults) {
        tell(&stage.faults().await?);
    }
    Ok(())
}

impl Stage {
    async fn grow(&mut self, prefix: &str, network: u8, size: Size) -> Result<()> {
        let more = objects::create(&self.bed, prefix, network, size).await?;
        more.pods.iter().for_each(|pod| self.pods.healthy(pod.address));
        self.fleet.pods.extend(more.pods);
        self.fleet.scaled_objects.extend(more.scaled_objects);
        Ok(())
    }

    /// Starts a scaler and waits until it has heard every pod that is well.
    async fn start(&self) -> Result<Running> {
        let begun = Instant::now();
        let mut program = Program::spawn(&self.bed.directory.join("logs"), Start::new(Name::Scaler, SCALER))?;
        program.ready(READY_WITHIN).await?;
        let ready = begun.elapsed();
        eventually(HEARD_WITHIN, "every pod that is well is scraped", async || {
            let unheard = self.pods.unheard(begun.elapsed());
            Ok(Look::when(unheard == 0, unheard))
        })
        .await?;
        let heard = begun.elapsed();
        eprintln!("bench: ready after {ready:.1?}, every pod heard after {heard:.1?}");
        Ok(Running { program, ready, heard })
    }

    async fn idle(&self) -> Result<Figures> {
        let scaler = self.start().await?;
        let mut figures = Figures::of("idle: 10 InferenceSets of 2 replicas, nobody calls");
        sleep(SETTLED).await;
        self.use_of(&scaler, &mut figures, Goal::None, Goal::AtMost(15.0)).await?;
        scaler.program.stop().await?;
        Ok(figures)
    }

    async fn filtered(&self, scaler: &Running) -> Result<Figures> {
        let mut figures = Figures::of(format!("{}, filtered pages, windows full", self.describe()));
        sleep(WINDOWS_FULL).await;
        self.use_of(scaler, &mut figures, Goal::AtMost(10.0), Goal::AtMost(128.0))
            .await?;
        Ok(figures)
    }

    async fn full(&self) -> Result<Figures> {
        self.pods.filter(false);
        let scaler = self.start().await?;
        let mut figures = Figures::of(format!("{}, whole pages", self.describe()));
        sleep(SETTLED).await;
        self.use_of(&scaler, &mut figures, Goal::AtMost(25.0), Goal::None).await?;
        scaler.program.stop().await?;
        self.pods.filter(true);
        Ok(figures)
    }

    async fn faults(&self) -> Result<Figures> {
        black_hole()?;
        for pod in &self.fleet.pods {
            let [_, _, third, fourth] = pod.address.octets();
            match u16::from_be_bytes([third, fourth]) % 20 {
                0 => {
                    self.pods.gone(pod.address);
                    objects::move_pod(&self.bed, pod, Ipv4Addr::new(10, 245, third, fourth)).await?;
                }
                10 => self.pods.dripping(pod.address),
                _ => {}
            }
        }
        let scaler = self.start().await?;
        let title = "5 % at addresses that swallow everything, 5 % that answer a byte at a time";
        let mut figures = Figures::of(format!("{}, {title}", self.describe()));
        sleep(SETTLED).await;
        self.use_of(&scaler, &mut figures, Goal::None, Goal::None).await?;
        scaler.program.stop().await?;
        Ok(figures)
    }

    async fn calls(&self, scaler: &Program) -> Result<Figures> {
        let address = (SCALER, names::GRPC_PORT).into();
        let before = scaler.usage()?;
        let answers = self.pods.answers();
        let latencies = calls::get_metrics(&self.bed, address, &self.fleet.scaled_objects, CALLS_PER_SECOND, MEASURED).await?;
        let after = scaler.usage()?;
        let count = u32::try_from(latencies.seconds.len()).unwrap_or(u32::MAX);
        let failed: u32 = latencies
            .codes
            .iter()
            .filter(|(code, _)| *code != "OK")
            .map(|(_, count)| count)
            .sum();
        for (code, count) in latencies.codes.iter().filter(|(code, _)| *code != "OK").take(5) {
            eprintln!("bench: {count} × {code}");
        }
        let per_second = f64::from(count) / MEASURED.as_secs_f64();
        let mut figures = Figures::of(format!("GetMetrics over mutual TLS beside {}", self.describe()));
        figures.add("calls", per_second, "/s", Goal::AtLeast(0.99 * f64::from(CALLS_PER_SECOND)));
        figures.add("calls that failed", f64::from(failed), "", Goal::AtMost(0.0));
        for (share, name, goal) in [
            (0.5, "p50", Goal::None),
            (0.99, "p99", Goal::AtMost(20.0)),
            (0.999, "p99.9", Goal::None),
        ] {
            figures.add(
                format!("latency {name}"),
                1e3 * quantile(latencies.seconds.clone(), share),
                "ms",
                goal,
            );
        }
        let cpu = after.cpu_seconds - before.cpu_seconds;
        figures.add(
            "CPU, scraping included",
            100.0 * cpu / MEASURED.as_secs_f64(),
            "% of one core",
            Goal::None,
        );
        let scrapes = f64::from(self.pods.answers() - answers) / MEASURED.as_secs_f64();
        figures.add("scrapes answered meanwhile", scrapes, "/s", Goal::None);
        Ok(figures)
    }

    /// What the process uses over a minute, and how old the samples of healthy pods get meanwhile.
    async fn use_of(&self, scaler: &Running, figures: &mut Figures, cpu: Goal, rss: Goal) -> Result<()> {
        let (before, answers, begun) = (scaler.program.usage()?, self.pods.answers(), Instant::now());
        let mut ages = Vec::new();
        while begun.elapsed() < MEASURED {
            ages.extend(self.pods.ages());
            sleep(Duration::from_secs(1)).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let after = scaler.program.usage()?;
        let scrapes = f64::from(self.pods.answers() - answers);
        let used = after.cpu_seconds - before.cpu_seconds;
        figures.add("ready after", scaler.ready.as_secs_f64(), "s", Goal::None);
        figures.add("every healthy pod scraped after", scaler.heard.as_secs_f64(), "s", Goal::None);
        figures.add("CPU", 100.0 * used / seconds, "% of one core", cpu);
        figures.add("scrapes answered", scrapes / seconds, "/s", Goal::None);
        figures.add("CPU per scrape, all else included", 1e6 * used / scrapes, "µs", Goal::None);
        figures.add("resident memory", after.rss_mib, "MiB", rss);
        figures.add("resident memory, most", after.peak_rss_mib, "MiB", Goal::None);
        figures.add("age of samples p50", quantile(ages.clone(), 0.5), "s", Goal::None);
        figures.add(
            "age of samples p99",
            quantile(ages.clone(), 0.99),
            "s",
            Goal::AtMost(INTERVAL + 1.0),
        );
        figures.add("age of samples, most", quantile(ages, 0.999_999_9), "s", Goal::None);
        Ok(())
    }

    fn describe(&self) -> String {
        let (sets, pods) = (self.fleet.scaled_objects.len(), self.fleet.pods.len());
        format!("{pods} targets of {sets} InferenceSets every {INTERVAL} s")
    }
}

/// Makes 10.245.0.0/16 a network that swallows everything: one end of a pair of wires whose other end nobody listens to.
fn black_hole() -> Result<()> {
    for line in [
        "link add hole type veth peer name bottom",
        "link set hole arp off up",
        "link set bottom up",
        "route add 10.245.0.0/16 dev hole src 10.244.0.1",
    ] {
        let status = Command::new("ip").args(line.split(' ')).status().context("running ip")?;
        ensure!(status.success(), "ip {line} failed");
    }
    Ok(())
}
