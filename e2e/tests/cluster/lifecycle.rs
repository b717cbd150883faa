//! What comes and goes with an InferenceSet and its annotations.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually, never};
use keda_kaito_e2e::cases::annotations::change;
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object};
use keda_kaito_e2e::cases::objects::{Kind, spec_of_scaled_object, text};
use keda_kaito_e2e::cases::{expect, running};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// From a change to its repair.
const REPAIRED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_was_provisioned_goes_with_its_annotation_and_comes_back_with_it() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("annotation", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&SIMPLE);
        set.create(&bed).await?;
        provisioned(&bed, &namespace, "phi").await?;
        for gone in [None, Some("false")] {
            change(&bed, &namespace, "phi", &[("auto-provision", gone)]).await?;
            deprovisioned(&bed, &namespace, "phi").await?;
            change(&bed, &namespace, "phi", &[("auto-provision", Some("True"))]).await?;
            provisioned(&bed, &namespace, "phi").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deleted_inferenceset_takes_its_scaledobject_along_and_a_new_one_gets_its_own() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("recreated", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&SIMPLE);
        let first = set.create(&bed).await?;
        let first_object = provisioned(&bed, &namespace, "phi").await?;
        bed.delete(Kind::INFERENCE_SET, &namespace, "phi").await?;
        deprovisioned(&bed, &namespace, "phi").await?;
        let second = set.create(&bed).await?;
        let second_object = provisioned(&bed, &namespace, "phi").await?;
        ensure!(text(&first, "/metadata/uid") != text(&second, "/metadata/uid"));
        ensure!(text(&first_object, "/metadata/uid") != text(&second_object, "/metadata/uid"));
        ensure!(text(&second_object, "/metadata/ownerReferences/0/uid") == text(&second, "/metadata/uid"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_scaledobject_somebody_else_wrote_is_reported_and_left_alone() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("conflict", async |namespace| {
        let cron = json!({"type": "cron", "metadata": {
            "timezone": "UTC", "start": "0 0 1 1 *", "end": "1 0 1 1 *", "desiredReplicas": "1",
        }});
        let theirs = swift_scaled_object(&namespace, "phi", 1, 2, &[cron]);
        let set = InferenceSet::new(&namespace, "phi");
        set.create(&bed).await?;
        let theirs = bed.create(Kind::SCALED_OBJECT, &namespace, &theirs).await?;
        change(&bed, &namespace, "phi", &SIMPLE.map(|(key, value)| (key, Some(value)))).await?;
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "ScaledObjectConflict", &["phi"]).await?;
        let now = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
        ensure!(
            spec_of_scaled_object(&now) == spec_of_scaled_object(&theirs),
            "it was changed: {now:#}"
        );
        ensure!(
            text(&now, "/metadata/uid") == text(&theirs, "/metadata/uid"),
            "it was replaced"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_somebody_changes_in_a_managed_scaledobject_is_put_right_and_the_rest_is_left() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("drift", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&SIMPLE);
        set.create(&bed).await?;
        let right = provisioned(&bed, &namespace, "phi").await?;
        let wrong = json!({
            "metadata": {"annotations": {"autoscaling.keda.sh/paused-scale-in": "true"}, "labels": {"team": "shop"}},
            "spec": {"maxReplicaCount": 50, "minReplicaCount": 0, "triggers": []},
        });
        let wrong = bed.patch(Kind::SCALED_OBJECT, &namespace, "phi", &wrong).await;
        // KEDA's webhook insists on a trigger; without that change it must pass.
        ensure!(wrong.is_err(), "KEDA allows ScaledObjects without triggers: {wrong:?}");
        let wrong = json!({
            "metadata": {"annotations": {"autoscaling.keda.sh/paused-scale-in": "true"}, "labels": {"team": "shop"}},
            "spec": {"maxReplicaCount": 50, "minReplicaCount": 0},
        });
        // Many tests begin at once, and KEDA writes to the object too: the quickest of three is to be quick.
        let mut attempts = 0;
        let repaired = loop {
            attempts += 1;
            let begun = Instant::now();
            bed.patch(Kind::SCALED_OBJECT, &namespace, "phi", &wrong).await?;
            let repaired = eventually(SOON, "the drift is repaired", async || {
                let now = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
                Ok(Look::when(spec_of_scaled_object(&now) == spec_of_scaled_object(&right), now))
            })
            .await?;
            let took = begun.elapsed();
            if took < REPAIRED {
                break repaired;
            }
            ensure!(attempts < 3, "three repairs took more than {REPAIRED:?}, the last {took:?}");
        };
        let kept = repaired.pointer("/metadata/annotations/autoscaling.keda.sh~1paused-scale-in");
        ensure!(kept == Some(&json!("true")), "the user's annotation is gone: {repaired:#}");
        ensure!(text(&repaired, "/metadata/labels/team") == "shop", "the user's label is gone");
        let written = |object: &Value| text(object, "/metadata/resourceVersion").to_owned();
        let settled = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
        never(Duration::from_secs(5), "its spec is written again at rest", async || {
            let now = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
            let generation = |object: &Value| object.pointer("/metadata/generation").cloned();
            Ok(Look::when(
                generation(&now) != generation(&settled),
                (written(&settled), written(&now)),
            ))
        })
        .await
    })
    .await
}

/// KEDA refuses to name an HPA after it: the name would be too long.
#[tokio::test]
async fn an_inferenceset_with_a_long_name_gets_an_hpa_with_a_shorter_one() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("long", async |namespace| {
        let name = "a-name-of-sixty-three-characters-which-is-as-long-as-one-may-be";
        // KAITO cannot run it: the names it makes of this one are too long. That is KAITO's business.
        let set = InferenceSet::new(&namespace, name).annotated(&SIMPLE);
        bed.create(Kind::INFERENCE_SET, &namespace, &set.document()).await?;
        let hpas = eventually(SOON, "there is an HPA", async || {
            let hpas = bed.list(Kind::HPA, &namespace).await?;
            Ok(Look::when(!hpas.is_empty(), hpas))
        })
        .await?;
        ensure!(hpas.len() == 1, "{hpas:#?}");
        let named = hpas.first().map(|hpa| text(hpa, "/metadata/name")).unwrap_or_default();
        ensure!(
            named.len() <= 63 && named.starts_with("keda-hpa-a-name-of-sixty-three"),
            "{named}"
        );
        ensure!(bed.get(Kind::SCALED_OBJECT, &namespace, name).await.is_ok());
        Ok(())
    })
    .await
}

const SIMPLE: [(&str, &str); 3] = [("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "3")];

async fn provisioned(bed: &Bed, namespace: &str, name: &str) -> Result<Value> {
    let hpa = format!("keda-hpa-{name}");
    eventually(SOON, "ScaledObject and HPA are there", async || {
        bed.get(Kind::HPA, namespace, &hpa).await?;
        bed.get(Kind::SCALED_OBJECT, namespace, name).await.map(Look::Met)
    })
    .await
}

async fn deprovisioned(bed: &Bed, namespace: &str, name: &str) -> Result<()> {
    let hpa = format!("keda-hpa-{name}");
    eventually(SOON, "ScaledObject and HPA are gone", async || {
        let object = bed.is_absent(Kind::SCALED_OBJECT, namespace, name).await?;
        let hpa = bed.is_absent(Kind::HPA, namespace, &hpa).await?;
        Ok(Look::when(object && hpa, ()))
    })
    .await
}
