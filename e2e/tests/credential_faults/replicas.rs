//! A rotation waits for a replica that cannot load what was published, and for one that is cut off, says for which, and goes on
//! when it may; replicas come and go meanwhile. The ScaledObject was written by hand, without an epoch.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::expect;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::fault_proxy::{Answer, Fault, Injected, Rule, Scope, Then, Verb, WatchFault};

use super::certmgr::{self, Gates};
use super::stage::{Stage, caller};

const SOON: Duration = Duration::from_secs(60);
/// Its Lease lasts 40 s after the last renewal, and half a minute more for clocks.
const LEASE_IS_OVER: Duration = Duration::from_secs(75);

#[tokio::test]
async fn a_rotation_waits_for_every_replica_says_for_which_and_all_serve() -> Result<()> {
    let bed = Bed::from_env().await?;
    bed.with_namespace("replicas", async |namespace| {
        let gates = Gates::SHORT;
        let mut stage = Stage::raise(&bed, &namespace, gates, certmgr::start(gates), |start| start).await?;

        // The second replica reads nothing of the Secret any more.
        let blind = blind(&stage, 1);
        certmgr::rotate(&bed, "replicas").await?;
        certmgr::reaches(&stage.certmgr, &["trust"], SOON).await?;
        says(&stage, 1, "trust").await?;
        ensure!(certmgr::phase(&stage.certmgr).await? == "trust", "it did not wait");
        stage.load.check()?;

        // The first one is cut off from the API server as the second one reads again: it has acknowledged the first
        // step, and misses the next.
        let cut = cut_off(&stage, 0, &Scope::all());
        drop(blind);
        certmgr::reaches(&stage.certmgr, &["serve"], SOON).await?;
        named(&stage, 0, "serve or trust").await?;
        // Without any news of the cluster it would say nothing after a minute, which is another rule than these.
        let narrower = cut_off(&stage, 0, &Scope::all().resources(&["secrets", "leases"]));
        drop(cut);
        says(&stage, 0, "serve or trust").await?;
        tokio::time::sleep(LEASE_IS_OVER).await;
        ensure!(
            certmgr::phase(&stage.certmgr).await? == "serve",
            "an expired Lease opened the gate"
        );
        named(&stage, 0, "serve or trust").await?;
        stage.load.check()?;

        // Replicas come and go.
        stage.add_replica(2, |start| start).await?;
        ensure!(
            certmgr::phase(&stage.certmgr).await? == "serve",
            "it went on without the one cut off"
        );
        drop(narrower);
        stage.stop_replica(1).await?;
        certmgr::rotated(&bed, &stage.certmgr, "replicas").await?;
        stage.loaded().await?;
        stage.lower().await
    })
    .await
}

fn blind(stage: &Stage, index: usize) -> Vec<Injected> {
    let secrets = || Scope::all().caller(&caller(index)).resources(&["secrets"]);
    let refused = Fault::Answer(Answer {
        status: 403,
        reason: "Forbidden",
        retry_after: None,
        plain: false,
    });
    vec![
        stage.proxy.inject(Rule::new(secrets(), refused)),
        stage
            .proxy
            .inject(Rule::new(secrets().verbs(&[Verb::Watch]), over(Then::End))),
    ]
}

fn cut_off(stage: &Stage, index: usize, scope: &Scope) -> Vec<Injected> {
    let all = || scope.clone().caller(&caller(index));
    vec![
        stage.proxy.inject(Rule::new(all(), Fault::BlackHole)),
        stage.proxy.inject(Rule::new(all().verbs(&[Verb::Watch]), over(Then::Reset))),
    ]
}

/// The end of every watch that is open.
fn over(how: Then) -> Fault {
    Fault::Watch(WatchFault::Inject(Bytes::new(), how))
}

/// `certmgr status`, the metrics and an Event name the replica and what it lacks.
async fn says(stage: &Stage, index: usize, lacks: &str) -> Result<()> {
    let pod = named(stage, index, lacks).await?;
    let words = [pod.as_str(), "waiting for replica"];
    expect::event(&stage.bed, "keda", Kind::SECRET, names::CA_SECRET, "RotationWaits", &words).await?;
    Ok(())
}

/// `certmgr status` and the metrics name the replica and what it lacks, and no other; its Pod's name.
async fn named(stage: &Stage, index: usize, lacks: &str) -> Result<String> {
    let pod = stage.scalers.get(&index).context("no such replica")?.start.pod.clone();
    let needs: Vec<&str> = lacks.split(" or ").collect();
    eventually(SOON, &format!("the status and the metrics name {pod}"), async || {
        let status = certmgr::status(stage.gates).await?;
        let metrics = stage.certmgr.metrics().await?;
        let waits = |need: &&str| {
            let labels = format!("{{replica=\"{pod}\",need=\"{need}\"}} 1");
            status.contains(&format!("replica {pod:?} to {need} "))
                && metrics.contains(&format!("keda_kaito_certmgr_replica_waited_for{labels}"))
        };
        let alone = metrics.contains("keda_kaito_certmgr_acknowledgements_missing 1\n");
        Ok(Look::when(alone && needs.iter().any(waits), status))
    })
    .await?;
    Ok(pod)
}
