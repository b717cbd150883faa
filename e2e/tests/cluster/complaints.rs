//! Everything a user can write wrongly: an Event says which annotation, quotes the value and says what is accepted; the
//! last good ScaledObject stays; putting it right takes effect at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::annotations::change;
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation};
use keda_kaito_e2e::cases::objects::{Kind, number, spec_of_scaled_object, text};
use keda_kaito_e2e::cases::{expect, running};
use serde_json::Value;

/// Different notes of one reason about one object are limited; more InferenceSets take more of them.
const PER_SET: usize = 6;
/// Alone in a bed it takes well below a second.
const AT_ONCE: Duration = Duration::from_secs(10);

/// One wrong value: the annotation, the value (`None`: taken away), the Event's reason, and what its message says beside
/// the annotation's name and the quoted value.
type Wrong = (&'static str, Option<&'static str>, &'static str, &'static str);

const INVALID: &str = "InvalidAutoscalePolicy";

const SIMPLE: [(&str, &str); 4] = [
    ("auto-provision", "true"),
    ("threshold", "10"),
    ("min-replicas", "1"),
    ("max-replicas", "3"),
];

const SIMPLE_WRONG: [Wrong; 14] = [
    ("auto-provision", Some("yes"), INVALID, "true"),
    ("min-replicas", Some("abc"), INVALID, "whole number"),
    ("min-replicas", Some("2.5"), INVALID, "whole number"),
    ("max-replicas", Some("1"), INVALID, "above 1"),
    ("max-replicas", Some("many"), INVALID, "above 1"),
    ("max-replicas", None, INVALID, "spec.nodeCountLimit"),
    ("threshold", Some("ten"), INVALID, "above 0"),
    ("threshold", Some("0"), INVALID, "above 0"),
    ("threshold", Some("-1"), INVALID, "above 0"),
    ("threshold", Some("NaN"), INVALID, "finite"),
    ("threshold", Some("inf"), INVALID, "finite"),
    ("threshold", None, INVALID, "missing"),
    ("metricName", Some("two words"), INVALID, "metric name"),
    ("min-replicas", Some("5"), "InvalidReplicaRange", "max-replicas"),
];

const METRICS: &str = "[{name: 'vllm:num_requests_waiting', type: gauge, upthreshold: 10, downthreshold: 1}]";

const POLICY: [(&str, &str); 4] = [
    ("auto-provision", "true"),
    ("metrics", METRICS),
    ("min-replicas", "1"),
    ("max-replicas", "3"),
];

const POLICY_WRONG: [Wrong; 15] = [
    ("metrics", Some("[{name: x"), INVALID, "list"),
    ("metrics", Some("not a list"), INVALID, "list"),
    ("metrics", Some("[]"), INVALID, "1 to"),
    (
        "metrics",
        Some("[{name: a, type: summary, upthreshold: 2, downthreshold: 1}]"),
        INVALID,
        "gauge or histogram",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, upthreshold: '2', downthreshold: 1}]"),
        INVALID,
        "quotes",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, upthreshold: .inf, downthreshold: 1}]"),
        INVALID,
        "finite",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, upthreshold: 1, downthreshold: 2}]"),
        INVALID,
        "at most",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, upthresold: 2, downthreshold: 1}]"),
        INVALID,
        "\"upthreshold\"",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, upthreshold: 2, downthreshold: 1, metriccachewindow: 30}]"),
        INVALID,
        "histogram only",
    ),
    (
        "metrics",
        Some("[{name: a, type: histogram, upthreshold: 2, downthreshold: 1, metriccachewindow: 5}]"),
        INVALID,
        "15 to 3600",
    ),
    (
        "metrics",
        Some("[{name: a, type: gauge, source: node, upthreshold: 2, downthreshold: 1}]"),
        INVALID,
        "modelpod",
    ),
    ("combinepolicy", Some("XOR"), INVALID, "AND or OR"),
    ("evaluationwindow", Some("3601"), INVALID, "3600"),
    ("scaleupcooldown", Some("0"), INVALID, "1800"),
    ("scaledowncooldown", Some("1801"), INVALID, "1800"),
];

