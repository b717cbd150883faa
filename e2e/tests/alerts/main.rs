//! The chart's alert rules. promtool runs them on series that are well, then ill; then a real Prometheus scrapes all three
//! programs, and a second scaler, and evaluates them many times faster, while faults are injected: each fires for its own
//! fault and clears with it, but for an authority's end and a rotation that waits, which take too long. Before the last faults
//! everything is read back as Prometheus understood it. A bed of its own: its faults are everybody's.

mod prometheus;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::annotations;
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::chart;
use keda_kaito_e2e::collector::Collector;
use keda_kaito_e2e::fault_proxy::{Fault, Injected, Rule, Scope, Verb, WatchFault};
use serde_json::{Value, json};

use stage::Stage;

const TESTS: &str = include_str!("rules.yaml");
const METRICS: &str = include_str!("../../../docs/metrics.md");

#[test]
fn every_alert_is_quiet_at_first_and_fires_in_time_by_promtool() -> Result<()> {
    let rules = chart::folder().join("files/alerts.yaml");
    let folder = tempfile::tempdir()?;
    std::fs::copy(&rules, folder.path().join("alerts.yaml"))?;
    std::fs::write(folder.path().join("tests.yaml"), TESTS)?;
    promtool(folder.path(), &["check", "rules", "alerts.yaml"])?;
    promtool(folder.path(), &["test", "rules", "tests.yaml"])?;
    let tested: Value = serde_yaml::from_str(TESTS)?;
    let tested = tested.pointer("/tests").and_then(Value::as_array).context("no tests")?;
    let tested: BTreeSet<&str> = tested.iter().filter_map(|test| test.get("name")?.as_str()).collect();
    let rules: Value = serde_yaml::from_str(&std::fs::read_to_string(rules)?)?;
    let rules = rules
        .pointer("/groups/0/rules")
        .and_then(Value::as_array)
        .context("no rules")?;
    let rules: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.get("alert")?.as_str()).collect();
    ensure!(tested == rules, "rules {rules:?}, tested {tested:?}");
    Ok(())
}

