//! The bed's own scripts, with which a test adds, stops and starts parts of it.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::bed::Bed;

/// Runs one of `install-crds`, `start-keda`, `start-kaito`, `start`, `stop`; returns when what it starts is ready.
///
/// # Errors
/// When it fails: with what it said.
pub async fn run(bed: &Bed, script: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(bed.directory.join(script))
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running the bed's {script}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} {arguments:?}: {said}");
    Ok(())
}