#[tokio::test]
async fn every_invalid_annotation_is_named_and_quoted_and_costs_nothing() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("complaints", async |namespace| {
        let dialects = [("simple", &SIMPLE, &SIMPLE_WRONG[..]), ("policy", &POLICY, &POLICY_WRONG[..])];
        let sets = dialects.into_iter().flat_map(|(stem, good, wrong)| {
            let parts = wrong.chunks(PER_SET).enumerate();
            parts.map(move |(part, wrong)| (format!("{stem}-{part}"), good, wrong))
        });
        let checks = sets.map(|(name, good, wrong)| {
            let (bed, namespace) = (&bed, &namespace);
            async move {
                let set = InferenceSet::new(namespace, &name).annotated(good);
                set.create(bed).await?;
                for (step, case) in wrong.iter().enumerate() {
                    let corrected = u32::try_from(step)? + 4;
                    complain(bed, namespace, &name, good, *case, corrected)
                        .await
                        .with_context(|| format!("{name}: {case:?}"))?;
                }
                Ok(())
            }
        });
        try_join_all(checks).await.map(|_: Vec<()>| ())
    })
    .await
}

/// Breaks one annotation, reads the Event, and mends it with another maximum, which shows that the mending took effect.
async fn complain(bed: &Bed, namespace: &str, name: &str, good: &[(&str, &str)], wrong: Wrong, max: u32) -> Result<()> {
    let (key, value, reason, says) = wrong;
    let before = eventually(Duration::from_secs(60), "the good ScaledObject", async || {
        bed.get(Kind::SCALED_OBJECT, namespace, name).await.map(Look::Met)
    })
    .await?;
    change(bed, namespace, name, &[(key, value)]).await?;
    let quoted = value.map(|value| format!("{value:?}"));
    let subject = annotation(key);
    let mut words = vec![subject.as_str(), says];
    // Inside the list it is the value at fault that is quoted, not the whole list.
    if key != "metrics" && reason == INVALID {
        words.extend(quoted.as_deref());
    }
    expect::event(bed, namespace, Kind::INFERENCE_SET, name, reason, &words).await?;
    let kept = bed.get(Kind::SCALED_OBJECT, namespace, name).await?;
    ensure!(identity(&kept) == identity(&before), "it did not stay: {kept:#}");

    let usual = good.iter().find(|(usual, _)| *usual == key).map(|(_, value)| *value);
    let max = max.to_string();
    change(bed, namespace, name, &[(key, usual), ("max-replicas", Some(&max))]).await?;
    eventually(AT_ONCE, "the correction takes effect", async || {
        let now = bed.get(Kind::SCALED_OBJECT, namespace, name).await?;
        let shown = number(&now, "/spec/maxReplicaCount");
        Ok(Look::when(shown.map(|shown| shown.to_string()).as_ref() == Some(&max), shown))
    })
    .await?;
    Ok(())
}

fn identity(scaled_object: &Value) -> (&str, Value) {
    (text(scaled_object, "/metadata/uid"), spec_of_scaled_object(scaled_object))
}

#[tokio::test]
async fn a_misspelt_annotation_is_reported_with_the_nearest_known_one_and_ignored_ones_too() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("misspelt", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&POLICY).annotated(&[
            ("treshold", "3"),
            ("threshold", "3"),
            ("evaluation-window", "5"),
        ]);
        set.create(&bed).await?;
        let (misspelt, near) = (annotation("treshold"), annotation("threshold"));
        let unknown = [misspelt.as_str(), near.as_str()];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "UnknownAnnotation", &unknown).await?;
        let (misspelt, near) = (annotation("evaluation-window"), annotation("evaluationwindow"));
        let unknown = [misspelt.as_str(), near.as_str()];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "UnknownAnnotation", &unknown).await?;
        let (ignored, chosen) = (annotation("threshold"), annotation("metrics"));
        let ignored = [ignored.as_str(), chosen.as_str()];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "IgnoredAnnotation", &ignored).await?;
        eventually(Duration::from_secs(60), "it is provisioned all the same", async || {
            bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await.map(Look::Met)
        })
        .await?;
        Ok(())
    })
    .await
}