fn promtool(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

#[tokio::test]
async fn alerts_fire_for_their_faults_and_clear_with_them_in_a_real_prometheus() -> Result<()> {
    let bed = Bed::from_env().await?;
    let namespaced = bed.clone();
    namespaced
        .with_namespace("alerts", async |namespace| {
            let mut stage = Stage::set(bed, namespace).await?;
            certificates(&mut stage).await?;
            let _listening = spans(&stage).await?;
            blindness(&mut stage).await?;
            let stale = staleness(&stage);
            annotations_wrong(&stage).await?;
            leaders(&stage).await?;
            clocks(&stage).await?;
            credentials(&stage).await?;
            strangers(&stage).await?;
            silence(&stage).await?;
            lost(&stage).await?;
            fresh_again(&stage, stale).await?;
            stage.prometheus.quiet().await?;
            read_back(&stage).await?;
            gone(&mut stage).await
        })
        .await
}

/// Leaves of ten days are within fourteen of their end.
async fn certificates(stage: &mut Stage) -> Result<()> {
    stage.prometheus.fires("KedaKaitoCertificateExpires", "certmgr").await?;
    stage.lasting_certificates().await?;
    stage.prometheus.clears("KedaKaitoCertificateExpires").await
}

/// Nobody listened at first.
async fn spans(stage: &Stage) -> Result<Collector> {
    stage.prometheus.fires("KedaKaitoSpansDropped", "scaler").await?;
    let collector = stage.collect().await?;
    stage.prometheus.clears("KedaKaitoSpansDropped").await?;
    ensure!(!collector.spans()?.is_empty(), "the collector received nothing");
    Ok(collector)
}

/// The second scaler may scrape nothing, so that it sees no pod while the first one does.
async fn blindness(stage: &mut Stage) -> Result<()> {
    stage.prometheus.fires("KedaKaitoTargetsOverQuota", "second").await?;
    stage.prometheus.fires("KedaKaitoScalerBlind", "second").await?;
    stage.open_eyes().await?;
    stage.prometheus.clears("KedaKaitoTargetsOverQuota").await?;
    stage.prometheus.clears("KedaKaitoScalerBlind").await
}

/// The second scaler hears nothing of ScaledObjects any more. That takes two minutes to be worth an alert: other faults come
/// and go meanwhile.
fn staleness(stage: &Stage) -> [Injected; 2] {
    let scope = || Scope::all().resources(&["scaledobjects"]).caller("second");
    [
        Rule::new(scope().verbs(&[Verb::Watch]), Fault::Watch(WatchFault::Silence)),
        Rule::new(scope(), Fault::BlackHole),
    ]
    .map(|rule| stage.proxy.inject(rule))
}

async fn fresh_again(stage: &Stage, stale: [Injected; 2]) -> Result<()> {
    let within = Duration::from_secs(150);
    stage
        .prometheus
        .fires_within(within, "KedaKaitoViewStale", "ScaledObject")
        .await?;
    drop(stale);
    stage.prometheus.clears("KedaKaitoViewStale").await
}

/// certmgr's clock is an hour fast.
async fn clocks(stage: &Stage) -> Result<()> {
    stage.clock.set("+1h")?;
    stage.prometheus.fires("KedaKaitoClocksApart", "certmgr").await?;
    stage.clock.set("+0")?;
    stage.prometheus.clears("KedaKaitoClocksApart").await
}

async fn annotations_wrong(stage: &Stage) -> Result<()> {
    let set = InferenceSet::new(&stage.namespace, "wrong").annotated(&[("auto-provision", "true"), ("max-replicas", "many")]);
    set.create(&stage.bed).await?;
    stage.prometheus.fires("KedaKaitoAnnotationsWrong", "wrong").await?;
    annotations::change(&stage.bed, &stage.namespace, "wrong", &[("auto-provision", Some("false"))]).await?;
    stage.prometheus.clears("KedaKaitoAnnotationsWrong").await
}

/// Leases cannot be renewed.
async fn leaders(stage: &Stage) -> Result<()> {
    let faults = ["provisioner", "certmgr"].map(|caller| {
        let renewals = Scope::all().verbs(&Verb::WRITES).resources(&["leases"]).caller(caller);
        let unavailable = Fault::status(503, "ServiceUnavailable");
        stage.proxy.inject(Rule::new(renewals, unavailable))
    });
    stage.prometheus.fires("KedaKaitoProvisionerHasNoLeader", "").await?;
    stage.prometheus.fires("KedaKaitoCertmgrHasNoLeader", "").await?;
    drop(faults);
    stage.prometheus.clears("KedaKaitoProvisionerHasNoLeader").await?;
    stage.prometheus.clears("KedaKaitoCertmgrHasNoLeader").await
}

async fn credentials(stage: &Stage) -> Result<()> {
    let garbage = json!({"stringData": {names::TLS_CRT: "no certificate"}});
    stage.bed.patch(Kind::SECRET, "keda", names::SERVER_SECRET, &garbage).await?;
    stage.prometheus.fires("KedaKaitoCredentialsRefused", "scaler").await?;
    stage.prometheus.clears("KedaKaitoCredentialsRefused").await
}

/// Somebody calls again and again who is not KEDA.
async fn strangers(stage: &Stage) -> Result<()> {
    let calls = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            if let Err(error) = stage.call_without_tls().await {
                return error;
            }
        }
    };
    tokio::select! {
        fired = stage.prometheus.fires("KedaKaitoCallersRefused", "not_tls") => fired?,
        error = calls => return Err(error),
    }
    stage.prometheus.clears("KedaKaitoCallersRefused").await
}

