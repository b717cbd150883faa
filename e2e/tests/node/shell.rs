//! `kubectl` and `helm` as an operator types them, each with a deadline.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::cases::kubectl;
use tokio::process::Command;

pub(crate) const LIMIT: Duration = Duration::from_secs(400);

pub(crate) async fn kubectl(arguments: &[&str]) -> Result<String> {
    kubectl_with(arguments, "").await
}

pub(crate) async fn kubectl_with(arguments: &[&str], input: &str) -> Result<String> {
    tokio::time::timeout(LIMIT, kubectl::kubectl(arguments, input))
        .await
        .context("kubectl did not end")?
}

pub(crate) async fn helm(arguments: &[&str]) -> Result<String> {
    let output = Command::new("helm").args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .context("helm did not end")?
        .context("starting helm")?;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "helm {}: {complained}{said}", arguments.join(" "));
    Ok(said.into_owned())
}
