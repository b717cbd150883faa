//! Objects that cannot be read, that go and come back, or will not go; kinds that do; names that lie: 18 and 36 to 38.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::{expect, parts};
use keda_kaito_e2e::programs::Name;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stage::{self, HEALED, Stage, WAITING, series};

#[tokio::test]
async fn objects_that_are_broken_stuck_or_gone_concern_nobody_else() -> Result<()> {
    stage::with("objects", async |stage| {
        deleted_and_stuck(stage).await?;
        lying_names(stage).await?;
        recreated(stage).await?;
        undecodable(stage).await?;
        kinds_removed(stage).await
    })
    .await
}

/// Case 38: what is deleted comes back at once; what will not go is waited for.
async fn deleted_and_stuck(stage: &Stage) -> Result<()> {
    let (bed, namespace) = (&stage.bed, stage.namespace.as_str());
    let uid = async || {
        Ok::<_, anyhow::Error>(text(&bed.get(Kind::SCALED_OBJECT, namespace, "managed").await?, "/metadata/uid").to_owned())
    };
    let first = uid().await?;
    let begun = Instant::now();
    bed.delete(Kind::SCALED_OBJECT, namespace, "managed").await?;
    eventually(HEALED, "a deleted ScaledObject is back", async || {
        let now = uid().await?;
        Ok(Look::when(now != first, now))
    })
    .await?;
    stage.note("a deleted ScaledObject is back", begun.elapsed())?;

    let stuck = json!({"metadata": {"finalizers": ["example.com/stuck"]}});
    bed.patch(Kind::SCALED_OBJECT, namespace, "managed", &stuck).await?;
    let second = uid().await?;
    bed.delete(Kind::SCALED_OBJECT, namespace, "managed").await?;
    // It is neither changed nor fought over while it waits.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting = bed.get(Kind::SCALED_OBJECT, namespace, "managed").await?;
    ensure!(text(&waiting, "/metadata/uid") == second && waiting.pointer("/metadata/deletionTimestamp").is_some());
    let free = json!({"metadata": {"finalizers": null}});
    bed.patch(Kind::SCALED_OBJECT, namespace, "managed", &free).await?;
    let begun = Instant::now();
    eventually(HEALED, "a stuck ScaledObject is followed by another", async || {
        let now = uid().await?;
        Ok(Look::when(now != second, now))
    })
    .await?;
    stage.note("a ScaledObject that was stuck is followed by another", begun.elapsed())
}

/// Case 36: names fail in every test bed; here the pods' names lead elsewhere, too.
async fn lying_names(stage: &Stage) -> Result<()> {
    let pods = stage.bed.fleet.pods_of(&stage.namespace, "swift").await?;
    let hosts = stage.bed.directory.join("hosts");
    let mut hosts = File::options().append(true).open(hosts)?;
    for pod in &pods {
        let workspace = pod.workspace.as_deref().context("a pod without a Workspace")?;
        for name in [pod.name.as_str(), workspace] {
            let names = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{name}.{}{end}", stage.namespace));
            writeln!(hosts, "10.244.254.99 {name} {}", names.join(" "))?;
        }
    }
    expect::scraped(&stage.bed, &stage.namespace, "swift", 3).await?;
    stage.metric().await
}

/// Case 37: another InferenceSet of the same name, and nothing of the first one's pods is left in the value.
async fn recreated(stage: &mut Stage) -> Result<()> {
    let (bed, namespace) = (&stage.bed, stage.namespace.as_str());
    let begun = Instant::now();
    stage.chronicle.wants(namespace, "swift", 1);
    bed.delete(Kind::INFERENCE_SET, namespace, "swift").await?;
    eventually(HEALED, "the first one's pods are gone", async || {
        let pods = bed.fleet.pods_of(namespace, "swift").await?.len();
        let gone = bed.is_absent(Kind::INFERENCE_SET, namespace, "swift").await?;
        Ok(Look::when(gone && pods == 0, pods))
    })
    .await?;
    bed.fleet.set(namespace, "swift", json!({"waiting": 4})).await?;
    InferenceSet::new(namespace, "swift").create(bed).await?;
    expect::serving(bed, namespace, "swift", 1).await?;
    expect::metric(bed, namespace, "swift", WAITING, 4.0).await?;
    stage.total = 4.0;
    stage.note("the value of a recreated InferenceSet is its own", begun.elapsed())
}

