//! The scaler as a process, inside a test bed with nothing but a control plane: pods and their metrics are played here,
//! objects are written straight to the API server. Each scenario starts a fresh scaler.

mod scenarios;
mod traces;
mod usage;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Result;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::programs::{Name, Program, Start};

use crate::figures::Figures;
use crate::objects::{self, Fleet, Size};
use crate::pods::{EVERYWHERE, Pods};

const SCALER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 10));
const CERTMGR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 254, 20));
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Until every pod that is well has been scraped.
const HEARD_WITHIN: Duration = Duration::from_secs(400);
const INTERVAL: f64 = 15.0;

/// What is measured of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Idle,
    Filtered,
    Calls,
    Newcomers,
    Full,
    Faults,
    Traces,
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
    let pods = Pods::serve(EVERYWHERE)?;
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
    let of_one = [Scenario::Filtered, Scenario::Calls, Scenario::Newcomers];
    if of_one.into_iter().any(wanted) {
        let scaler = stage.start().await?;
        if wanted(Scenario::Filtered) {
            tell(&stage.filtered(&scaler).await?);
        }
        if wanted(Scenario::Calls) {
            tell(&stage.calls(&scaler).await?);
        }
        if wanted(Scenario::Newcomers) {
            tell(&stage.newcomers().await?);
        }
        scaler.program.stop().await?;
    }
    if wanted(Scenario::Full) {
        tell(&stage.full().await?);
    }
    if wanted(Scenario::Traces) {
        tell(&stage.traces().await?);
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

    fn describe(&self) -> String {
        let (sets, pods) = (self.fleet.scaled_objects.len(), self.fleet.pods.len());
        format!("{pods} targets of {sets} InferenceSets every {INTERVAL} s")
    }
}
