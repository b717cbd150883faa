//! certmgr killed after every single write of a rotation: the write has landed, its author never hears of it.

use std::time::Instant;

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::times;
use keda_kaito_e2e::fault_proxy::{Fault, FaultProxy, Rule, Scope, Verb};
use keda_kaito_e2e::programs::Program;

use crate::SOON;
use crate::caller::Caller;
use crate::stage::{REPLICAS, SHORT_GATES, Stage, certmgr, certmgr_start};
use crate::witness::Witness;

/// Fewer writes cannot make a rotation: six phases, and KEDA told three times.
const LEAST_WRITES: u32 = 9;

#[tokio::test]
async fn certmgr_may_be_killed_after_every_write_of_a_rotation() -> Result<()> {
    let bed = Bed::from_env().await?;
    let proxy = FaultProxy::start(&bed.directory.join("tmp")).await?;
    let (stage, steady) = Stage::set(&bed, &SHORT_GATES).await?;
    steady.stop().await?;
    bed.with_namespace("killed", async |namespace| {
        stage.populate(&namespace).await?;
        let caller = Caller::start(&bed, &namespace, "called", &REPLICAS).await?;
        let before = Witness::now(&bed, &stage.scalers).await?;
        let mut writes = 0;
        while killed_after(&stage, &proxy, writes + 1).await? {
            writes += 1;
            caller.has_not_failed()?;
        }
        let testimony = before
            .until(&Witness::now(&bed, &stage.scalers).await?, &bed, &namespace)
            .await?;
        let count = caller.has_not_failed()?;
        println!("killed after each of the {writes} writes of a rotation: {count:?}, {testimony:?}");
        ensure!(writes >= LEAST_WRITES, "a rotation of {writes} writes");
        Ok(())
    })
    .await
}

/// A rotation in which certmgr is killed once its `number`-th write has landed; false if there are not so many.
async fn killed_after(stage: &Stage, proxy: &FaultProxy, number: u32) -> Result<bool> {
    let mut start = certmgr_start(&SHORT_GATES);
    start.kubeconfig = Some(proxy.kubeconfig("certmgr", None)?);
    let mut victim = Program::spawn(&stage.logs, start)?;
    victim.ready(SOON).await?;
    let writes = Scope::all().caller("certmgr").verbs(&Verb::WRITES);
    let writes = writes.resources(&["secrets", "clustertriggerauthentications"]);
    let kept = proxy.inject(Rule::new(writes, Fault::KeepReply).every(number).times(1));
    let reason = format!("killed after write {number}");
    let begun = Instant::now();
    stage.ask(&reason).await?;
    let struck = eventually(SOON, &format!("write {number}, or the end"), async || {
        let struck = kept.hits() > 0;
        Ok(Look::when(struck || stage.is_rotated(&reason).await?, struck))
    })
    .await?;
    victim.kill().await?;
    drop(kept);
    if struck {
        let heir = certmgr(&stage.bed, &SHORT_GATES).await?;
        stage.rotated(&reason).await?;
        times::note(&stage.bed, &format!("rotation, {reason}"), begun.elapsed())?;
        heir.stop().await?;
    }
    Ok(struck)
}
