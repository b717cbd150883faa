//! certmgr as the tests run it: gates of seconds, its metrics, `certmgr status`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::running;
pub(crate) use keda_kaito_e2e::fake_clock::FakeClock;
use keda_kaito_e2e::programs::{Name, Program, Start};
use serde_json::json;
use tokio::process::Command;

/// How long a rotation may take that nothing keeps from going on, beside other beds.
pub(crate) const ROTATED_WITHIN: Duration = Duration::from_secs(240);

/// The gates, in whole seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates {
    pub(crate) trust: u64,
    pub(crate) identify: u64,
}

impl Gates {
    pub(crate) const SHORT: Self = Self { trust: 1, identify: 2 };

    fn arguments(self) -> Vec<String> {
        vec![
            format!("--trust-minimum-age={}s", self.trust),
            format!("--identify-minimum-age={}s", self.identify),
            "--callers-known-for=1s".to_owned(),
        ]
    }
}

/// How certmgr is started.
pub(crate) fn start(gates: Gates) -> Start {
    let mut start = running::start(Name::Certmgr).argument("--poll-interval=1s");
    start.arguments.extend(gates.arguments());
    start
}

/// What `certmgr status` prints.
pub(crate) async fn status(gates: Gates) -> Result<String> {
    let programs = std::env::var("TESTBED_PROGRAMS").context("TESTBED_PROGRAMS")?;
    let mut command = Command::new(Path::new(&programs).join("certmgr"));
    command
        .args(["status", "--working-namespace", "keda"])
        .args(gates.arguments());
    let output = command.env("POD_NAMESPACE", "keda").kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The phase its metrics show.
pub(crate) async fn phase(certmgr: &Program) -> Result<String> {
    let metrics = certmgr.metrics().await?;
    let shown = metrics.lines().find_map(|line| {
        let rest = line.strip_prefix("keda_kaito_certmgr_phase{phase=\"")?;
        let (phase, value) = rest.split_once("\"} ")?;
        (value == "1").then(|| phase.to_owned())
    });
    shown.context("no phase is shown")
}

/// Waits for one of these phases.
pub(crate) async fn reaches(certmgr: &Program, phases: &[&str], within: Duration) -> Result<String> {
    eventually(within, &format!("the rotation is in one of {phases:?}"), async || {
        let phase = phase(certmgr).await?;
        Ok(Look::when(phases.contains(&phase.as_str()), phase))
    })
    .await
    .with_context(|| certmgr.log_end())
}

/// Asks for a rotation, as `certmgr rotate` does.
pub(crate) async fn rotate(bed: &Bed, reason: &str) -> Result<()> {
    let asked = json!({"metadata": {"annotations": {names::ROTATE_REASON_ANNOTATION: reason}}});
    bed.patch(Kind::SECRET, "keda", names::CA_SECRET, &asked).await?;
    Ok(())
}

/// Waits until the rotation with this reason has ended.
pub(crate) async fn rotated(bed: &Bed, certmgr: &Program, reason: &str) -> Result<()> {
    let pointer = format!(
        "/metadata/annotations/{}",
        names::ROTATED_REASON_ANNOTATION.replace('/', "~1")
    );
    eventually(ROTATED_WITHIN, &format!("the rotation {reason:?} is over"), async || {
        let secret = bed.get(Kind::SECRET, "keda", names::CA_SECRET).await?;
        let over = text(&secret, &pointer) == reason && secret.pointer("/data/next.crt").is_none();
        Ok(Look::when(over, phase(certmgr).await?))
    })
    .await
    .with_context(|| certmgr.log_end())?;
    Ok(())
}
