//! What can happen to lists and watches: cases 10 to 13.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::fault_proxy::{Fault, Injected, Rule, Scope, Then, Verb, WatchFault};
use keda_kaito_e2e::programs::Program;

use crate::stage::{self, HEALED, Stage, secret_is_there, series};

const WATCH: &[Verb] = &[Verb::Watch];
const LIST: &[Verb] = &[Verb::List];
const SETS: &[&str] = &["inferencesets"];
const STALENESS: &str = "_watch_unconfirmed_seconds{kind=\"InferenceSet\"}";

#[tokio::test]
async fn a_watch_that_dies_in_any_way_is_replaced_and_nothing_is_missed() -> Result<()> {
    stage::with("watches", async |stage| {
        silence(stage).await?;
        gone(stage).await?;
        lists(stage).await?;
        garbage(stage).await?;
        disorder(stage).await?;
        stage.rests(Duration::from_secs(10)).await
    })
    .await
}

/// Case 10: every connection of a watch dies without a word.
async fn silence(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let fault = stage
        .proxy
        .inject(Rule::new(Scope::all().verbs(WATCH), Fault::Watch(WatchFault::Silence)));
    stage.bed.delete(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
    let stale = async {
        for (program, prefix) in programs(stage) {
            let name = format!("{prefix}{STALENESS}");
            eventually(Duration::from_secs(30), &format!("{name} rises"), async || {
                let age = series(program, &name).await?;
                Ok(Look::when(age > 10.0, age))
            })
            .await?;
        }
        anyhow::Ok(())
    };
    let secret = secret_is_there(&stage.bed, Duration::from_secs(30));
    let (took, stale, secret) = tokio::join!(stage.edit(4, HEALED), stale, secret);
    stage.note("an edit arrives though every watch is dead", took?)?;
    stale?;
    secret?;
    ensure!(fault.hits() > 0, "nothing was silenced");
    drop((fault, trouble));
    for (program, prefix) in programs(stage) {
        let name = format!("{prefix}{STALENESS}");
        eventually(Duration::from_secs(30), &format!("{name} falls"), async || {
            let age = series(program, &name).await?;
            Ok(Look::when(age < 10.0, age))
        })
        .await?;
        restarted(program, prefix, "silent").await?;
    }
    stage.metric().await
}

/// Case 11: the version is too old, as an event and as an answer.
async fn gone(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let everywhere = Scope::all().verbs(WATCH);
    let event = stage.proxy.inject(Rule::new(everywhere, Fault::gone_event()).times(12));
    stage.note("an edit arrives after 410 events", stage.edit(5, HEALED).await?)?;
    struck(&event, 10).await?;
    drop(event);
    let sets = Scope::all().caller("provisioner").verbs(WATCH).resources(SETS);
    let answer = stage
        .proxy
        .inject(Rule::new(sets.clone(), Fault::status(410, "Expired")).times(3));
    let end = stage.proxy.inject(Rule::new(sets, Fault::line("", Then::Reset)).times(1));
    stage.note("an edit arrives after HTTP 410, three times", stage.edit(6, HEALED).await?)?;
    struck(&end, 1).await?;
    struck(&answer, 3).await?;
    stage.note("another arrives after the last 410", stage.edit(4, HEALED).await?)?;
    drop((answer, end, trouble));
    restarted(&stage.provisioner, "keda_kaito_provisioner", "gone").await
}

/// Case 12: a list that never ends for one program, lists cut short for another; no store is ever half-filled.
async fn lists(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let ours = Scope::all().caller("provisioner").resources(SETS);
    let theirs = Scope::all().caller("scaler");
    let hung = stage
        .proxy
        .inject(Rule::new(ours.clone().verbs(LIST), Fault::BlackHole).times(1));
    let cut = stage
        .proxy
        .inject(Rule::new(theirs.clone().verbs(LIST), Fault::Truncate(2_000)).times(8));
    let gone = |scope: Scope, times: u32| {
        stage
            .proxy
            .inject(Rule::new(scope.verbs(WATCH), Fault::gone_event()).times(times))
    };
    let again = [gone(ours, 1), gone(theirs, 4)];
    stage.note("an edit arrives though a list hangs", stage.edit(7, 2 * HEALED).await?)?;
    struck(&hung, 1).await?;
    struck(&cut, 1).await?;
    drop((hung, cut, again, trouble));
    restarted(&stage.provisioner, "keda_kaito_provisioner", "list_timeout").await?;
    restarted(&stage.scaler, "keda_kaito_scaler", "list_failed").await?;
    stage.metric().await
}

/// Case 13: what is no event, and what is no object.
async fn garbage(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let huge = format!(
        r#"{{"type":"MODIFIED","object":{{"kind":"InferenceSet","metadata":{{"name":"{}"}}}}}}"#,
        "x".repeat(64 << 20)
    );
    let before = stage.provisioner.usage()?.rss_mib;
    for (number, line) in [
        "\u{0}garbage",
        r#"{"type":"FUTURE","object":{}}"#,
        r#"{"type":"MODIFIED","object":{"kind":"InferenceSet","spec":3}}"#,
        r#"{"type":"MODIFIED"}"#,
        &huge,
    ]
    .into_iter()
    .enumerate()
    {
        let fault = stage
            .proxy
            .inject(Rule::new(Scope::all().verbs(WATCH).resources(SETS), Fault::line(line, Then::GoOn)).times(2));
        let maximum = 4 + i64::try_from(number)?;
        let took = stage.edit(maximum, HEALED).await?;
        stage.note(&format!("an edit arrives after garbage {number}"), took)?;
        struck(&fault, 2).await?;
    }
    drop(trouble);
    let usage = stage.provisioner.usage()?;
    stage.note(
        &format!("MiB of the provisioner at its peak, {before:.0} before, with a line of 64 MiB"),
        Duration::from_secs_f64(usage.peak_rss_mib),
    )?;
    ensure!(usage.peak_rss_mib < before + 48.0, "a line of 64 MiB was kept: {usage:?}");
    stage.metric().await
}

/// Case 13: events twice, and in another order than they happened. The last edit is what stays.
async fn disorder(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    for (fault, last) in [(WatchFault::Repeat, 8), (WatchFault::Swap, 9)] {
        let scope = Scope::all().verbs(WATCH).except(&["leases"]);
        let injected = stage.proxy.inject(Rule::new(scope, Fault::Watch(fault.clone())));
        for maximum in 4..8 {
            stage.flick(maximum).await?;
        }
        stage.edit(last, HEALED).await?;
        ensure!(injected.hits() > 0, "no event was touched");
    }
    drop(trouble);
    stage.metric().await
}

/// Waits until a fault has struck so often.
async fn struck(fault: &Injected, times: u32) -> Result<()> {
    eventually(HEALED, "the fault strikes", async || {
        let hits = fault.hits();
        Ok(Look::when(hits >= times, hits))
    })
    .await?;
    Ok(())
}

async fn restarted(program: &Program, prefix: &str, reason: &str) -> Result<()> {
    let text = program.metrics().await?;
    let label = format!("reason=\"{reason}\"");
    let counted = text
        .lines()
        .any(|line| line.starts_with(&format!("{prefix}_watch_restarts_total")) && line.contains(&label));
    ensure!(counted, "{} has counted no restart for {reason}", program.start.pod);
    Ok(())
}

fn programs(stage: &Stage) -> [(&Program, &'static str); 2] {
    [
        (&stage.provisioner, "keda_kaito_provisioner"),
        (&stage.scaler, "keda_kaito_scaler"),
    ]
}
