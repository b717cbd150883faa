//! The admission policy of the chart on the real API server: what is wrong one annotation at a time is refused when it is
//! applied, in the provisioner's own words; nothing else is in anybody's way. What it lets through becomes an Event.

mod agreement;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation};
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::{expect, running, times};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

const SPEC: &str = include_str!("../../../charts/keda-kaito-scaler/files/annotation-policy.yaml");
const POLICY: &str = "keda-kaito-scaler-annotations";
/// What a policy cannot say has to be told within this time; the API server's own share of it is small.
const TOLD: Duration = Duration::from_secs(2);

const GOOD: [(&str, &str); 3] = [("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "3")];

/// Puts the policy in force in one namespace, so that tests of wrong annotations beside this one see nothing of it.
async fn in_force(bed: &Bed, namespace: &str) -> Result<()> {
    let spec: Value = serde_yaml::from_str(SPEC)?;
    let policy = json!({
        "apiVersion": Kind::ADMISSION_POLICY.api_version(), "kind": Kind::ADMISSION_POLICY.kind,
        "metadata": {"name": POLICY}, "spec": spec,
    });
    let binding = json!({
        "apiVersion": Kind::ADMISSION_BINDING.api_version(), "kind": Kind::ADMISSION_BINDING.kind,
        "metadata": {"name": format!("{POLICY}-{namespace}")},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }},
    });
    bed.apply("", &format!("{policy}\n---\n{binding}")).await?;
    eventually(Duration::from_secs(30), "the policy is in force", async || {
        let refusal = create(
            bed,
            &InferenceSet::new(namespace, "probe").annotated(&[("auto-provision", "maybe")]),
        )
        .await?;
        Ok(Look::when(refusal.is_some(), refusal))
    })
    .await?;
    Ok(())
}

/// What the API server says against creating it; nothing is created.
async fn create(bed: &Bed, set: &InferenceSet) -> Result<Option<String>> {
    let object: DynamicObject = serde_json::from_value(set.document())?;
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match bed.api(Kind::INFERENCE_SET, &set.namespace).create(&params, &object).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn scalar_errors_are_refused_when_they_are_applied_and_the_rest_is_told_within_two_seconds() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("refused", async |namespace| {
        in_force(&bed, &namespace).await?;
        let set = InferenceSet::new(&namespace, "phi").annotated(&GOOD);
        let wrong = set.clone().annotated(&[("threshold", "ten"), ("max-replicas", "1")]);
        let refused = kubectl(&["apply", "--filename=-"], &wrong.document().to_string()).await;
        let said = refused.err().context("it was applied")?.to_string();
        for (key, value) in [("threshold", "ten"), ("max-replicas", "1")] {
            let words = format!("{}: {value:?} is not accepted", annotation(key));
            ensure!(said.contains(&words), "{words} is not in {said}");
        }
        kubectl(&["apply", "--filename=-"], &set.document().to_string()).await?;

        // What an edit makes wrong is refused as well, whoever makes it and in either version.
        let patch = json!({"metadata": {"annotations": {annotation("min-replicas"): "4"}}});
        for kind in [Kind::INFERENCE_SET, Kind::INFERENCE_SET_V1ALPHA1] {
            let refused = bed.patch(kind, &namespace, "phi", &patch).await;
            let said = format!("{:#}", refused.err().context("the edit was accepted")?);
            ensure!(said.contains("4 is above the maximum of 3 replicas"), "{said}");
        }

        // What is in the list is beyond the policy. Many tests begin at once, and the quickest of three edits is to be quick.
        expect::serving(&bed, &namespace, "phi", 1).await?;
        let mut told = Duration::MAX;
        for up in 1..=3 {
            let list = format!("[{{name: a, type: gauge, upthreshold: {up}, downthreshold: {}}}]", up + 1);
            let patch = json!({"metadata": {"annotations": {annotation("metrics"): list, annotation("threshold"): null}}});
            let edited = Instant::now();
            bed.patch(Kind::INFERENCE_SET, &namespace, "phi", &patch).await?;
            let words = [annotation("metrics"), format!("at most the upthreshold, {up}")];
            let words = words.each_ref().map(String::as_str);
            expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "InvalidAutoscalePolicy", &words).await?;
            told = told.min(edited.elapsed());
            if told < TOLD {
                break;
            }
        }
        times::note(&bed, "admission: edit to Event", told)?;
        ensure!(told < TOLD, "the Event took {told:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_was_wrong_before_the_policy_is_in_nobodys_way() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("in-the-way", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi")
            .annotated(&GOOD)
            .annotated(&[("threshold", "ten")]);
        set.create(&bed).await?;
        let finalizer = json!({"metadata": {"finalizers": ["inferenceset.finalizer.kaito.sh", "example.com/keep"]}});
        bed.patch(Kind::INFERENCE_SET, &namespace, "phi", &finalizer).await?;
        in_force(&bed, &namespace).await?;

        // KAITO reconciles this: it writes a revision, annotations of its own and the status.
        let other = json!({"metadata": {"annotations": {"example.com/note": "x"}}, "spec": {"replicas": 2}});
        bed.patch(Kind::INFERENCE_SET, &namespace, "phi", &other).await?;
        expect::serving(&bed, &namespace, "phi", 2).await?;
        let status = json!({"status": {"readyReplicas": 2}});
        bed.patch_status(Kind::INFERENCE_SET, &namespace, "phi", &status).await?;

        // An edit has to put it right: another annotation alone does not.
        let more = json!({"metadata": {"annotations": {annotation("min-replicas"): "2"}}});
        let refused = bed.patch(Kind::INFERENCE_SET, &namespace, "phi", &more).await;
        let said = format!("{:#}", refused.err().context("the edit was accepted")?);
        ensure!(said.contains("\"ten\" is not accepted"), "{said}");

        bed.delete(Kind::INFERENCE_SET, &namespace, "phi").await?;
        let held = bed.get(Kind::INFERENCE_SET, &namespace, "phi").await?;
        ensure!(!text(&held, "/metadata/deletionTimestamp").is_empty(), "{held:#}");
        // Whoever takes the last finalizer off may touch anything on the way.
        let bare = json!({"metadata": {"annotations": {annotation("threshold"): "eleven"}, "finalizers": null}});
        bed.patch(Kind::INFERENCE_SET, &namespace, "phi", &bare).await?;
        eventually(Duration::from_secs(30), "it is gone", async || {
            let gone = bed.is_absent(Kind::INFERENCE_SET, &namespace, "phi").await?;
            Ok(Look::when(gone, ()))
        })
        .await
    })
    .await
}

#[tokio::test]
async fn the_largest_object_is_still_judged() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("largest", async |namespace| {
        in_force(&bed, &namespace).await?;
        // Together just below the 256 KiB that annotations may take.
        let list = "x".repeat(150_000);
        let threshold = "9".repeat(40_000);
        let mut set = InferenceSet::new(&namespace, "phi").annotated(&GOOD);
        for number in 0..2_500 {
            set.annotations.insert(format!("example.com/{number}"), "value".to_owned());
        }
        ensure!(create(&bed, &set).await?.is_none(), "a large object is refused");
        let long = set.clone().annotated(&[("threshold", &threshold)]);
        let said = create(&bed, &long).await?.context("a long threshold is accepted")?;
        ensure!(said.contains("999…\" is not accepted"), "{said}");
        let listed = set.annotated(&[("metrics", &list), ("min-replicas", "x")]);
        let said = create(&bed, &listed).await?.context("it is no longer judged")?;
        ensure!(said.contains("\"x\" is not accepted"), "{said}");
        Ok(())
    })
    .await
}
