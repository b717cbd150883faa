//! Whole rotations of the authority, one after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::{expect, times};

use crate::caller::Caller;
use crate::credentials::{Credentials, dial, refusal, secret, value};
use crate::repetitions;
use crate::stage::{METRIC, REPLICAS, SHORT_GATES, Stage};
use crate::witness::Witness;

#[tokio::test]
async fn authorities_rotate_and_no_call_fails() -> Result<()> {
    let bed = Bed::from_env().await?;
    let (stage, _certmgr) = Stage::set(&bed, &SHORT_GATES).await?;
    bed.with_namespace("rotations", async |namespace| {
        stage.populate(&namespace).await?;
        let caller = Caller::start(&bed, &namespace, "called", &REPLICAS).await?;
        let before = Witness::now(&bed, &stage.scalers).await?;
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        let rotations = repetitions("ROTATIONS", 3);
        for number in 1..=rotations {
            let old = Credentials::read_one_by_one(&bed).await?;
            let took = stage.rotate(&format!("test {number}")).await?;
            longest = longest.max(took);
            times::note(&bed, "rotation of the authority", took)?;
            old_is_gone(&bed, &old).await?;
            caller.has_not_failed()?;
        }
        let took = begun.elapsed();
        for name in ["provisioned", "by-hand"] {
            expect::metric(&bed, &namespace, name, METRIC, 4.0).await?;
        }
        let after = Witness::now(&bed, &stage.scalers).await?;
        let testimony = before.until(&after, &bed, &namespace).await?;
        let count = caller.has_not_failed()?;
        println!("{rotations} rotations in {took:?}, at most {longest:?} each: {count:?}, {testimony:?}");
        ensure!(
            count.reads > u64::from(rotations),
            "the second client has not followed: {count:?}"
        );
        Ok(())
    })
    .await
}

/// The new authority alone vouches for what is served now, and whoever shows what it held before is refused.
async fn old_is_gone(bed: &Bed, old: &Credentials) -> Result<()> {
    let authority = value(&secret(bed, names::CA_SECRET).await?, names::CA_CRT)?;
    let new = Credentials::read_one_by_one(bed).await?;
    let only_new = new.bundle == authority && old.bundle != authority;
    ensure!(only_new, "KEDA's bundle is not the new authority alone");
    let late = Credentials {
        bundle: authority,
        ..old.clone()
    };
    for replica in REPLICAS {
        dial(&new, replica).await?;
        let why = refusal(&late, replica).await?;
        ensure!(why.contains("UnknownCA"), "{replica} refuses for another reason: {why}");
    }
    Ok(())
}
