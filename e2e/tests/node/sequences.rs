//! The README's ways to install, each on a cluster that has nothing of ours, with KEDA where each of them wants it: up to a
//! metric that KEDA reads, and back with the README's way to uninstall.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::chart::root;
use tokio::process::Command;

use crate::pods;
use crate::release::{self, CREDENTIALS, chart, deployment, restrict};
use crate::shell::{LIMIT, helm, kubectl};

const NAME: &str = "keda-kaito-scaler";
/// Where both of KAITO's documented sequences have the scaler.
const BESIDE_KAITO: &str = "kaito-workspace";
const KEDA: [&str; 3] = ["keda-operator", "keda-adapter", "keda-webhooks"];
const MODEL_WITHIN: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(180);

struct Sequence {
    keda: &'static str,
    how: How,
    /// Requests that wait, so that no value is one from before.
    waiting: u32,
}

enum How {
    /// Beside KAITO, with these values.
    Helm(&'static [&'static str]),
    /// `deploy/manifests`, beside KEDA.
    Manifests,
}

/// The last ones leave KEDA where the bed had it.
const SEQUENCES: [Sequence; 4] = [
    Sequence {
        keda: "kube-system",
        how: How::Helm(&["workingNamespace=kube-system", "clusterDomain=cluster.example"]),
        waiting: 2,
    },
    Sequence {
        keda: BESIDE_KAITO,
        how: How::Helm(&["workingNamespace=kaito-workspace"]),
        waiting: 3,
    },
    Sequence {
        keda: "keda",
        how: How::Helm(&["workingNamespace=keda"]),
        waiting: 4,
    },
    Sequence {
        keda: "keda",
        how: How::Manifests,
        waiting: 5,
    },
];

pub(crate) async fn all() -> Result<()> {
    release::forget().await?;
    restrict(BESIDE_KAITO).await?;
    // Models take longest.
    pods::apply().await?;
    let mut at = "keda";
    for sequence in &SEQUENCES {
        if at != sequence.keda {
            move_keda(at, sequence.keda).await?;
            at = sequence.keda;
        }
        let outcome = sequence.run().await;
        // Whatever became of it, the next one, and other tests, find nothing of it.
        let removed = sequence.remove().await;
        outcome.with_context(|| format!("with KEDA in {at}"))?;
        removed.with_context(|| format!("uninstalling with KEDA in {at}"))?;
    }
    Ok(())
}

impl Sequence {
    async fn run(&self) -> Result<()> {
        pods::replicas(1, MODEL_WITHIN).await?;
        pods::set_waiting(self.waiting).await?;
        match self.how {
            How::Helm(values) => self.install(values).await?,
            How::Manifests => {
                kubectl(&["apply", "-f", &manifests()]).await?;
                for program in ["scaler", "certmgr", "provisioner"] {
                    eventually(SOON, "a program is ready", async || {
                        let ready = crate::ready(&deployment(program)).await?;
                        Ok(Look::when(ready == "1", format!("{program}: {ready:?} are ready")))
                    })
                    .await?;
                }
            }
        }
        pods::scaled_object().await?;
        pods::metric(f64::from(self.waiting), SOON).await
    }

    async fn install(&self, values: &[&str]) -> Result<()> {
        let chart = chart().display().to_string();
        let mut install = vec![
            "install",
            NAME,
            &chart,
            "--namespace",
            BESIDE_KAITO,
            "--wait",
            "--timeout=300s",
        ];
        for value in values {
            install.extend(["--set", value]);
        }
        let notes = helm(&install).await?;
        ensure!(notes.contains(&format!("KEDA to be in namespace {}", self.keda)), "{notes}");
        ensure!(!notes.contains("WARNING"), "{notes}");
        helm(&["test", NAME, "--namespace", BESIDE_KAITO, "--timeout=300s"])
            .await
            .map(drop)
    }

    /// As the README says it.
    async fn remove(&self) -> Result<()> {
        let off = "scaledobject.kaito.sh/auto-provision-";
        kubectl(&["annotate", "inferenceset", "--all", "--all-namespaces", off]).await?;
        eventually(SOON, "the provisioner deletes ScaledObjects", async || {
            let left = kubectl(&["get", "scaledobjects", "--all-namespaces", "-o", "name"]).await?;
            Ok(Look::when(left.trim().is_empty(), left))
        })
        .await?;
        match self.how {
            How::Helm(_) => helm(&["uninstall", NAME, "--namespace", BESIDE_KAITO]).await?,
            How::Manifests => kubectl(&["delete", "-f", &manifests()]).await?,
        };
        kubectl(&["delete", "clustertriggerauthentication", "keda-kaito-scaler-creds"]).await?;
        let mut delete = vec!["--namespace", self.keda, "delete", "secret"];
        delete.extend(CREDENTIALS);
        kubectl(&delete).await.map(drop)
    }
}

fn manifests() -> String {
    root().join("deploy/manifests").display().to_string()
}

/// Ends KEDA's programs, and starts them with the rights, objects and settings of their own manifests for that namespace.
async fn move_keda(from: &str, to: &str) -> Result<()> {
    bed("stop", &KEDA).await?;
    // Nobody is left to give it up.
    kubectl(&["delete", "lease", "operator.keda.sh", "-n", from, "--ignore-not-found"]).await?;
    bed("start-keda", &["--namespace", to]).await
}

/// Runs a script of the bed.
async fn bed(script: &str, arguments: &[&str]) -> Result<()> {
    let folder = PathBuf::from(std::env::var_os("TESTBED_DIR").context("no test bed")?);
    let output = Command::new(folder.join(script)).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.context("a script did not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} {}: {said}", arguments.join(" "));
    Ok(())
}
