//! The life: the chart is installed, the programs run as their pods would, an InferenceSet is scaled, credentials rotate and are
//! repaired, a replica of the scaler is replaced, everything is turned off.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::{annotations, expect, running};
use keda_kaito_e2e::chart::{folder, helm};
use keda_kaito_e2e::programs::{Name, Program, Start};
use serde_json::{Value, json};
use tokio::process::Command;

/// The release's and KEDA's.
pub(crate) const NAMESPACE: &str = "keda";

const DEPLOYMENT: Kind = Kind::new("apps", "v1", "Deployment");
const READY: Duration = Duration::from_secs(90);
const REPAIRED: Duration = Duration::from_secs(30);
const ROTATED: Duration = Duration::from_secs(180);

pub(crate) async fn live(bed: &Bed) -> Result<()> {
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", NAMESPACE, restricted], "").await?;
    let chart = folder().display().to_string();
    helm(&["install", "kks", &chart, "--namespace=keda"]).await?;

    let mut certmgr = begin(bed, Name::Certmgr, "certmgr-0").await?;
    let mut scaler = begin(bed, Name::Scaler, "scaler-0").await?;
    let mut provisioner = begin(bed, Name::Provisioner, "provisioner-0").await?;
    for program in [&mut certmgr, &mut scaler, &mut provisioner] {
        program.ready(READY).await?;
    }
    bed.with_namespace("rights", async |namespace| {
        scale(bed, &namespace).await?;
        rotate(bed).await?;
        repair(bed, &namespace).await?;

        ensure!(scaler.stop().await?.success(), "the scaler failed while it was stopped");
        let mut scaler = begin(bed, Name::Scaler, "scaler-1").await?;
        scaler.ready(READY).await?;
        expect::metric(bed, &namespace, "phi", "s0-vllm:num_requests_waiting", 8.0).await?;

        annotations::change(bed, &namespace, "phi", &[("auto-provision", Some("false"))]).await?;
        eventually(REPAIRED, "the ScaledObject goes", async || {
            let absent = bed.is_absent(Kind::SCALED_OBJECT, &namespace, "phi").await?;
            Ok(Look::when(absent, absent))
        })
        .await?;
        for program in [scaler, provisioner, certmgr] {
            let name = program.start.pod.clone();
            ensure!(program.stop().await?.success(), "{name} failed while it was stopped");
        }
        Ok(())
    })
    .await
}

/// The pod of this program's Deployment, created as the Deployment would, and the program with that pod's token.
async fn begin(bed: &Bed, name: Name, pod: &str) -> Result<Program> {
    let deployment = match name {
        Name::Scaler => "keda-kaito-scaler".to_owned(),
        Name::Provisioner | Name::Certmgr => format!("keda-kaito-scaler-{}", name.as_str()),
    };
    let template = bed.get(DEPLOYMENT, NAMESPACE, &deployment).await?;
    let template = template
        .pointer("/spec/template")
        .context("a Deployment without a template")?
        .clone();
    let mut created = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": template.get("spec")});
    if let Some(metadata) = created.pointer_mut("/metadata") {
        *metadata = json!({"name": pod, "namespace": NAMESPACE, "labels": template.pointer("/metadata/labels")});
    }
    let created = bed.create_pod(created).await?;
    let account = format!("keda-kaito-scaler-{}", name.as_str());
    let kubeconfig = bed.kubeconfig_of(NAMESPACE, &account, Some(&created)).await?;

    let mut start = Start {
        pod: pod.to_owned(),
        kubeconfig: Some(kubeconfig),
        ..running::start(name)
    };
    let uid = created.metadata.uid.context("a pod without a uid")?;
    start.environment.push(("POD_UID".to_owned(), uid));
    // A rotation takes seconds, in place of a day.
    let paces: &[&str] = match name {
        Name::Certmgr => &[
            "--trust-minimum-age=2s",
            "--identify-minimum-age=2s",
            "--callers-known-for=5s",
            "--poll-interval=2s",
        ],
        Name::Scaler => &["--scrape-interval=5s"],
        Name::Provisioner => &[],
    };
    start.arguments.extend(paces.iter().map(|&pace| pace.to_owned()));
    Program::spawn(&bed.directory.join("logs"), start)
}

