//! The control plane itself fails, and programs that stop running without ending: cases 5 to 9.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::parts;
use keda_kaito_e2e::fault_proxy::{Scope, Verb};
use keda_kaito_e2e::http_get;
use keda_kaito_e2e::programs::{Name, Program};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;

use crate::stage::{self, HEALED, Stage, revive, series};

/// A Lease is given up by then, and taken by another.
const STOPPED: Duration = Duration::from_secs(20);
/// Long enough for Leases to be given up.
const DOWN: Duration = Duration::from_secs(13);
const OTHERS: [&str; 5] = [
    "kube-controller-manager",
    "keda-operator",
    "keda-adapter",
    "keda-webhooks",
    "kaito-workspace",
];

#[tokio::test]
async fn an_outage_of_the_control_plane_costs_nothing_but_its_time() -> Result<()> {
    stage::with("outages", async |stage| {
        stopped(stage).await?;
        down(stage, &["kube-apiserver"], Duration::from_secs(1)).await?;
        down(stage, &["kube-apiserver"], DOWN).await?;
        full(stage).await?;
        older(stage).await
    })
    .await
}

/// Cases 5 and 6: the leaders and the scaler stand still, as on a machine that swaps; others take over.
async fn stopped(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let mut provisioner = stage.another(Name::Provisioner, "provisioner-2", 31)?;
    let mut certmgr = stage.another(Name::Certmgr, "certmgr-2", 30)?;
    for program in [&mut provisioner, &mut certmgr] {
        program.ready(HEALED).await?;
    }
    let first = [&stage.provisioner, &stage.certmgr, &stage.scaler];
    for program in first {
        program.signal(Signal::STOP)?;
    }
    let begun = Instant::now();
    let scaler = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        stage.scaler.signal(Signal::CONT)
    };
    let edit = async { anyhow::Ok((stage.edit(4, HEALED).await?, begun.elapsed())) };
    let (scaler, edit) = tokio::join!(scaler, edit);
    scaler?;
    let (_, took) = edit?;
    stage.note("an edit arrives though the leader stands still", took)?;
    ensure!(took < Duration::from_secs(30), "taken over after {took:?}");
    tokio::time::sleep(STOPPED.saturating_sub(begun.elapsed())).await;
    let woken = Instant::now();
    for program in [&stage.provisioner, &stage.certmgr] {
        program.signal(Signal::CONT)?;
    }
    stage.note("another edit arrives", stage.edit(5, HEALED).await?)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writes = Scope::all().verbs(&Verb::WRITES).except(&["leases", "events"]);
    let mut late = stage.proxy.calls(woken);
    late.retain(|call| ["provisioner", "certmgr"].contains(&call.request.caller.as_str()) && writes.covers(&call.request));
    ensure!(late.is_empty(), "written by a leader of the past: {late:?}");
    for (program, name) in [
        (&stage.provisioner, "keda_kaito_provisioner_leader"),
        (&stage.certmgr, "keda_kaito_certmgr_leader"),
    ] {
        ensure!(series(program, name).await? < 0.5, "{} thinks it leads", program.start.pod);
    }
    // The first ones lead again, at once since the others say that they go.
    let begun = Instant::now();
    for program in [provisioner, certmgr] {
        ensure!(program.stop().await?.success());
    }
    leads(&stage.provisioner, "keda_kaito_provisioner_leader").await?;
    leads(&stage.certmgr, "keda_kaito_certmgr_leader").await?;
    stage.note("both lead again after the others were told to end", begun.elapsed())?;
    drop(trouble);
    stage.metric().await
}

async fn leads(program: &Program, name: &str) -> Result<()> {
    eventually(HEALED, &format!("{} leads", program.start.pod), async || {
        let leader = series(program, name).await?;
        Ok(Look::when(leader > 0.5, leader))
    })
    .await?;
    Ok(())
}

/// Cases 7 and 8: parts are killed, and come back.
async fn down(stage: &Stage, parts: &[&str], span: Duration) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    parts::run(&stage.bed, "stop", parts).await?;
    tokio::time::sleep(span).await;
    parts::run(&stage.bed, "start", parts).await?;
    drop(trouble);
    heals(stage, &format!("{parts:?} was away for {span:?}")).await
}

/// Case 8: etcd takes no more writes, as when its disk is full, and then is killed with the API server.
async fn full(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    alarm("ACTIVATE").await?;
    let since = Instant::now();
    tokio::time::sleep(DOWN).await;
    for program in [Name::Provisioner, Name::Scaler, Name::Certmgr] {
        let rate = stage.proxy.rate(&Scope::all().caller(program.as_str()), since);
        stage.note(
            &format!("calls a second of {} while etcd is full", program.as_str()),
            Duration::from_secs_f64(rate),
        )?;
        ensure!(
            rate <= 5.0,
            "{} sends {rate:.1} calls a second while etcd is full",
            program.as_str()
        );
    }
    alarm("DEACTIVATE").await?;
    drop(trouble);
    heals(stage, "etcd was full").await?;
    down(stage, &["kube-apiserver", "etcd"], Duration::from_secs(5)).await
}

/// Case 9: etcd is restored from a copy made earlier: versions go back, and so do objects.
async fn older(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let both = ["kube-apiserver", "etcd"];
    let (data, copy) = (stage.bed.directory.join("etcd"), stage.bed.directory.join("tmp/etcd-copy"));
    parts::run(&stage.bed, "stop", &both).await?;
    ensure!(!copy.exists(), "{} is left of another test", copy.display());
    copy_folder(&data, &copy).await?;
    parts::run(&stage.bed, "start", &both).await?;
    revived(stage).await?;
    stage.edit(8, HEALED).await?;
    parts::run(&stage.bed, "stop", &both).await?;
    tokio::fs::remove_dir_all(&data).await?;
    copy_folder(&copy, &data).await?;
    tokio::fs::remove_dir_all(&copy).await?;
    parts::run(&stage.bed, "start", &both).await?;
    // Those who remember versions that do not exist any more are started anew, as every restoration asks for; ours are not.
    for part in OTHERS {
        revive(&stage.bed, part).await?;
        parts::run(&stage.bed, "stop", &[part]).await?;
    }
    parts::run(&stage.bed, "start", &OTHERS).await?;
    drop(trouble);
    heals(stage, "etcd was restored").await
}

/// Everything is as it should be, soon.
async fn heals(stage: &Stage, after: &str) -> Result<()> {
    let ended = Instant::now();
    revived(stage).await?;
    stage.edit(6, HEALED).await?;
    stage.edit(3, HEALED).await?;
    stage.note(&format!("edits arrive after {after}"), ended.elapsed())?;
    stage.metric().await
}

/// Parts that elect leaders end when they cannot renew, and here nobody else starts them again.
async fn revived(stage: &Stage) -> Result<()> {
    for part in OTHERS {
        revive(&stage.bed, part).await.with_context(|| part.to_owned())?;
    }
    Ok(())
}

/// etcd's own alarm for a full disk: it refuses writes for as long as it is on.
async fn alarm(action: &str) -> Result<()> {
    let body = json!({"action": action, "memberID": 0, "alarm": "NOSPACE"}).to_string();
    let reply = http_get::send(
        "127.0.0.1:2379".parse()?,
        Method::POST,
        "/v3/maintenance/alarm",
        Some(body.into_bytes()),
    )
    .await?;
    ensure!(reply.status.is_success(), "{action}: {} {}", reply.status, reply.text());
    Ok(())
}

async fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status().await?;
    ensure!(status.success(), "copying {} failed ({status})", from.display());
    Ok(())
}
