//! What the provisioner exports while it works.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::running;
use keda_kaito_e2e::http_get;
use keda_kaito_e2e::programs::Name;

#[tokio::test]
async fn provisioner_exports_what_operators_watch() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("exported", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&[
            ("auto-provision", "true"),
            ("threshold", "10"),
            ("max-replicas", "3"),
            ("treshold", "10"),
        ]);
        set.create(&bed).await?;
        eventually(Duration::from_secs(60), "it is provisioned", async || {
            bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await.map(Look::Met)
        })
        .await?;
        let address = running::start(Name::Provisioner).metrics_address();
        let page = http_get::get(address, "/metrics").await?.text();
        for family in [
            "build",
            "reconciles",
            "reconcile_duration",
            "writes",
            "complaints",
            "watch",
            "leader",
        ] {
            let exported = page
                .lines()
                .any(|line| line.starts_with("keda_kaito_") && line.contains(family));
            ensure!(exported, "nothing about {family} in {page}");
        }
        let complaint = page
            .lines()
            .any(|line| line.contains("UnknownAnnotation") && line.contains(&namespace));
        ensure!(complaint, "the complaint is not shown: {page}");
        let others = page
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("keda_kaito_"));
        let others: Vec<&str> = others.collect();
        ensure!(others.is_empty(), "names without our prefix: {others:?}");
        Ok(())
    })
    .await
}
