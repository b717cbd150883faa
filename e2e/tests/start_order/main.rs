//! The order of start does not matter. This needs a bed of its own, in which neither CRDs nor KEDA nor KAITO are there yet:
//! `cargo xtask test` gives it one.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually, never};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, condition};
use keda_kaito_e2e::cases::{expect, parts, running};
use keda_kaito_e2e::programs::{Name, Program};
use serde_json::json;

const NAME: &str = "phi";

#[tokio::test]
async fn programs_wait_in_any_order_say_for_what_and_go_on_by_themselves() -> Result<()> {
    let bed = Bed::from_env().await?;
    let crds = bed.list(Kind::CRD, "").await?;
    ensure!(crds.is_empty(), "this bed has CRDs: `cargo xtask test` makes one without");
    let logs = bed.directory.join("logs");
    let mut programs = Vec::new();
    for name in running::ALL {
        programs.push(Program::spawn(&logs, running::start(name))?);
    }

    // Nothing is there.
    waits_for(&programs, Name::Provisioner, &["InferenceSet", "ScaledObject"]).await?;
    waits_for(&programs, Name::Scaler, &["InferenceSet", "ScaledObject"]).await?;
    waits_for(&programs, Name::Certmgr, &["ClusterTriggerAuthentication"]).await?;
    never(Duration::from_secs(20), "a program has ended or is ready", async || {
        for program in &programs {
            alive(program).await?;
            let reply = program.get_health("/readyz").await?;
            if reply.status.is_success() {
                return Ok(Look::Met(program.start.pod.clone()));
            }
        }
        Ok(Look::NotYet(String::new()))
    })
    .await?;

    // The Secrets' author goes away, at our word, before there is any place for Secrets.
    let certmgr = programs.remove(0);
    let status = certmgr.stop().await?;
    ensure!(status.success(), "told to end while it waits, certmgr ends with {status}");

    // Half of it: those who need KEDA's kinds still wait for them, and for nothing of KAITO's.
    parts::run(&bed, "install-crds", &["kaito"]).await?;
    waits_for(&programs, Name::Provisioner, &["ScaledObject"]).await?;
    says_no_more(&programs, Name::Provisioner, "InferenceSet").await?;
    parts::run(&bed, "install-crds", &["keda"]).await?;
    parts::run(&bed, "start-kaito", &[]).await?;

    // No namespace for Secrets, no KEDA: an InferenceSet comes first.
    let set =
        InferenceSet::new("default", NAME).annotated(&[("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "3")]);
    bed.create(Kind::INFERENCE_SET, "default", &set.document()).await?;
    for program in &programs {
        alive(program).await?;
    }
    parts::run(&bed, "start-keda", &[]).await?;
    waits_for(&programs, Name::Scaler, &[names::SERVER_SECRET]).await?;
    ensure!(
        bed.is_absent(Kind::SCALED_OBJECT, "default", NAME).await?,
        "provisioned though nobody serves"
    );

    programs.push(Program::spawn(&logs, running::start(Name::Certmgr))?);
    for program in &mut programs {
        program.ready(Duration::from_secs(90)).await?;
    }
    bed.fleet.set("default", NAME, json!({"waiting": 4})).await?;
    eventually(Duration::from_secs(90), "the HPA reads the metric", async || {
        let hpa = bed.get(Kind::HPA, "default", "keda-hpa-phi").await?;
        Ok(Look::when(condition(&hpa, "ScalingActive") == "True", hpa))
    })
    .await?;
    expect::metric(&bed, "default", NAME, "s0-vllm:num_requests_waiting", 4.0).await?;
    for program in &programs {
        alive(program).await?;
    }
    Ok(())
}

fn of(programs: &[Program], name: Name) -> Result<&Program> {
    let found = programs.iter().find(|program| program.start.name == name);
    found.with_context(|| format!("{} was not started", name.as_str()))
}

async fn alive(program: &Program) -> Result<()> {
    let reply = program.get_health("/livez").await.with_context(|| program.log_end())?;
    ensure!(reply.status.is_success(), "{}: {}", program.start.pod, reply.text());
    Ok(())
}

/// The program is not ready, and says that it waits for each of these.
async fn waits_for(programs: &[Program], name: Name, what: &[&str]) -> Result<()> {
    let program = of(programs, name)?;
    eventually(
        Duration::from_secs(20),
        &format!("{} waits for {what:?}", name.as_str()),
        async || {
            let reply = program.get_health("/readyz").await?;
            if reply.status.is_success() {
                bail!("it is ready");
            }
            let text = reply.text();
            Ok(Look::when(what.iter().all(|word| text.contains(word)), text))
        },
    )
    .await?;
    Ok(())
}

async fn says_no_more(programs: &[Program], name: Name, what: &str) -> Result<()> {
    let program = of(programs, name)?;
    eventually(
        Duration::from_secs(30),
        &format!("{} waits no more for {what}", name.as_str()),
        async || {
            let text = program.get_health("/readyz").await?.text();
            Ok(Look::when(!text.contains(what), text))
        },
    )
    .await?;
    Ok(())
}
