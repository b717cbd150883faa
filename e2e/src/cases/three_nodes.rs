//! GPU nodes so small that KAITO needs three of them for one replica of the documentation's model; it allows no more.

use anyhow::{Context, Result};
use serde_json::json;

use super::objects::{Kind, text};
use crate::bed::Bed;
use crate::fleet::nodes::{Labels, Machine, Wanted, object, status};

/// MiB per GPU. KAITO's estimate is three nodes from about 6,700 to 7,900.
const GPU_MEMORY: u64 = 7_270;
const NODES: usize = 3;

/// Makes three such nodes and returns the value of the label `apps` by which an InferenceSet finds them.
///
/// # Errors
/// The API server's or the fleet's.
pub async fn prepare(bed: &Bed, namespace: &str) -> Result<String> {
    let label = format!("three-{namespace}");
    let labels = Labels::from([("apps".to_owned(), label.clone())]);
    // The fleet binds pods to its own nodes only, so one of them carries the labels too.
    bed.fleet.cover(labels.clone()).await?;
    let small = json!({"metadata": {"labels": {"nvidia.com/gpu.memory": GPU_MEMORY.to_string()}}});
    let nodes = bed.list(Kind::NODE, "").await?;
    let fleets: Vec<&str> = nodes
        .iter()
        .filter(|node| text(node, "/metadata/labels/apps") == label)
        .map(|node| text(node, "/metadata/name"))
        .collect();
    for node in &fleets {
        bed.patch(Kind::NODE, "", node, &small).await?;
    }
    let address = nodes.first().map(|node| text(node, "/status/addresses/0/address"));
    let machine = Machine {
        gpu_memory: GPU_MEMORY,
        address: address.context("the fleet has no node")?.to_owned(),
        port: 10250,
    };
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for number in fleets.len()..NODES {
        let wanted = Wanted {
            name: format!("small-{label}-{number}"),
            labels: labels.clone(),
        };
        bed.create(Kind::NODE, "", &object(&wanted, &machine)).await?;
        bed.patch_status(Kind::NODE, "", &wanted.name, &status(&machine, &now))
            .await?;
    }
    Ok(label)
}
