//! The HPA's arithmetic as `core::hpa` models it, against the real HPA behind the real KEDA: a table of values, targets,
//! counts and tolerances. It needs none of the programs under test. The targets are objects of a kind that no controller touches, so a status may lag as it likes.

mod scripted;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use keda_kaito_core::hpa::{Arithmetic, Tolerance, milli, value};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::{Kind, condition, number, text};
use keda_kaito_e2e::keda;
use serde_json::{Value, json};

use scripted::{METRIC, Scripted};

const TARGET: Kind = Kind::new("testbed.local", "v1", "ScaleTarget");
const MAX: u32 = 40;
/// The HPA controller looks for new kinds every 30 s.
const DECIDED_WITHIN: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug)]
struct Row {
    value: f64,
    target: f64,
    spec: u32,
    status: u32,
    up: f64,
    down: f64,
}

const fn row(value: f64, target: f64, spec: u32, status: u32, up: f64, down: f64) -> Row {
    Row {
        value,
        target,
        spec,
        status,
        up,
        down,
    }
}

impl Row {
    fn arithmetic(self) -> Arithmetic {
        let tolerance = Tolerance {
            up: self.up,
            down: self.down,
        };
        Arithmetic::new(self.target, self.status, tolerance)
    }

    fn expected(self) -> u32 {
        self.arithmetic().recommends(milli(self.value)).clamp(1, MAX)
    }
}

/// Each line shows one thing; what the HPA makes of it is asked of the model and of the HPA, and written nowhere.
const ROWS: [Row; 34] = [
    // Inside, at and just outside a tolerance of 0.1 up and 0.5 down, as the simple dialect has them.
    row(58.0, 10.0, 1, 1, 0.1, 0.5),
    row(10.0, 10.0, 1, 1, 0.1, 0.5),
    row(11.0, 10.0, 1, 1, 0.1, 0.5),
    row(11.001, 10.0, 1, 1, 0.1, 0.5),
    row(30.0, 10.0, 3, 3, 0.1, 0.5),
    row(33.0, 10.0, 3, 3, 0.1, 0.5),
    row(33.001, 10.0, 3, 3, 0.1, 0.5),
    row(15.0, 10.0, 3, 3, 0.1, 0.5),
    row(14.999, 10.0, 3, 3, 0.1, 0.5),
    row(0.0, 10.0, 3, 3, 0.1, 0.5),
    // A ratio of exactly 1.1 in thousandths: 10 to 11.
    row(110.0, 10.0, 10, 10, 0.1, 0.1),
    row(110.001, 10.0, 10, 10, 0.1, 0.1),
    row(90.0, 10.0, 10, 10, 0.1, 0.1),
    row(89.999, 10.0, 10, 10, 0.1, 0.1),
    // No tolerance: every deviation counts, and a whole count is exact.
    row(4.0, 1.0, 4, 4, 0.0, 0.0),
    row(4.001, 1.0, 4, 4, 0.0, 0.0),
    row(3.999, 1.0, 4, 4, 0.0, 0.0),
    row(3.0, 1.0, 4, 4, 0.0, 0.0),
    row(5.0, 1.0, 4, 4, 0.0, 0.0),
    row(2.5, 1.0, 4, 4, 0.0, 0.0),
    // The status lags behind the spec, or runs ahead: inside the tolerance the HPA returns the status.
    row(25.0, 10.0, 3, 2, 0.1, 0.5),
    row(20.0, 10.0, 3, 2, 0.1, 0.5),
    row(22.0, 10.0, 3, 2, 0.1, 0.5),
    row(30.0, 10.0, 2, 3, 0.1, 0.5),
    row(5.0, 1.0, 3, 5, 0.0, 0.0),
    row(3.0, 1.0, 3, 0, 0.1, 0.1),
    row(0.0, 1.0, 3, 0, 0.1, 0.1),
    // Bounds, thousandths, large and odd numbers.
    row(100_000.0, 10.0, 1, 1, 0.1, 0.5),
    row(0.0005, 0.001, 2, 2, 0.0, 0.0),
    row(0.002, 0.001, 1, 1, 0.0, 0.0),
    row(-3.0, 10.0, 2, 2, 0.1, 0.5),
    row(f64::NAN, 10.0, 2, 2, 0.1, 0.5),
    row(1e12, 1e11, 2, 2, 0.1, 0.1),
    row(2.345_678, 0.333, 5, 5, 0.25, 0.25),
];

/// Values that the model's inverse gives for a wanted count: the HPA must come to that count.
fn wanted() -> Result<Vec<(Row, u32)>> {
    let mut rows = Vec::new();
    for (target, spec, status, up, down, count) in [
        (10.0, 3, 3, 0.1, 0.5, 3),
        (10.0, 3, 3, 0.1, 0.5, 4),
        (10.0, 3, 3, 0.1, 0.5, 1),
        (10.0, 3, 2, 0.1, 0.5, 3),
        (1.0, 4, 4, 0.1, 0.1, 5),
        (1.0, 4, 4, 0.1, 0.1, 3),
        (1.0, 12, 12, 0.1, 0.1, 14),
        (1.0, 7, 6, 0.0, 0.0, 7),
        (0.5, 2, 2, 0.1, 0.5, 3),
        (2.5, 9, 9, 0.2, 0.2, 11),
    ] {
        let row = row(0.0, target, spec, status, up, down);
        let middle = row.arithmetic().middle_for(count);
        let middle = middle.with_context(|| format!("no value makes {count} of {row:?}"))?;
        rows.push((
            Row {
                value: value(middle),
                ..row
            },
            count,
        ));
    }
    Ok(rows)
}

