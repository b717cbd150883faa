//! KEDA makes no HPA while the scaler cannot be asked, and tries again after ever longer pauses. Once the scaler is back,
//! the HPA is there within seconds.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually, never};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, condition};
use keda_kaito_e2e::cases::running;
use keda_kaito_e2e::programs::{Name, Program};

use crate::{SOON, begin};

/// KEDA's pauses have grown to tens of seconds by then.
const OUTAGE: Duration = Duration::from_secs(45);
/// KEDA's connection, too, waits longer and longer before it dials again: up to 144 s, whatever it is asked. It is asked again
/// within half a minute of that.
const REPAIRED: Duration = Duration::from_secs(180);

#[tokio::test]
async fn an_hpa_that_keda_never_made_is_there_soon_after_a_long_outage() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _certmgr = begin(&bed, Name::Certmgr).await?;
    // Not waited for: as when the scaler fails just after.
    let mut provisioner = Program::spawn(
        &bed.directory.join("logs"),
        running::start(Name::Provisioner).argument("--require-scaler=false"),
    )?;
    provisioner.ready(SOON).await?;
    bed.with_namespace("outage", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&[
            ("auto-provision", "true"),
            ("threshold", "10"),
            ("max-replicas", "3"),
        ]);
        set.create(&bed).await?;
        eventually(SOON, "KEDA reports that it cannot ask the scaler", async || {
            let object = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
            let ready = condition(&object, "Ready").to_owned();
            Ok(Look::when(ready == "False", ready))
        })
        .await?;
        provisioner.stop().await?;
        let provisioner = begin(&bed, Name::Provisioner).await?;
        never(OUTAGE, "an HPA without a scaler", async || {
            let absent = bed.is_absent(Kind::HPA, &namespace, "keda-hpa-phi").await?;
            Ok(Look::when(!absent, ()))
        })
        .await?;
        let scaler = begin(&bed, Name::Scaler).await?;
        let hpa = eventually(REPAIRED, "the HPA is made and active", async || {
            let hpa = bed.get(Kind::HPA, &namespace, "keda-hpa-phi").await?;
            Ok(Look::when(condition(&hpa, "ScalingActive") == "True", hpa))
        })
        .await?;
        ensure!(hpa.pointer("/spec/metrics/0/external").is_some(), "{hpa:#}");
        let object = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
        ensure!(
            object.pointer("/spec/pollingInterval") == Some(&15.into()),
            "it was left changed: {object:#}"
        );
        scaler.stop().await?;
        provisioner.stop().await?;
        Ok(())
    })
    .await
}
