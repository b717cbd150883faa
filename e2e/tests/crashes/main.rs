//! Programs that are killed in mid-run, without warning: what runs goes on, and what was missed is made up for. This
//! needs a bed of its own, since programs are shared by all tests of a bed; `cargo xtask test` gives it one.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::{Kind, number};
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{annotations, expect, parts, running};
use keda_kaito_e2e::programs::{Name, Program};
use serde_json::json;

const READY: Duration = Duration::from_secs(60);
/// A dead program stays dead for several rounds of the HPA.
const DEAD: Duration = Duration::from_secs(15);
const WAITING: &str = "s0-vllm:num_requests_waiting";

#[tokio::test]
async fn every_program_may_die_and_no_replica_is_lost() -> Result<()> {
    let bed = Bed::from_env().await?;
    let logs = bed.directory.join("logs");
    let begin = async |name: Name| -> Result<Program> {
        let mut program = Program::spawn(&logs, running::start(name))?;
        program.ready(READY).await?;
        Ok(program)
    };
    let certmgr = begin(Name::Certmgr).await?;
    let scaler = begin(Name::Scaler).await?;
    let provisioner = begin(Name::Provisioner).await?;
    bed.with_namespace("crashes", async |namespace| {
        let observer = three_at_target(&bed, &namespace).await?;
        provisioned(&bed, &namespace, 3).await?;
        let begun = Timestamp::now();

        // The scaler: a wrong answer of a fresh process would act at once.
        scaler.kill().await?;
        expect::holds(&observer, begun, DEAD).await?;
        let scaler = begin(Name::Scaler).await?;
        expect::holds(&observer, begun, DEAD).await?;
        expect::metric(&bed, &namespace, "swift", WAITING, 30.0).await?;

        // The provisioner: what changes meanwhile is done when another comes.
        provisioner.kill().await?;
        annotations::change(&bed, &namespace, "provisioned", &[("max-replicas", Some("7"))]).await?;
        expect::holds(&observer, begun, DEAD).await?;
        let provisioner = begin(Name::Provisioner).await?;
        provisioned(&bed, &namespace, 7).await?;

        // The certmgr: calls go on without it, and Secrets that are lost meanwhile come back.
        certmgr.kill().await?;
        bed.delete(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
        expect::holds(&observer, begun, DEAD).await?;
        expect::metric(&bed, &namespace, "swift", WAITING, 30.0).await?;
        let certmgr = begin(Name::Certmgr).await?;
        secret_is_back(&bed, Duration::from_secs(20)).await?;
        bed.delete(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
        secret_is_back(&bed, Duration::from_secs(20)).await?;

        // KEDA's operator.
        parts::run(&bed, "stop", &["keda-operator"]).await?;
        expect::holds(&observer, begun, DEAD).await?;
        parts::run(&bed, "start", &["keda-operator"]).await?;
        expect::metric(&bed, &namespace, "swift", WAITING, 30.0).await?;

        // All at once.
        for program in [scaler, provisioner, certmgr] {
            program.kill().await?;
        }
        expect::holds(&observer, begun, DEAD).await?;
        let _certmgr = begin(Name::Certmgr).await?;
        let _scaler = begin(Name::Scaler).await?;
        let _provisioner = begin(Name::Provisioner).await?;
        expect::metric(&bed, &namespace, "swift", WAITING, 30.0).await?;
        expect::holds(&observer, begun, DEAD).await?;
        expect::serving(&bed, &namespace, "swift", 3).await?;

        // And the loop still acts.
        let idle = Timestamp::now();
        bed.fleet.set(&namespace, "swift", json!({"waiting": 0})).await?;
        eventually(Duration::from_secs(90), "an idle fleet shrinks", async || {
            let changes = observer.since(idle);
            Ok(Look::when(changes.last().is_some_and(|change| change.to == 1), changes))
        })
        .await?;
        Ok(())
    })
    .await
}

/// An InferenceSet at its target whose HPA acts on every answer at once, and one for the provisioner to look after.
async fn three_at_target(bed: &Bed, namespace: &str) -> Result<Observer> {
    bed.fleet.set(namespace, "swift", json!({"waiting": 10})).await?;
    let set = InferenceSet::new(namespace, "swift").replicas(3);
    set.create(bed).await?;
    let observer = Observer::start(bed, namespace, "swift").await?;
    let set = InferenceSet::new(namespace, "provisioned").annotated(&[
        ("auto-provision", "true"),
        ("threshold", "10"),
        ("max-replicas", "3"),
    ]);
    set.create(bed).await?;
    expect::serving(bed, namespace, "swift", 3).await?;
    let ours = trigger(
        namespace,
        "swift",
        &json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"}),
    );
    let object = swift_scaled_object(namespace, "swift", 1, 5, &[ours]);
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    expect::metric(bed, namespace, "swift", WAITING, 30.0).await?;
    Ok(observer)
}

async fn provisioned(bed: &Bed, namespace: &str, max: i64) -> Result<()> {
    eventually(Duration::from_secs(30), &format!("the maximum is {max}"), async || {
        let object = bed.get(Kind::SCALED_OBJECT, namespace, "provisioned").await?;
        let shown = number(&object, "/spec/maxReplicaCount");
        Ok(Look::when(shown == Some(max), shown))
    })
    .await?;
    Ok(())
}

async fn secret_is_back(bed: &Bed, within: Duration) -> Result<()> {
    let secret = eventually(within, "the client Secret is back", async || {
        bed.get(Kind::SECRET, "keda", names::CLIENT_SECRET).await.map(Look::Met)
    })
    .await?;
    for key in [names::CA_CRT, names::TLS_CRT, names::TLS_KEY] {
        let pointer = format!("/data/{key}");
        ensure!(secret.pointer(&pointer).is_some(), "it has no {key}");
    }
    Ok(())
}
