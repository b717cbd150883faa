//! Changing annotations of an InferenceSet beside KAITO, which writes back all it has read before whenever it reconciles.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::documents::annotation;
use super::objects::Kind;
use crate::bed::{Bed, Look, never};

/// One reconciliation of KAITO's that had begun before the change takes less: up to 0.9 s were seen.
const SETTLED: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(60);

/// Sets annotations under the scaler's prefix (`None` takes one away) until the change has lasted.
///
/// # Errors
/// The API server's, or when somebody undoes the change again and again.
pub async fn change(bed: &Bed, namespace: &str, name: &str, changes: &[(&str, Option<&str>)]) -> Result<()> {
    let wanted: BTreeMap<String, Option<&str>> = changes.iter().map(|(key, value)| (annotation(key), *value)).collect();
    let patch = json!({"metadata": {"annotations": wanted}});
    let begun = Instant::now();
    while begun.elapsed() < WITHIN {
        bed.patch(Kind::INFERENCE_SET, namespace, name, &patch).await?;
        let lasted = never(SETTLED, "the change is undone", async || {
            let set = bed.get(Kind::INFERENCE_SET, namespace, name).await?;
            let annotations = set.pointer("/metadata/annotations");
            let shown = |key: &str| annotations.and_then(|all| all.get(key)).and_then(Value::as_str);
            let undone = wanted.iter().any(|(key, value)| shown(key) != *value);
            Ok(Look::when(undone, set.pointer("/metadata/annotations").cloned()))
        });
        if lasted.await.is_ok() {
            return Ok(());
        }
    }
    bail!("{namespace}/{name}: {changes:?} did not last")
}
