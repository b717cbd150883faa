//! The admission policies deny what rules cannot: certmgr creates its three Secrets, a replica of the scaler writes its own
//! Lease, both with the tokens their pods would have.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing is null, and the check then fails"
)]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::chart::{folder, helm};
use serde_json::{Value, json};

use crate::ONE_RELEASE;

/// From a policy's creation until the API server goes by it.
const IN_FORCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn policies_hold_certmgr_to_its_secrets_and_replicas_of_the_scaler_to_their_leases() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _alone = ONE_RELEASE.lock().await;
    bed.with_namespace("policies", async |namespace| {
        let (chart, in_namespace) = (folder().display().to_string(), format!("--namespace={namespace}"));
        let working = format!("--set=workingNamespace={namespace}");
        helm(&["install", "kks", &chart, &in_namespace, &working]).await?;
        let outcome = async {
            secrets(&bed, &namespace).await?;
            leases(&bed, &namespace).await
        };
        let outcome = outcome.await;
        helm(&["uninstall", "kks", &in_namespace]).await?;
        outcome
    })
    .await
}

async fn secrets(bed: &Bed, namespace: &str) -> Result<()> {
    let account = "keda-kaito-scaler-certmgr";
    let pod = bed.create_pod_of(namespace, account, "certmgr-0").await?;
    let own = bed.kubeconfig_of(namespace, account, Some(&pod)).await?;
    let secret = |name: &str, kind: &str, annotations: Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
               "metadata": {"name": name, "namespace": namespace, "annotations": annotations}})
    };
    let none = || json!({});
    let token = json!({"kubernetes.io/service-account.name": "default"});
    denied(&own, &secret("another", "Opaque", none()), "its three Secrets").await?;
    denied(
        &own,
        &secret("keda-kaito-scaler-ca", "example.org/other", none()),
        "of type Opaque",
    )
    .await?;
    denied(
        &own,
        &secret("keda-kaito-scaler-ca", "Opaque", token.clone()),
        "no Secrets for ServiceAccounts",
    )
    .await?;
    denied(
        &own,
        &secret("keda-kaito-scaler-ca", "kubernetes.io/service-account-token", token),
        "certmgr creates",
    )
    .await?;
    let mut elsewhere = secret("keda-kaito-scaler-ca", "Opaque", none());
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    denied(&own, &elsewhere, "forbidden").await?;
    for name in [
        "keda-kaito-scaler-ca",
        "keda-kaito-scaler-server-certs",
        "keda-kaito-scaler-client-certs",
    ] {
        create(Some(&own), &secret(name, "Opaque", none())).await?;
    }
    let key = json!({"tls.crt": "", "tls.key": ""});
    let mut tls = secret("keda-kaito-scaler-server-certs", "kubernetes.io/tls", none());
    tls["data"] = key;
    create(Some(&own), &tls).await?;
    // Nobody else is held to anything.
    create(None, &secret("another", "Opaque", none())).await
}

async fn leases(bed: &Bed, namespace: &str) -> Result<()> {
    let account = "keda-kaito-scaler-scaler";
    let pod = bed.create_pod_of(namespace, account, "scaler-0").await?;
    let own = bed.kubeconfig_of(namespace, account, Some(&pod)).await?;
    let lease = |name: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": name, "namespace": namespace}, "spec": {"holderIdentity": "x"}})
    };
    for other in ["scaler-1", "operator.keda.sh", "keda-kaito-scaler-certmgr"] {
        denied(&own, &lease(other), "its own pod only: scaler-0").await?;
    }
    create(Some(&own), &lease("scaler-0")).await?;

    // What is there cannot be changed either.
    kubectl(&["create", "--filename=-"], &lease("operator.keda.sh").to_string()).await?;
    let file = own.display().to_string();
    let mut taken = lease("operator.keda.sh");
    taken["spec"]["holderIdentity"] = json!("the scaler");
    let replace = ["--kubeconfig", &file, "replace", "--dry-run=server", "--filename=-"];
    let refused = kubectl(&replace, &taken.to_string())
        .await
        .err()
        .context("a foreign Lease was written")?;
    ensure!(format!("{refused:#}").contains("its own pod only"), "{refused:#}");

    let unbound = bed.kubeconfig_of(namespace, account, None).await?;
    denied(&unbound, &lease("scaler-0"), "this token belongs to no pod").await
}

/// Whoever `own` belongs to is refused to create `object`, once the policies are in force.
async fn denied(own: &Path, object: &Value, because: &str) -> Result<()> {
    eventually(IN_FORCE, because, async || match create(Some(own), object).await {
        Ok(()) => Ok(Look::NotYet(format!("{object} was accepted"))),
        Err(refused) if format!("{refused:#}").contains(because) => Ok(Look::Met(())),
        Err(other) => bail!("{other:#}"),
    })
    .await
}

/// As the administrator when there is nobody else. Nothing is kept.
async fn create(own: Option<&Path>, object: &Value) -> Result<()> {
    let file = own.map(|own| own.display().to_string()).unwrap_or_default();
    let mut arguments = vec!["create", "--dry-run=server", "--validate=false", "--filename=-"];
    if own.is_some() {
        arguments.extend(["--kubeconfig", &file]);
    }
    kubectl(&arguments, &object.to_string()).await.map(drop)
}
