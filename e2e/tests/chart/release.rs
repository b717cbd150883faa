//! Releases come, change and go, and no Secret loses what is in it: also where the Go scaler's chart owned the Secrets.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing is null, and the check then fails"
)]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::chart::{folder, helm};
use serde_json::{Value, json};

use crate::ONE_RELEASE;

const DEPLOYMENT: Kind = Kind::new("apps", "v1", "Deployment");
const SERVICE: Kind = Kind::new("", "v1", "Service");
const SERVICE_ACCOUNT: Kind = Kind::new("", "v1", "ServiceAccount");
const SECRETS: [&str; 3] = [
    "keda-kaito-scaler-ca",
    "keda-kaito-scaler-server-certs",
    "keda-kaito-scaler-client-certs",
];
/// The Go scaler's chart, as far as its objects are known, in one template.
const REFERENCE: &str = include_str!("reference.yaml");

#[tokio::test]
async fn upgrade_rollback_and_uninstall_leave_credentials_alone() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _alone = ONE_RELEASE.lock().await;
    bed.with_namespace("release", async |namespace| {
        let release = Release::new("any-name", &namespace);
        let working = format!("--set=workingNamespace={namespace}");
        release.run("install", &folder(), &[&working]).await?;
        fill(&namespace, &SECRETS).await?;
        release
            .run("upgrade", &folder(), &[&working, "--set=scaler.replicas=2,logs.level=debug"])
            .await?;
        let scaler = bed.get(DEPLOYMENT, &namespace, "keda-kaito-scaler").await?;
        ensure!(scaler["spec"]["replicas"] == 2, "{scaler}");
        ensure!(scaler["spec"]["minReadySeconds"] == 300, "{scaler}");
        full(&bed, &namespace, &SECRETS).await?;
        release.helm(&["rollback", "any-name", "1"]).await?;
        full(&bed, &namespace, &SECRETS).await?;
        release.helm(&["uninstall", "any-name"]).await?;
        full(&bed, &namespace, &SECRETS).await?;
        ensure!(
            bed.is_absent(DEPLOYMENT, &namespace, "keda-kaito-scaler").await?,
            "uninstalled, and still there"
        );

        // Under another name it comes back to the same credentials.
        let again = Release::new("another-name", &namespace);
        again.run("install", &folder(), &[&working]).await?;
        full(&bed, &namespace, &SECRETS).await?;
        again.helm(&["uninstall", "another-name"]).await
    })
    .await
}

#[tokio::test]
async fn first_install_does_not_wait_for_warm_replicas_and_finds_keda() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _alone = ONE_RELEASE.lock().await;
    bed.with_namespace("release", async |namespace| {
        let release = Release::new("kks", &namespace);
        let notes = release.run("install", &folder(), &[]).await?;
        ensure!(notes.contains("KEDA to be in namespace keda"), "{notes}");
        ensure!(!notes.contains("WARNING"), "{notes}");
        let scaler = bed.get(DEPLOYMENT, &namespace, "keda-kaito-scaler").await?;
        ensure!(scaler["spec"]["minReadySeconds"].is_null(), "{scaler}");
        let environment = &scaler["spec"]["template"]["spec"]["containers"][0]["env"];
        let set = json!({"name": "WORKING_NAMESPACE", "value": "keda"});
        ensure!(
            environment.as_array().is_some_and(|list| list.contains(&set)),
            "{environment}"
        );
        release.helm(&["uninstall", "kks"]).await
    })
    .await
}

