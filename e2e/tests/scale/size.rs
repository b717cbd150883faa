//! Many InferenceSets: from a cold start to all ScaledObjects, then rest, then single changes, and the memory all that
//! takes. `SCALE_INFERENCE_SETS` says how many (5,000 is what is promised), `SCALE_WORKSPACES` how many Workspaces each,
//! `SCALE_WRITES` the pace, `SCALE_REST` the seconds at rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::audit::{AuditLog, Request, counts};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::documents::annotation;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::times;
use keda_kaito_e2e::programs::{Name, Program};
use serde_json::json;

use super::fleet::{self, Place};
use super::support::{self, metric_is};

const AGENT: &str = "keda-kaito-scaler-provisioner";
const PREFIX: &str = "scale";
const EDITS: usize = 200;
/// Promised for 5,000 InferenceSets and a program built for release; fewer need less, and a debug build little more.
const MEMORY_MIB: f64 = 150.0;

#[tokio::test(flavor = "multi_thread")]
async fn many_inference_sets_are_provisioned_at_the_pace_and_then_left_alone() -> Result<()> {
    let count = number("SCALE_INFERENCE_SETS", 500);
    let pace = number("SCALE_WRITES", 100);
    let (bed, log) = support::bed().await?;
    // What serves is told by a Lease; a real scaler keeps it, and it needs its Secret.
    let _certmgr = support::run(&bed, support::start(&bed, Name::Certmgr, 20)?).await?;
    let _scaler = support::run(&bed, support::start(&bed, Name::Scaler, 10)?).await?;
    let begun = Instant::now();
    let places = fleet::create(&bed, PREFIX, count, number("SCALE_WORKSPACES", 0)).await?;
    times::note(&bed, &format!("{count} InferenceSets created"), begun.elapsed())?;

    let mark = log.mark()?;
    let begun = Instant::now();
    let start = support::start(&bed, Name::Provisioner, 21)?.argument(format!("--api-writes-per-second={pace}"));
    let provisioner = support::run(&bed, start).await?;
    let within = Duration::from_secs(120) + Duration::from_secs(1) * u32::try_from(count / pace)?;
    metric_is(
        &provisioner,
        "keda_kaito_provisioner_provisioned_inference_sets",
        count as f64,
        within,
    )
    .await?;
    times::note(&bed, &format!("{count} ScaledObjects at {pace} writes/s"), begun.elapsed())?;
    note_usage(&bed, &provisioner, "after the cold start")?;
    support::settled(&log).await?;
    let requests = log.since(mark)?;
    let ours: Vec<Request> = requests.into_iter().filter(|request| request.agent == AGENT).collect();
    let applied: Vec<&Request> = ours
        .iter()
        .filter(|request| request.resource == "scaledobjects" && request.has_written() && request.namespace.starts_with(PREFIX))
        .collect();
    ensure!(applied.len() == count, "{:?}", counts(&ours, kind));
    at_pace(&applied, pace)?;
    at_rest(&bed, &log).await?;
    edits(&bed, &log, &places).await?;
    note_usage(&bed, &provisioner, "after the edits")?;
    Ok(())
}

fn number(variable: &str, default: usize) -> usize {
    let set = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(default)
}

/// Never more than a second's worth at once, and the rest at the pace. What was sent in time may arrive a little later.
fn at_pace(writes: &[&Request], pace: usize) -> Result<()> {
    let (Some(first), Some(last)) = (writes.first(), writes.last()) else {
        return Ok(());
    };
    let took = first.received.duration_until(last.received).as_secs_f64();
    let most = pace as f64 * (took + 2.0);
    ensure!(
        writes.len() as f64 <= most,
        "{} writes within {took:.1} s at {pace} a second",
        writes.len()
    );
    Ok(())
}

fn kind(request: &Request) -> String {
    format!("{} {} {}", request.verb, request.resource, request.code)
}

fn note_usage(bed: &Bed, program: &Program, when: &str) -> Result<()> {
    let usage = program.usage()?;
    times::note(bed, &format!("{when}: {usage:?}"), Duration::ZERO)?;
    ensure!(usage.rss_mib < MEMORY_MIB, "{when}: {usage:?}");
    Ok(())
}

async fn at_rest(bed: &Bed, log: &AuditLog) -> Result<()> {
    let span = Duration::from_secs(u64::try_from(number("SCALE_REST", 20))?);
    let mark = log.mark()?;
    tokio::time::sleep(span).await;
    let requests = log.since(mark)?;
    support::nothing_is_written(&requests)?;
    for (agent, number) in counts(&requests, |request| request.agent.clone()) {
        if agent.starts_with("keda-kaito-scaler-") {
            times::note(bed, &format!("at rest for {span:?}: {agent} made {number} requests"), span)?;
        }
    }
    Ok(())
}

/// Changes single objects and has the API server say how long each took from the change to the ScaledObject.
async fn edits(bed: &Bed, log: &AuditLog, places: &[Place]) -> Result<()> {
    let mark = log.mark()?;
    let edited: Vec<&Place> = places.iter().step_by((places.len() / EDITS).max(1)).collect();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for place in &edited {
        ticks.tick().await;
        let patch = json!({"metadata": {"annotations": {annotation("max-replicas"): "6"}}});
        bed.patch(Kind::INFERENCE_SET, &place.namespace, &place.name, &patch).await?;
    }
    support::settled(log).await?;
    let requests = log.since(mark)?;
    let mut took = Vec::new();
    for place in edited {
        let find = |resource: &str| {
            let mut found = requests.iter().filter(|request| {
                request.resource == resource
                    && request.verb == "patch"
                    && request.namespace == place.namespace
                    && request.name == place.name
            });
            found.next().with_context(|| format!("nobody patched {resource} {place:?}"))
        };
        let (asked, done) = (find("inferencesets")?.received, find("scaledobjects")?.answered);
        took.push(Duration::try_from(asked.duration_until(done))?);
    }
    took.sort();
    for percent in [50, 99, 100] {
        let one = took
            .get((took.len() * percent / 100).min(took.len() - 1))
            .copied()
            .unwrap_or_default();
        times::note(
            bed,
            &format!("one edit to its ScaledObject, {percent} % of {}: {one:?}", took.len()),
            one,
        )?;
    }
    let slowest = took.get(took.len() * 99 / 100).copied().context("nothing was edited")?;
    ensure!(slowest <= Duration::from_secs(10), "99 % of the edits took up to {slowest:?}");
    Ok(())
}
