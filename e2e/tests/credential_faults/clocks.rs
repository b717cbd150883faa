//! Clocks that are hours and years off: a rotation freezes, repairs and calls go on, and when the clock is right again so does
//! the rotation. certmgr's clock jumps in every phase; a replica's jumps while it serves, and is wrong when it starts.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_core::names::{CLIENT_SECRET, SERVER_SECRET};
use keda_kaito_e2e::bed::{Bed, Look, eventually, never};
use keda_kaito_e2e::programs::Program;

use super::certmgr::{self, FakeClock, Gates};
use super::damage::Damage;
use super::material::at_rest;
use super::stage::Stage;

const SOON: Duration = Duration::from_secs(60);
/// Both gates are shorter: a rotation that is not frozen leaves a phase within this.
const FROZEN: Duration = Duration::from_secs(25);
const GATES: Gates = Gates { trust: 20, identify: 20 };

#[tokio::test]
async fn certmgr_with_a_wrong_clock_repairs_freezes_rotations_and_goes_on() -> Result<()> {
    let bed = Bed::from_env().await?;
    let clock = FakeClock::new(&bed.directory.join("tmp"), "certmgr")?;
    bed.with_namespace("clocks", async |namespace| {
        let mut stage = Stage::raise(&bed, &namespace, GATES, clock.over(certmgr::start(GATES)), |start| start).await?;

        // Nothing begins while it is two hours fast.
        set(&clock, &stage.certmgr, "+2h").await?;
        certmgr::rotate(&bed, "clocks").await?;
        frozen(&stage.certmgr, "stable").await?;
        repairs(&stage).await?;

        // A jump in each phase that waits for something.
        set(&clock, &stage.certmgr, "+0").await?;
        for (phase, offset) in [("trust", "-2h"), ("identify", "+400d")] {
            certmgr::reaches(&stage.certmgr, &[phase], SOON).await?;
            set(&clock, &stage.certmgr, offset).await?;
            frozen(&stage.certmgr, phase).await?;
            stage.load.check()?;
            set(&clock, &stage.certmgr, "+0").await?;
        }
        certmgr::rotated(&bed, &stage.certmgr, "clocks").await?;
        eventually(SOON, "the credentials are at rest", async || at_rest(&bed).await).await?;

        // One that starts with a wrong clock.
        for offset in ["-400d", "+400d"] {
            clock.set(offset)?;
            stage.certmgr.replace(&stage.logs).await?;
            stage.certmgr.ready(SOON).await?;
            repairs(&stage).await?;
        }
        set(&clock, &stage.certmgr, "+0").await?;
        stage.lower().await
    })
    .await
}

#[tokio::test]
async fn a_replica_with_a_wrong_clock_serves_and_is_no_obstacle() -> Result<()> {
    let bed = Bed::from_env().await?;
    let clock = FakeClock::new(&bed.directory.join("tmp"), "scaler")?;
    bed.with_namespace("skewed", async |namespace| {
        let gates = Gates::SHORT;
        let certmgr = certmgr::start(gates);
        let mut stage = Stage::raise(&bed, &namespace, gates, certmgr, |start| clock.over(start)).await?;

        // Jumps while it serves: no certificate seems valid any more.
        for offset in ["+400d", "-400d", "+2h", "-2h"] {
            clock.set(offset)?;
            let before = stage.load.check()?.handshakes;
            eventually(SOON, "handshakes go on", async || {
                let handshakes = stage.load.check()?.handshakes;
                Ok(Look::when(handshakes > before + 40, handshakes))
            })
            .await?;
        }

        // Wrong from the start; the rotation waits for it no longer than for the other.
        clock.set("-400d")?;
        stage.add_replica(2, |start| clock.over(start)).await?;
        stage.stop_replica(1).await?;
        certmgr::rotate(&bed, "skewed").await?;
        certmgr::rotated(&bed, &stage.certmgr, "skewed").await?;
        stage.loaded().await?;
        stage.lower().await
    })
    .await
}

/// Sets the clock and waits until certmgr shows that it has noticed.
async fn set(clock: &FakeClock, certmgr: &Program, offset: &str) -> Result<()> {
    clock.set(offset)?;
    let hours: f64 = match offset {
        "+2h" => 2.0,
        "-2h" => -2.0,
        "+400d" => 9600.0,
        _ => 0.0,
    };
    eventually(SOON, &format!("the skew is {offset}"), async || {
        let metrics = certmgr.metrics().await?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("keda_kaito_certmgr_clock_skew_seconds "));
        let skew: f64 = line.unwrap_or_default().parse()?;
        Ok(Look::when((skew - hours * 3600.0).abs() < 60.0, skew))
    })
    .await?;
    Ok(())
}

/// The phase stays, and certmgr says why.
async fn frozen(certmgr: &Program, phase: &str) -> Result<()> {
    never(FROZEN, &format!("{phase} is left"), async || {
        let now = certmgr::phase(certmgr).await?;
        Ok(if now == phase { Look::NotYet(now) } else { Look::Met(now) })
    })
    .await?;
    let log = std::fs::read_to_string(&certmgr.log)?;
    let said = log
        .lines()
        .filter(|line| line.contains("our clock and the API server's to agree"));
    ensure!(said.count() > 0, "it does not say why\n{}", certmgr.log_end());
    Ok(())
}

async fn repairs(stage: &Stage) -> Result<()> {
    for name in [SERVER_SECRET, CLIENT_SECRET] {
        Damage::Deleted(name).inflict(&stage.bed).await?;
        eventually(SOON, &format!("{name} is back"), async || at_rest(&stage.bed).await).await?;
        stage.loaded().await?;
    }
    stage.load.check().map(drop)
}