/// From an annotation to a value that the HPA reads, with a complaint on the way.
async fn scale(bed: &Bed, namespace: &str) -> Result<()> {
    let set =
        InferenceSet::new(namespace, "phi").annotated(&[("auto-provision", "true"), ("threshold", "ten"), ("max-replicas", "3")]);
    set.create(bed).await?;
    let reason = "InvalidAutoscalePolicy";
    expect::event(bed, namespace, Kind::INFERENCE_SET, "phi", reason, &["ten"]).await?;
    bed.fleet.set(namespace, "phi", json!({"waiting": 8})).await?;
    annotations::change(bed, namespace, "phi", &[("threshold", Some("10"))]).await?;
    expect::metric(bed, namespace, "phi", "s0-vllm:num_requests_waiting", 8.0).await?;

    // A metric that the pods do not have becomes an Event of the scaler.
    annotations::change(bed, namespace, "phi", &[("metricName", Some("vllm:num_requests_waitin"))]).await?;
    expect::event(
        bed,
        namespace,
        Kind::INFERENCE_SET,
        "phi",
        "MetricNotFound",
        &["num_requests_waiting"],
    )
    .await?;
    annotations::change(bed, namespace, "phi", &[("metricName", None)]).await?;
    expect::metric(bed, namespace, "phi", "s0-vllm:num_requests_waiting", 8.0).await
}

/// `certmgr rotate` as in certmgr's own pod, until the new authority stands alone.
async fn rotate(bed: &Bed) -> Result<()> {
    let before = authority(bed).await?;
    let programs = PathBuf::from(std::env::var_os("TESTBED_PROGRAMS").context("no test bed")?);
    let own = bed.directory.join("kubeconfig/keda.keda-kaito-scaler-certmgr.certmgr-0");
    let mut command = Command::new(programs.join("certmgr"));
    command
        .args(["rotate", "--reason=rights", "--working-namespace=keda"])
        .env("KUBECONFIG", own);
    let output = command.output().await.context("starting certmgr rotate")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually(ROTATED, "the authority is replaced", async || {
        let now = authority(bed).await?;
        let secret = bed.get(Kind::SECRET, NAMESPACE, names::CA_SECRET).await?;
        let keys: Vec<String> = secret
            .get("data")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect();
        let done = now != before && !keys.contains(&names::NEXT_CRT.to_owned());
        Ok(Look::when(done, keys))
    })
    .await?;
    Ok(())
}

async fn authority(bed: &Bed) -> Result<String> {
    let secret = bed.get(Kind::SECRET, NAMESPACE, names::CA_SECRET).await?;
    Ok(text(&secret, "/data/ca.crt").to_owned())
}

/// What somebody breaks is put right: each Secret, the ClusterTriggerAuthentication, a ScaledObject.
async fn repair(bed: &Bed, namespace: &str) -> Result<()> {
    for name in [names::SERVER_SECRET, names::CLIENT_SECRET, names::CA_SECRET] {
        // A type cannot be changed: certmgr has to delete the Secret.
        let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "example.org/wrong"});
        eventually(REPAIRED, "certmgr is not quicker than this", async || {
            bed.delete(Kind::SECRET, NAMESPACE, name).await?;
            bed.create(Kind::SECRET, NAMESPACE, &wrong).await.map(Look::Met)
        })
        .await?;
        eventually(REPAIRED, name, async || {
            let secret = bed.get(Kind::SECRET, NAMESPACE, name).await?;
            let usable = text(&secret, "/type") == "Opaque" && secret.pointer("/data/ca.crt").is_some();
            Ok(Look::when(usable, text(&secret, "/type").to_owned()))
        })
        .await?;
    }
    bed.delete(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
        .await?;
    eventually(REPAIRED, "the ClusterTriggerAuthentication is back", async || {
        let absent = bed
            .is_absent(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
            .await?;
        Ok(Look::when(!absent, absent))
    })
    .await?;
    let edit = json!({"spec": {"maxReplicaCount": 9}});
    bed.patch(Kind::SCALED_OBJECT, namespace, "phi", &edit).await?;
    eventually(REPAIRED, "the ScaledObject is put right", async || {
        let object = bed.get(Kind::SCALED_OBJECT, namespace, "phi").await?;
        let max = object.pointer("/spec/maxReplicaCount").and_then(Value::as_i64);
        Ok(Look::when(max == Some(3), max))
    })
    .await?;
    expect::metric(bed, namespace, "phi", "s0-vllm:num_requests_waiting", 8.0).await
}
