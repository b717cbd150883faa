//! Renewals of both leaves, one after the other: nobody notices, and who holds the leaf before the last is still let in.

use std::time::Instant;

use anyhow::{Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};

use crate::caller::Caller;
use crate::credentials::{Credentials, dial, secret, value};
use crate::stage::{REPLICAS, SHORT_GATES, Stage, certmgr};
use crate::witness::Witness;
use crate::{SOON, repetitions};

/// Certificates live as long as ever: one that would end before the present one is not issued.
const SWIFT: [&str; 2] = ["--leaf-renew-after=3s", "--leaf-renew-jitter=0s"];

#[tokio::test]
async fn certificates_are_renewed_and_no_call_fails() -> Result<()> {
    let bed = Bed::from_env().await?;
    let (stage, steady) = Stage::set(&bed, &SHORT_GATES).await?;
    bed.with_namespace("renewals", async |namespace| {
        stage.populate(&namespace).await?;
        let caller = Caller::start(&bed, &namespace, "called", &REPLICAS).await?;
        let before = Witness::now(&bed, &stage.scalers).await?;
        let first = Credentials::read_one_by_one(&bed).await?;
        let mut last = both(&bed).await?;
        steady.stop().await?;
        let begun = Instant::now();
        let _swift = certmgr(&bed, &[&SHORT_GATES[..], &SWIFT].concat()).await?;
        let renewals = repetitions("RENEWALS", 8);
        for _ in 0..renewals {
            last = eventually(SOON, "both certificates are renewed", async || {
                let now = both(&bed).await?;
                let renewed = now.iter().zip(&last).all(|(now, before)| now != before);
                Ok(if renewed {
                    Look::Met(now)
                } else {
                    Look::NotYet("one or both are the same".to_owned())
                })
            })
            .await?;
            caller.has_not_failed()?;
        }
        let took = begun.elapsed();
        for replica in REPLICAS {
            dial(&first, replica).await?;
        }
        let after = Witness::now(&bed, &stage.scalers).await?;
        let testimony = before.until(&after, &bed, &namespace).await?;
        let count = caller.has_not_failed()?;
        println!("{renewals} renewals of both certificates in {took:?}: {count:?}, {testimony:?}");
        ensure!(
            count.reads > u64::from(renewals) / 2,
            "the second client has not followed: {count:?}"
        );
        Ok(())
    })
    .await
}

/// The server's and the client's certificate.
async fn both(bed: &Bed) -> Result<[Vec<u8>; 2]> {
    let of = async |name| value(&secret(bed, name).await?, names::TLS_CRT);
    Ok([of(names::SERVER_SECRET).await?, of(names::CLIENT_SECRET).await?])
}