/// Objects our types cannot read, of every kind we watch. The API server takes them once their schema lets it.
async fn undecodable(stage: &Stage) -> Result<()> {
    let (bed, namespace) = (&stage.bed, stage.namespace.as_str());
    for (crd, field) in [
        ("inferencesets.kaito.sh", "readyReplicas"),
        ("workspaces.kaito.sh", "targetNodeCount"),
        ("scaledobjects.keda.sh", "hpaName"),
    ] {
        loosen(stage, crd, field).await?;
    }
    let trouble = stage.chronicle.trouble();
    // Of objects that nothing hangs on, so that KEDA and KAITO, which can read these no better, lose little.
    InferenceSet::new(namespace, "broken").create(bed).await?;
    let workspace = eventually(HEALED, "it has a Workspace", async || {
        let all = bed.list(Kind::WORKSPACE, namespace).await?;
        let name = all
            .iter()
            .map(|workspace| text(workspace, "/metadata/name"))
            .find(|name| name.starts_with("broken"));
        Ok(name.map_or(Look::NotYet(String::new()), |name| Look::Met(name.to_owned())))
    })
    .await?;
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "broken", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "broken"},
            "triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "start": "0 0 1 1 *", "end": "1 0 1 1 *", "desiredReplicas": "1"}}],
        },
    });
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    let broken = [
        (
            Kind::INFERENCE_SET,
            "broken",
            json!({"status": {"readyReplicas": "some"}}),
            json!({"status": {"readyReplicas": 1}}),
        ),
        (
            Kind::WORKSPACE,
            workspace.as_str(),
            json!({"status": {"targetNodeCount": "three"}}),
            json!({"status": {"targetNodeCount": 1}}),
        ),
        (
            Kind::SCALED_OBJECT,
            "broken",
            json!({"status": {"hpaName": ["a"]}}),
            json!({"status": {"hpaName": null}}),
        ),
    ];
    for (kind, name, wrong, _) in &broken {
        // The API server takes up a changed schema in its own time; until then it drops what does not fit, or refuses it.
        eventually(HEALED, &format!("{} {name} is broken", kind.kind), async || {
            let kept = bed.patch_status(*kind, namespace, name, wrong).await?;
            let (wrong, kept) = (wrong.get("status"), kept.get("status"));
            let fields = wrong.and_then(Value::as_object).into_iter().flatten();
            let all = fields
                .into_iter()
                .all(|(field, value)| kept.and_then(|kept| kept.get(field)) == Some(value));
            Ok(Look::when(all, ()))
        })
        .await?;
    }
    for (program, prefix) in [
        (&stage.provisioner, "keda_kaito_provisioner"),
        (&stage.scaler, "keda_kaito_scaler"),
    ] {
        // The scaler reads nothing of a Workspace that is broken here.
        let workspace = (program.start.name == Name::Provisioner).then_some("Workspace");
        for kind in ["InferenceSet", "ScaledObject"].into_iter().chain(workspace) {
            let name = format!("{prefix}_watch_undecodable_objects_total{{kind=\"{kind}\"}}");
            eventually(HEALED, &format!("{name} counts"), async || {
                let count = series(program, &name).await?;
                Ok(Look::when(count > 0.0, count))
            })
            .await?;
        }
        let log = std::fs::read_to_string(&program.log)?;
        ensure!(
            log.contains("skipped an object that cannot be read"),
            "{} does not warn",
            program.start.pod
        );
    }
    stage.note(
        "an edit arrives beside objects that cannot be read",
        stage.edit(4, HEALED).await?,
    )?;
    for (kind, name, _, right) in &broken {
        bed.patch_status(*kind, namespace, name, right)
            .await
            .with_context(|| format!("mending {name}"))?;
    }
    bed.delete(Kind::SCALED_OBJECT, namespace, "broken").await?;
    stage.chronicle.forgive(Kind::SCALED_OBJECT, namespace, "broken");
    drop(trouble);
    stage.metric().await
}

/// Takes away what the schema says of a field of the status.
async fn loosen(stage: &Stage, crd: &str, field: &str) -> Result<()> {
    let found = stage.bed.get(Kind::CRD, "", crd).await?;
    let mut versions = found.pointer("/spec/versions").cloned().context("no versions")?;
    for version in versions.as_array_mut().into_iter().flatten() {
        let status = version.pointer_mut("/schema/openAPIV3Schema/properties/status/properties");
        let fields = status.and_then(Value::as_object_mut).context("no status")?;
        fields.insert(field.to_owned(), json!({"x-kubernetes-preserve-unknown-fields": true}));
    }
    let patch = json!({"spec": {"versions": versions}});
    stage.bed.patch(Kind::CRD, "", crd, &patch).await?;
    Ok(())
}

/// Case 18: KEDA's kinds go with all their objects, and come back.
async fn kinds_removed(stage: &Stage) -> Result<()> {
    let bed = &stage.bed;
    let trouble = stage.chronicle.trouble();
    stage.chronicle.forgive(Kind::SCALED_OBJECT, &stage.namespace, "swift");
    for crd in ["scaledobjects.keda.sh", "clustertriggerauthentications.keda.sh"] {
        bed.delete(Kind::CRD, "", crd).await?;
    }
    eventually(HEALED, "KEDA's kinds are gone", async || {
        let gone = bed.is_absent(Kind::CRD, "", "scaledobjects.keda.sh").await?
            && bed.is_absent(Kind::CRD, "", "clustertriggerauthentications.keda.sh").await?;
        Ok(Look::when(gone, ()))
    })
    .await?;
    for program in [&stage.certmgr, &stage.scaler, &stage.provisioner] {
        ensure!(
            program.get_health("/livez").await?.status.is_success(),
            "{} has ended",
            program.start.pod
        );
    }
    parts::run(bed, "install-crds", &["keda"]).await?;
    parts::run(bed, "install-crds", &["kaito"]).await?;
    drop(trouble);
    let ended = Instant::now();
    eventually(HEALED, "the ClusterTriggerAuthentication is back", async || {
        bed.get(Kind::TRIGGER_AUTHENTICATION, "", "keda-kaito-scaler-creds")
            .await
            .map(Look::Met)
    })
    .await?;
    stage.provisioned("managed", 4, HEALED).await?;
    stage.note("everything of ours is back after KEDA's kinds were", ended.elapsed())?;
    stage.restore_swift().await
}
