//! An installation of the Go reference becomes ours while KEDA calls: the same Secrets, the same ClusterTriggerAuthentication,
//! the same address.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::{expect, times};
use serde_json::{Value, json};

use crate::credentials::{Credentials, refusal, secret, value};
use crate::reference::{self, Scaler};
use crate::service::Service;
use crate::stage::{METRIC, REPLICAS, SHORT_GATES, Stage, alone, stand_for_service};
use crate::witness::Witness;

const SERVICE: &str = "10.244.254.12";
/// The gates, and the time to move the Service, which in a cluster is the roll-out.
const TAKEN_OVER: Duration = Duration::from_secs(150);

#[tokio::test]
async fn the_credentials_of_the_reference_are_taken_over_while_keda_calls() -> Result<()> {
    let bed = Bed::from_env().await?;
    reference::install(&bed).await?;
    let theirs = format!("{SERVICE}:20450");
    let old_scaler = Scaler::serve(&theirs).await?;
    let service = Service::start(&format!("{SERVICE}:10450"), &[&theirs]).await?;
    stand_for_service(&bed, &[SERVICE])?;
    bed.with_namespace("taken-over", async |namespace| {
        alone(&bed).await?;
        as_rendered(&bed, &namespace).await?;
        let before = Witness::now(&bed, &[]).await?;

        // Both authorities are out for long enough to move the Service.
        let begun = Instant::now();
        let gates = [&["--trust-minimum-age=45s"], &SHORT_GATES[1..]].concat();
        let (stage, _certmgr) = Stage::set_aside(&bed, &gates).await?;
        let ready = begun.elapsed();
        let serving = Witness::now(&bed, &stage.scalers).await?;
        let ours = REPLICAS.map(|address| format!("{address}:10450"));
        service.lead_to(&ours.each_ref().map(String::as_str));
        old_scaler.stop().await;
        eventually(TAKEN_OVER, "ours are the only credentials", async || {
            let authority = ["ca.crt", "ca.key"].map(str::to_owned).to_vec();
            let pair = ["ca.crt", "tls.crt", "tls.key"].map(str::to_owned).to_vec();
            let keys = stage.secret_keys().await?;
            Ok(Look::when(keys == [authority, pair.clone(), pair], keys))
        })
        .await?;
        let took = begun.elapsed();
        times::note(&bed, "take-over of the reference's credentials", took)?;
        expect::metric(&bed, &namespace, "phi", METRIC, 4.0).await?;
        their_client_is_refused(&bed).await?;
        let after = Witness::now(&bed, &stage.scalers).await?;
        before.keda_until(&after, &bed, &namespace).await?;
        let testimony = serving.scalers_until(&after)?;
        println!("ours were ready after {ready:?} and alone after {took:?}: {testimony:?}");
        ensure!(testimony.answered > 0.0, "nobody has called: {testimony:?}");
        Ok(())
    })
    .await
}

/// A ScaledObject as the reference rendered it, without an epoch and without a word on TLS, that KEDA has a value for.
async fn as_rendered(bed: &Bed, namespace: &str) -> Result<()> {
    InferenceSet::new(namespace, "phi").create(bed).await?;
    bed.fleet.set(namespace, "phi", json!({"waiting": 4})).await?;
    let metadata = json!({"metricName": names::DEFAULT_METRIC, "threshold": "10"});
    let mut theirs = trigger(namespace, "phi", &metadata);
    if let Some(metadata) = theirs.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("enableTLS");
    }
    let object = swift_scaled_object(namespace, "phi", 1, 3, &[theirs]);
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    expect::metric(bed, namespace, "phi", METRIC, 4.0).await
}

async fn their_client_is_refused(bed: &Bed) -> Result<()> {
    let bundle = value(&secret(bed, names::CLIENT_SECRET).await?, names::CA_CRT)?;
    let old = Credentials::new(reference::CLIENT, reference::CLIENT_KEY, &bundle);
    for replica in REPLICAS {
        let why = refusal(&old, replica).await?;
        ensure!(why.contains("UnknownCA"), "{replica} refuses for another reason: {why}");
    }
    Ok(())
}
