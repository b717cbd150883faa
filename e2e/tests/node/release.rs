//! The release under test, in KEDA's namespace, and the credentials that must outlive it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use crate::shell::{helm, kubectl, kubectl_with};

pub(crate) const NAMESPACE: &str = "keda";
const NAME: &str = "scaler";

pub(crate) const CREDENTIALS: [&str; 3] = [
    "keda-kaito-scaler-ca",
    "keda-kaito-scaler-client-certs",
    "keda-kaito-scaler-server-certs",
];

/// Two scalers that follow each other sooner than in production: their windows need not be full here.
pub(crate) const HIGHLY_AVAILABLE: [&str; 2] = ["scaler.replicas=2", "scaler.minReadySeconds=5"];
/// Upgrades would otherwise wait five minutes for every new scaler.
const SOONER: &str = "scaler.minReadySeconds=5";

pub(crate) struct Release(());

impl Release {
    /// Brings the release to these values, whatever it was before.
    pub(crate) async fn installed(set: &[&str]) -> Result<Self> {
        restrict(NAMESPACE).await?;
        let release = Self(());
        release.upgrade(set).await?;
        Ok(release)
    }

    pub(crate) async fn upgrade(&self, set: &[&str]) -> Result<()> {
        let chart = chart().display().to_string();
        let mut arguments = vec!["upgrade", "--install", NAME, &chart, "-n", NAMESPACE, "--reset-values"];
        arguments.extend(["--wait", "--timeout=300s", "--set", SOONER]);
        for one in set {
            arguments.extend(["--set", one]);
        }
        helm(&arguments).await.map(drop)
    }

    /// `helm test`, with what its pod printed.
    pub(crate) async fn test(&self) -> Result<String> {
        helm(&["test", NAME, "-n", NAMESPACE, "--logs", "--timeout=120s"]).await
    }

    /// To the revision `back` before the current one.
    pub(crate) async fn roll_back(&self, back: u32) -> Result<()> {
        let history: Value = serde_json::from_str(&helm(&["history", NAME, "-n", NAMESPACE, "-o", "json"]).await?)?;
        let current = history
            .as_array()
            .and_then(|all| all.last())
            .and_then(|last| last.pointer("/revision")?.as_u64());
        let wanted = current.unwrap_or_default().saturating_sub(u64::from(back)).to_string();
        let arguments = ["rollback", NAME, &wanted, "-n", NAMESPACE, "--wait", "--timeout=300s"];
        helm(&arguments).await.map(drop)
    }

    pub(crate) async fn uninstall(&self) -> Result<()> {
        helm(&["uninstall", NAME, "-n", NAMESPACE]).await.map(drop)
    }
}

/// Makes the namespace refuse pods that are not "restricted".
pub(crate) async fn restrict(namespace: &str) -> Result<()> {
    let object = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
    );
    kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &object).await?;
    Ok(())
}

/// Takes away what releases before have left: ScaledObjects and credentials too.
pub(crate) async fn forget() -> Result<()> {
    helm(&["uninstall", NAME, "-n", NAMESPACE, "--ignore-not-found"]).await?;
    let limit = "--timeout=60s";
    kubectl(&["delete", "scaledobjects", "--all", "--all-namespaces", limit]).await?;
    kubectl(&["delete", "clustertriggerauthentications", "--all", limit]).await?;
    let mut delete = vec!["delete", "secrets", "-n", NAMESPACE, "--ignore-not-found"];
    delete.extend(CREDENTIALS);
    kubectl(&delete).await.map(drop)
}

pub(crate) fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/keda-kaito-scaler")
}

pub(crate) fn deployment(program: &str) -> String {
    match program {
        "scaler" => "deployment/keda-kaito-scaler".to_owned(),
        other => format!("deployment/keda-kaito-scaler-{other}"),
    }
}

/// Identity and content of our Secrets.
pub(crate) async fn credentials() -> Result<BTreeMap<String, (String, Value)>> {
    let list: Value = serde_json::from_str(&kubectl(&["get", "secrets", "-n", NAMESPACE, "-o", "json"]).await?)?;
    let mut found = BTreeMap::new();
    for secret in list.pointer("/items").and_then(Value::as_array).into_iter().flatten() {
        let text = |pointer: &str| secret.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("/metadata/name");
        if CREDENTIALS.contains(&name.as_str()) {
            found.insert(
                name,
                (text("/metadata/uid"), secret.pointer("/data").cloned().unwrap_or_default()),
            );
        }
    }
    Ok(found)
}
