//! What is measured in which state of the fleet.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda_kaito_core::crd::InferenceSet;
use keda_kaito_core::names;
use keda_kaito_e2e::cases::objects::Kind;
use tokio::time::sleep;

use super::usage::Goals;
use super::{Running, SCALER, Stage};
use crate::calls;
use crate::figures::{Figures, Goal};
use crate::rounds::quantile;
use crate::{constant, credentials, machine, objects};

/// Rounds of scrapes until forms are known and targets have proven themselves.
const SETTLED: Duration = Duration::from_secs(60);
/// Until windows of 300 s are full.
const WINDOWS_FULL: Duration = Duration::from_secs(330);
/// A server to compare with.
const CONSTANT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 30));
const CALLS_PER_SECOND: u32 = 3200;
const CALLING: Duration = Duration::from_secs(60);
/// Replicas that appear one after another.
const NEWCOMERS: u8 = 20;
const NEWCOMER_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at a newcomer.
const GLANCE: Duration = Duration::from_millis(2);

fn goals(cpu: Goal, rss: Goal) -> Goals {
    Goals {
        cpu,
        rss,
        per_scrape: false,
    }
}

impl Stage {
    pub(super) async fn idle(&self) -> Result<Figures> {
        let scaler = self.start().await?;
        let mut figures = Figures::of("idle: 10 InferenceSets of 2 replicas, nobody calls");
        sleep(SETTLED).await;
        self.use_of(&scaler, &mut figures, goals(Goal::None, Goal::AtMost(15.0)))
            .await?;
        scaler.program.stop().await?;
        Ok(figures)
    }

    pub(super) async fn filtered(&self, scaler: &Running) -> Result<Figures> {
        let mut figures = Figures::of(format!("{}, filtered pages, windows full", self.describe()));
        sleep(WINDOWS_FULL).await;
        let goals = Goals {
            per_scrape: true,
            ..goals(Goal::AtMost(10.0), Goal::AtMost(128.0))
        };
        self.use_of(scaler, &mut figures, goals).await?;
        Ok(figures)
    }

    pub(super) async fn full(&self) -> Result<Figures> {
        self.pods.filter(false);
        let scaler = self.start().await?;
        let mut figures = Figures::of(format!("{}, whole pages", self.describe()));
        sleep(SETTLED).await;
        self.use_of(&scaler, &mut figures, goals(Goal::AtMost(25.0), Goal::None))
            .await?;
        scaler.program.stop().await?;
        self.pods.filter(true);
        Ok(figures)
    }

    pub(super) async fn faults(&self) -> Result<Figures> {
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
        self.use_of(&scaler, &mut figures, goals(Goal::None, Goal::None)).await?;
        scaler.program.stop().await?;
        Ok(figures)
    }

    /// KEDA's calls, and the same of a server that only answers: what is lost on the way, it loses too.
    pub(super) async fn calls(&self, scaler: &Running) -> Result<Figures> {
        let objects = &self.fleet.scaled_objects;
        let config = Arc::new(credentials::client(&self.bed).await?);
        let constant = (CONSTANT, names::GRPC_PORT).into();
        constant::serve(constant, credentials::server(&self.bed).await?)?;
        let call = async |address| calls::get_metrics(Arc::clone(&config), address, objects, CALLS_PER_SECOND, CALLING).await;
        let least = call(constant).await?;

        let (before, answers) = (scaler.program.usage()?, self.pods.answers());
        let latencies = call((SCALER, names::GRPC_PORT).into()).await?;
        let after = scaler.program.usage()?;
        let mut figures = Figures::of(format!("GetMetrics over mutual TLS beside {}", self.describe()));
        let seconds = CALLING.as_secs_f64();
        let asked = Goal::AtLeast(0.99 * f64::from(CALLS_PER_SECOND));
        figures.add("calls", f64::from(latencies.count()) / seconds, "/s", asked);
        figures.add("calls that failed", f64::from(latencies.failed()), "", Goal::AtMost(0.0));
        for (share, name, goal) in [
            (0.5, "p50", Goal::None),
            (0.99, "p99", Goal::AtMost(20.0)),
            (0.999, "p99.9", Goal::None),
        ] {
            let (ours, theirs) = (1e3 * latencies.quantile(share), 1e3 * least.quantile(share));
            figures.add(format!("latency {name}"), ours, "ms", goal);
            let title = format!("latency {name} of a server that answers a constant: the limit");
            figures.add(title, theirs, "ms", Goal::None);
        }
        let cpu = after.cpu_seconds() - before.cpu_seconds();
        figures.add("CPU, scraping included", 100.0 * cpu / seconds, "% of one core", Goal::None);
        let scrapes = f64::from(self.pods.answers() - answers) / seconds;
        figures.add("scrapes answered meanwhile", scrapes, "/s", Goal::None);
        figures.add("load of the machine over the last minute", machine::load()?, "", Goal::None);
        Ok(figures)
    }

    /// Replicas that become Ready one after another, each of another InferenceSet.
    pub(super) async fn newcomers(&self) -> Result<Figures> {
        let mut waits = Vec::new();
        for newcomer in 0..NEWCOMERS {
            let (namespace, set) = (format!("many-{newcomer}"), "phi-0");
            let address = Ipv4Addr::new(10, 244, 249, newcomer);
            self.pods.healthy(address);
            let owner = self.bed.get(Kind::INFERENCE_SET, &namespace, set).await?;
            let owner: InferenceSet = serde_json::from_value(owner)?;
            let name = format!("{set}-new{newcomer}");
            objects::create_replica(&self.bed, &namespace, &owner, &name, address).await?;
            let begun = Instant::now();
            while !self.pods.was_answered(address) {
                ensure!(
                    begun.elapsed() < NEWCOMER_WITHIN,
                    "{name} was not scraped within {NEWCOMER_WITHIN:?}"
                );
                sleep(GLANCE).await;
            }
            waits.push(begun.elapsed().as_secs_f64());
        }
        let mut figures = Figures::of(format!("a new target's first value beside {}", self.describe()));
        figures.add(
            "from Ready to the first scrape, p50",
            1e3 * quantile(waits.clone(), 0.5),
            "ms",
            Goal::None,
        );
        let at_once = Goal::AtMost(1000.0);
        figures.add(
            "from Ready to the first scrape, most",
            1e3 * quantile(waits, 0.999),
            "ms",
            at_once,
        );
        figures.add("load of the machine over the last minute", machine::load()?, "", Goal::None);
        Ok(figures)
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
