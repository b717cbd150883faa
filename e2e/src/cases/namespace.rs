//! A namespace per test, so that tests run beside each other and a failed one leaves its objects to look at.

use anyhow::Result;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::json;

use super::cluster::{Cluster, Kind};

/// A fresh namespace whose name begins with `stem`.
///
/// # Errors
/// The API server's.
pub async fn create(cluster: &Cluster, stem: &str) -> Result<String> {
    let suffix = Alphanumeric.sample_string(&mut rand::rng(), 5).to_lowercase();
    let name = format!("{stem}-{suffix}");
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.create(Kind::NAMESPACE, "", &object).await?;
    Ok(name)
}

/// Asks for the end of a namespace and all in it, without waiting: what remains disturbs nobody.
///
/// # Errors
/// The API server's.
pub async fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.delete(Kind::NAMESPACE, "", name).await
}
