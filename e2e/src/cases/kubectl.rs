//! `kubectl` as a user types it, where its own reading or printing is part of what is shown.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs kubectl with `input` on its standard input and returns what it printed.
///
/// # Errors
/// When it fails: with what it said.
pub async fn kubectl(arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("kubectl");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("starting kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}