/// A pod accepts connections and answers none; its HPA uses the value in a way that allows no interim answer.
async fn silence(stage: &Stage) -> Result<()> {
    let (bed, namespace) = (&stage.bed, &stage.namespace);
    bed.fleet.set(namespace, "swift", json!({"fault": {"kind": "hang"}})).await?;
    stage.prometheus.fires("KedaKaitoReplicaSilent", "swift").await?;
    stage.prometheus.fires("KedaKaitoScalerNotAnswering", "").await?;
    bed.fleet.set(namespace, "swift", json!({"fault": null})).await?;
    stage.prometheus.clears("KedaKaitoReplicaSilent").await?;
    stage.prometheus.clears("KedaKaitoScalerNotAnswering").await
}

/// A second replica that never comes up.
async fn lost(stage: &Stage) -> Result<()> {
    let (bed, namespace) = (&stage.bed, &stage.namespace);
    bed.fleet.set(namespace, "late", json!({"cold_start_ms": 600_000})).await?;
    let more = json!({"spec": {"replicas": 2}});
    bed.patch(Kind::INFERENCE_SET, namespace, "late", &more).await?;
    stage.prometheus.fires("KedaKaitoReplicaLost", "late").await?;
    // Its series go with it.
    bed.delete(Kind::INFERENCE_SET, namespace, "late").await?;
    stage.prometheus.clears("KedaKaitoReplicaLost").await
}

/// The scaler, then all three: nobody is left to tell.
async fn gone(stage: &mut Stage) -> Result<()> {
    stage.stop_second().await?;
    stage.kill_scaler().await?;
    stage.prometheus.fires("KedaKaitoScalerGone", "").await?;
    stage.start_scaler().await?;
    stage.prometheus.clears("KedaKaitoScalerGone").await?;
    let all = [
        "KedaKaitoScalerGone",
        "KedaKaitoProvisionerHasNoLeader",
        "KedaKaitoCertmgrHasNoLeader",
    ];
    let starts = stage.kill_all().await?;
    for alert in all {
        stage.prometheus.fires(alert, "").await?;
    }
    stage.revive(starts).await?;
    for alert in all {
        stage.prometheus.clears(alert).await?;
    }
    Ok(())
}

/// Every family that Prometheus understood is in the table, with its type and its labels; and calls have exemplars.
async fn read_back(stage: &Stage) -> Result<()> {
    let rows: BTreeMap<&str, (&str, BTreeSet<&str>)> = METRICS.lines().filter_map(row).collect();
    let families = stage.prometheus.families().await?;
    ensure!(families.len() > 40, "only {} families", families.len());
    for (name, kind) in &families {
        let named = |name: &str| rows.get(name).is_some_and(|(known, _)| known == kind);
        ensure!(
            named(name) || named(&format!("{name}_total")),
            "{name}, a {kind}, is not in the table"
        );
    }
    for series in stage.prometheus.series().await? {
        let whole = series.get("__name__").map_or("", String::as_str);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| whole.strip_suffix(end));
        let (_, labels) = rows
            .get(whole)
            .or_else(|| rows.get(base?))
            .with_context(|| format!("{whole} is not in the table"))?;
        for label in series.keys().map(String::as_str) {
            let usual = ["__name__", "instance", "job", "namespace", "pod", "le"].contains(&label);
            ensure!(
                usual || labels.contains(label),
                "{whole} has a label {label:?} that the table lacks"
            );
        }
    }
    let exemplars = stage
        .prometheus
        .exemplars("keda_kaito_scaler_call_duration_seconds_bucket")
        .await?;
    let of_a_trace = |labels: &Value| {
        labels
            .get("trace_id")
            .and_then(Value::as_str)
            .is_some_and(|id| id.len() == 32)
    };
    ensure!(
        exemplars.iter().any(of_a_trace),
        "no call is joined with its trace: {exemplars:?}"
    );
    Ok(())
}

/// `| name | type | labels | meaning |` of the table.
fn row(line: &str) -> Option<(&str, (&str, BTreeSet<&str>))> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let (name, kind, labels) = (cells.next()?.strip_suffix('`')?, cells.next()?, cells.next()?);
    let labels = labels.split(", ").map(|label| label.trim_matches('`')).collect();
    Some((name, (kind, labels)))
}

/// From a fault, or its end, to what Prometheus makes of it.
const WITHIN: Duration = Duration::from_secs(60);
