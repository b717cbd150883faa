//! certmgr as the tests run it: gates of seconds, its metrics, `certmgr status`, a clock that can be set.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::running;
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

/// A wall clock for one program, which can be set while that runs. Its monotonic clock stays true, as a machine's does.
pub(crate) struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// # Errors
    /// libfaketime is not installed.
    pub(crate) fn new(directory: &Path, name: &str) -> Result<Self> {
        let folders = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
        let places = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
        let library = places.into_iter().find(|place| place.is_file());
        let library = library.context("libfaketime is missing: install the package libfaketime")?;
        let clock = Self {
            file: directory.join(format!("{name}.clock")),
            library,
        };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets it this far off, as in `+2h` or `-400d`.
    pub(crate) fn set(&self, offset: &str) -> Result<()> {
        // In one piece: the program may read it at any moment.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{offset}\n"))?;
        Ok(fs::rename(&next, &self.file)?)
    }

    /// Puts a program under it.
    pub(crate) fn over(&self, mut start: Start) -> Start {
        let path = |path: &Path| path.display().to_string();
        start.environment.extend([
            ("LD_PRELOAD".to_owned(), path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE".to_owned(), path(&self.file)),
            ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
            ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ]);
        start
    }
}
