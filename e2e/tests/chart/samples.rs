//! The samples, applied to a real API server with KEDA's and KAITO's kinds, and rendered by the program users have.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::chart::{objects, root};
use serde_json::json;
use tokio::process::Command;

#[tokio::test]
async fn every_sample_passes_strict_validation() -> Result<()> {
    let bed = Bed::from_env().await?;
    for sample in samples()? {
        bed.with_namespace("sample", async |namespace| {
            for mut object in objects(&fs::read_to_string(&sample)?)? {
                let theirs = std::mem::replace(&mut object["metadata"]["namespace"], json!(namespace));
                ensure!(theirs == "default", "{theirs} may not be there where samples are applied");
                // A ScaledObject is checked against its target, which therefore has to be there.
                let apply = [
                    "apply",
                    "--server-side",
                    "--validate=strict",
                    "--warnings-as-errors",
                    "--filename=-",
                ];
                kubectl(&apply, &object.to_string()).await?;
            }
            Ok(())
        })
        .await
        .with_context(|| sample.display().to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn provisioner_renders_every_sample_without_complaint() -> Result<()> {
    let programs = PathBuf::from(std::env::var_os("TESTBED_PROGRAMS").context("no test bed")?);
    for sample in samples()? {
        let mut command = Command::new(programs.join("provisioner"));
        command
            .args(["render", "--nodes-per-replica=2", "--working-namespace=keda", "-f"])
            .arg(&sample);
        let output = command.output().await.context("starting provisioner render")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", sample.display());
        ensure!(!said.contains("Warning"), "{}: {said}", sample.display());
        let by_hand = fs::read_to_string(&sample)?.contains("kind: ScaledObject");
        let rendered = String::from_utf8_lossy(&output.stdout).contains("kind: ScaledObject");
        ensure!(by_hand != rendered, "{}: {said}", sample.display());
    }
    Ok(())
}

fn samples() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root().join("deploy/samples"))?;
    let samples: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(samples.len() >= 7, "{samples:?}");
    Ok(samples)
}