#[tokio::test]
async fn release_of_the_go_scalers_chart_is_upgraded_in_place_and_its_secrets_survive() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _alone = ONE_RELEASE.lock().await;
    bed.with_namespace("release", async |namespace| {
        let theirs = bed.directory.join("tmp").join(format!("{namespace}-reference"));
        write_reference(&theirs)?;
        let release = Release::new("kks", &namespace);
        release.run("install", &theirs, &[]).await?;
        let shared = &SECRETS[1..];
        fill(&namespace, shared).await?;
        let before = bed.get(SERVICE, &namespace, "keda-kaito-scaler-svc").await?;
        let deployment = bed.get(DEPLOYMENT, &namespace, "keda-kaito-scaler").await?;

        let working = format!("--set=workingNamespace={namespace}");
        release.run("upgrade", &folder(), &[&working]).await?;
        full(&bed, &namespace, shared).await?;
        let after = bed.get(SERVICE, &namespace, "keda-kaito-scaler-svc").await?;
        ensure!(before["spec"]["clusterIP"] == after["spec"]["clusterIP"], "{after}");
        let ours = bed.get(DEPLOYMENT, &namespace, "keda-kaito-scaler").await?;
        ensure!(
            deployment["metadata"]["uid"] == ours["metadata"]["uid"],
            "the Deployment was made anew"
        );
        let containers = &ours["spec"]["template"]["spec"]["containers"];
        ensure!(containers.as_array().is_some_and(|list| list.len() == 1), "{containers}");
        ensure!(
            ours["spec"]["template"]["spec"]["volumes"]
                .as_array()
                .is_some_and(|list| list.len() == 1),
            "{ours}"
        );
        // The old program has lost its rights and writes no more.
        ensure!(
            bed.is_absent(SERVICE_ACCOUNT, &namespace, "keda-kaito-scaler-sa").await?,
            "the old ServiceAccount stays"
        );

        release
            .run("upgrade", &folder(), &[&working, "--set=logs.level=debug"])
            .await?;
        full(&bed, &namespace, shared).await?;
        release.helm(&["rollback", "kks", "1"]).await?;
        full(&bed, &namespace, shared).await?;
        release.run("upgrade", &folder(), &[&working]).await?;
        full(&bed, &namespace, shared).await?;
        release.helm(&["uninstall", "kks"]).await?;
        full(&bed, &namespace, shared).await
    })
    .await
}

struct Release {
    name: &'static str,
    namespace: String,
}

impl Release {
    fn new(name: &'static str, namespace: &str) -> Self {
        let namespace = format!("--namespace={namespace}");
        Self { name, namespace }
    }

    async fn run(&self, verb: &str, chart: &Path, more: &[&str]) -> Result<String> {
        let chart = chart.display().to_string();
        helm(&[&[verb, self.name, &chart, &self.namespace], more].concat()).await
    }

    async fn helm(&self, arguments: &[&str]) -> Result<()> {
        helm(&[arguments, &[&self.namespace]].concat()).await.map(drop)
    }
}

/// What a program would write, in Secrets that are there or not.
async fn fill(namespace: &str, secrets: &[&str]) -> Result<()> {
    for name in secrets {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": contents(name),
        });
        let apply = ["apply", "--server-side", "--field-manager=program", "--filename=-"];
        kubectl(&apply, &secret.to_string()).await?;
    }
    Ok(())
}

async fn full(bed: &Bed, namespace: &str, secrets: &[&str]) -> Result<()> {
    for name in secrets {
        let secret: Value = bed
            .get(Kind::SECRET, namespace, name)
            .await
            .with_context(|| format!("{name} is lost"))?;
        let data = secret["data"].as_object().with_context(|| format!("{name} is empty"))?;
        let contents = contents(name);
        let keys: Vec<_> = contents.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        ensure!(data.keys().collect::<Vec<_>>() == keys, "{name} has {:?}", data.keys());
    }
    Ok(())
}

fn contents(name: &str) -> Value {
    json!({"ca.crt": name, "tls.crt": name, "tls.key": name})
}

fn write_reference(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("templates"))?;
    let about = "apiVersion: v2\nname: keda-kaito-scaler\nversion: 0.6.2\nappVersion: v0.6.2\n";
    fs::write(folder.join("Chart.yaml"), about)?;
    fs::write(folder.join("templates/all.yaml"), REFERENCE)?;
    Ok(())
}