#[tokio::test]
async fn the_model_of_the_hpa_agrees_with_the_real_one() -> Result<()> {
    let bed = Bed::from_env().await?;
    serve_targets(&bed).await?;
    let scaler = Scripted::serve().await?;
    bed.with_namespace("hpa-model", async |namespace| {
        let rows = ROWS.into_iter().map(|row| (row, row.expected()));
        let rows: Vec<(Row, u32)> = rows.chain(wanted()?).collect();
        ensure!(rows.len() >= 40, "only {} rows", rows.len());
        let decided = rows.into_iter().enumerate().map(|(index, (row, expected))| {
            let (bed, namespace, scaler) = (&bed, &namespace, &scaler);
            async move {
                let count = decide(bed, namespace, &format!("row-{index}"), row, scaler).await?;
                Ok::<_, anyhow::Error>((row, expected, count))
            }
        });
        let decided: Vec<_> = stream::iter(decided).buffer_unordered(64).try_collect().await?;
        let wrong: Vec<_> = decided.into_iter().filter(|(_, expected, count)| expected != count).collect();
        ensure!(wrong.is_empty(), "(row, the model's count, the HPA's count): {wrong:#?}");
        Ok(())
    })
    .await
}

/// The count the real HPA comes to.
async fn decide(bed: &Bed, namespace: &str, name: &str, row: Row, scaler: &Scripted) -> Result<u32> {
    let target = json!({
        "apiVersion": TARGET.api_version(), "kind": TARGET.kind,
        "metadata": {"name": name}, "spec": {"replicas": row.spec},
    });
    bed.create(TARGET, namespace, &target).await?;
    let status = json!({"status": {"replicas": row.status, "selector": format!("row={name}")}});
    bed.patch_status(TARGET, namespace, name, &status).await?;
    bed.create(Kind::SCALED_OBJECT, namespace, &scaled_object(name, row, scaler))
        .await?;
    eventually(DECIDED_WITHIN, &format!("the HPA decides on {row:?}"), async || {
        let hpa = bed.get(Kind::HPA, namespace, &format!("keda-hpa-{name}")).await?;
        if condition(&hpa, "ScalingActive") != "True" {
            bail!("{}", hpa.pointer("/status/conditions").unwrap_or(&Value::Null));
        }
        let target = bed.get(TARGET, namespace, name).await?;
        let count = number(&target, "/spec/replicas").context("a target without replicas")?;
        let desired = number(&hpa, "/status/desiredReplicas").context("an HPA without desired replicas")?;
        Ok(Look::when(count == desired, u32::try_from(count)?))
    })
    .await
}

fn scaled_object(name: &str, row: Row, scaler: &Scripted) -> Value {
    let rules = |tolerance: f64| {
        json!({
            "stabilizationWindowSeconds": 0, "tolerance": tolerance.to_string(), "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 1}],
        })
    };
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": TARGET.api_version(), "kind": TARGET.kind, "name": name},
            "pollingInterval": 300, "minReplicaCount": 1, "maxReplicaCount": MAX,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
                "scaleUp": rules(row.up), "scaleDown": rules(row.down),
            }}},
            "triggers": [{"type": "external", "metricType": "AverageValue", "metadata": {
                "scalerAddress": scaler.address.to_string(),
                "value": row.value.to_string(), "target": row.target.to_string(),
            }}],
        },
    })
}

/// A kind with a scale subresource and nobody who cares for it.
async fn serve_targets(bed: &Bed) -> Result<()> {
    let replicas = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": {"type": "string"},
    }});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaletargets.testbed.local"},
        "spec": {
            "group": TARGET.group, "scope": "Namespaced",
            "names": {"kind": TARGET.kind, "plural": "scaletargets", "singular": "scaletarget", "listKind": "ScaleTargetList"},
            "versions": [{
                "name": TARGET.version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": replicas, "status": replicas}}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
            }],
        },
    });
    bed.apply("", &serde_json::to_string(&definition)?).await?;
    let name = text(&definition, "/metadata/name");
    eventually(Duration::from_secs(20), "the scale targets are served", async || {
        let definition = bed.get(Kind::CRD, "", name).await?;
        // Established is what it will be served by; a list is what serves it.
        bed.list(TARGET, "default").await?;
        Ok(Look::when(condition(&definition, "Established") == "True", ()))
    })
    .await
}

#[tokio::test]
async fn a_value_passes_keda_in_thousandths() -> Result<()> {
    let bed = Bed::from_env().await?;
    serve_targets(&bed).await?;
    let scaler = Scripted::serve().await?;
    bed.with_namespace("milli", async |namespace| {
        for (index, given) in [58.0, 0.0005, 0.0015, 2.345_678, 1e12].into_iter().enumerate() {
            let name = format!("value-{index}");
            let row = row(given, 1.0, 1, 1, 0.0, 0.0);
            decide(&bed, &namespace, &name, row, &scaler).await?;
            let metric = format!("s0-{METRIC}");
            eventually(DECIDED_WITHIN, &format!("{given} as KEDA gives it"), async || {
                let seen = keda::external_metric(&bed.client, &namespace, &name, &metric).await?;
                Ok(Look::when(milli(seen) == milli(given), seen))
            })
            .await?;
        }
        Ok(())
    })
    .await
}
