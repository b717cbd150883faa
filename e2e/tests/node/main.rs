//! The chart installed by Helm on a real node: programs, models and probes are pods, KEDA and KAITO run beside them. One
//! test after another, each from a release as an operator would have it.

mod calls;
mod memory;
mod pods;
mod reference;
mod release;
mod sequences;
mod shell;

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Look, eventually};
use release::{CREDENTIALS, HIGHLY_AVAILABLE, NAMESPACE, Release};
use shell::{kubectl, kubectl_with};

const SCALER: &str = "deployment/keda-kaito-scaler";
const SCALER_PODS: &str = "app.kubernetes.io/component=scaler";
const SOON: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_quick_start_closes_its_loop_with_the_programs_as_pods() -> Result<()> {
    let release = Release::installed(&["scaler.explain.enabled=true"]).await?;
    eprintln!("{}", release.test().await?);
    pods::quick_start().await?;
    let status = pods::exec("certmgr", &["/certmgr", "status"]).await?;
    ensure!(status.contains("phase      stable"), "{status}");
    // The documented threshold is 10; the HPA waits a minute before it goes up.
    pods::set_waiting(58).await?;
    pods::replicas(2, Duration::from_secs(240)).await?;
    let explained = pods::exec("scaler", &["/scaler", "explain", "default/phi-4-mini"]).await?;
    ensure!(explained.contains("spec.replicas went from 1 to 2"), "{explained}");
    pods::set_waiting(0).await?;
    pods::delete_quick_start().await
}

#[tokio::test]
async fn upgrade_scaling_roll_back_and_uninstall_lose_no_credentials() -> Result<()> {
    let release = Release::installed(&[]).await?;
    let before = release::credentials().await?;
    ensure!(before.len() == CREDENTIALS.len(), "{} of our Secrets are there", before.len());

    release
        .upgrade(&["scaler.replicas=2", "logs.level=debug", "provisioner.replicas=2"])
        .await?;
    ensure!(ready(SCALER).await? == "2", "the scaler was not scaled by the chart");
    for (program, replicas) in [("scaler", 1), ("certmgr", 2), ("provisioner", 0)] {
        release.upgrade(&[&format!("{program}.replicas={replicas}")]).await?;
        let seen = kubectl(&[
            "get",
            &release::deployment(program),
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.spec.replicas}",
        ])
        .await?;
        ensure!(seen == replicas.to_string(), "{program} has {seen} replicas");
    }
    // From no provisioner and one of the others to the revision before: two certmgrs.
    release.roll_back(1).await?;
    let certmgrs = ready(&release::deployment("certmgr")).await?;
    ensure!(
        certmgrs == "2",
        "the roll-back did not bring back two certmgrs but {certmgrs:?}"
    );
    ensure!(
        release::credentials().await? == before,
        "upgrade or roll-back changed the credentials"
    );

    release.uninstall().await?;
    eventually(SOON, "the programs' pods are gone", async || {
        // The pod of `helm test` stays for its log.
        let programs = "app.kubernetes.io/component in (scaler,certmgr,provisioner)";
        let left = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", programs, "-o", "name"]).await?;
        Ok(Look::when(left.trim().is_empty(), left))
    })
    .await?;
    ensure!(release::credentials().await? == before, "uninstalling took credentials along");
    Release::installed(&[]).await?;
    ensure!(
        release::credentials().await? == before,
        "the next installation did not use the credentials it found"
    );
    Ok(())
}

#[tokio::test]
async fn updating_the_scaler_under_200_calls_a_second_fails_no_call() -> Result<()> {
    let release = Release::installed(&HIGHLY_AVAILABLE).await?;
    pods::scaled_object().await?;
    let calls = calls::Calls::start().await?;
    // The first replica of the model has to start.
    calls.wait_for(400, Duration::from_secs(180)).await?;
    let (made_before, answered_before) = (calls.made(), calls.answered());
    let mut set = HIGHLY_AVAILABLE.to_vec();
    set.push("scaler.podAnnotations.round=two");
    release.upgrade(&set).await?;
    calls.wait_for(calls.answered() + 400, Duration::from_secs(60)).await?;
    let (made, answered, failures) = calls.stop().await;
    let (made, answered) = (made - made_before, answered - answered_before);
    eprintln!(
        "node: {made} calls during a rolling update, {answered} answered with a value, {} failed",
        failures.len()
    );
    ensure!(answered * 10 >= made * 9, "of {made} calls only {answered} got a value");
    ensure!(
        failures.is_empty(),
        "of {made} calls failed {}: {:?}",
        failures.len(),
        failures.first()
    );
    Ok(())
}

#[tokio::test]
async fn a_drain_leaves_a_replica_serving_until_the_node_is_back() -> Result<()> {
    Release::installed(&HIGHLY_AVAILABLE).await?;
    let node = kubectl(&["get", "nodes", "-o", "name"]).await?;
    let node = node.trim().trim_start_matches("node/");
    // There is no other node: the budget must stop the drain before the last replica.
    let drain = [
        "drain",
        node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=30s",
    ];
    let selector = ["--pod-selector", SCALER_PODS];
    let said = kubectl(&[drain.as_slice(), &selector].concat()).await;
    let refused = said.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        refused.contains("disruption budget") || refused.contains("global timeout"),
        "the drain said {refused:?}"
    );
    ensure!(ready(SCALER).await? == "1", "the drain took the last replica");
    kubectl(&["uncordon", node]).await?;
    eventually(SOON, "both replicas are back", async || {
        let ready = ready(SCALER).await?;
        Ok(Look::when(ready == "2", ready))
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn killed_programs_come_back_with_the_same_credentials() -> Result<()> {
    Release::installed(&[]).await?;
    let before = release::credentials().await?;
    for program in ["scaler", "certmgr", "provisioner"] {
        let restarts = pods::restarts(program).await?;
        pods::kill(program).await?;
        eventually(SOON, "the kubelet started it again and it is ready", async || {
            let now = pods::restarts(program).await?;
            let ready = ready(&release::deployment(program)).await?;
            Ok(Look::when(
                now > restarts && ready == "1",
                format!("{program}: {now} restarts, {ready} ready"),
            ))
        })
        .await?;
    }
    ensure!(release::credentials().await? == before, "the credentials changed");
    Ok(())
}

#[tokio::test]
async fn one_scaler_out_of_memory_is_killed_and_the_other_answers_on() -> Result<()> {
    memory::exhausted().await
}

#[tokio::test]
async fn kaitos_install_sequences_a_managed_keda_and_plain_manifests_each_close_the_loop() -> Result<()> {
    sequences::all().await
}

#[tokio::test]
async fn a_release_of_the_go_scaler_is_upgraded_in_place() -> Result<()> {
    reference::upgrade().await
}

#[tokio::test]
async fn the_programs_are_refused_nothing_in_a_namespace_that_enforces_restricted_pods() -> Result<()> {
    Release::installed(&[]).await?;
    let bad = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": {"containers": [{"name": "c", "image": "bed.local/shell:1"}]}}"#;
    let refused = kubectl_with(&["apply", "-n", NAMESPACE, "-f", "-"], bad).await;
    ensure!(
        refused.is_err_and(|error| format!("{error:#}").contains("violates PodSecurity \"restricted")),
        "the namespace does not enforce restricted pods: this test shows nothing"
    );
    for program in ["scaler", "certmgr", "provisioner"] {
        ensure!(ready(&release::deployment(program)).await? == "1", "{program} is not ready");
        pods::is_confined(program)?;
    }
    Ok(())
}

async fn ready(deployment: &str) -> Result<String> {
    let path = "jsonpath={.status.readyReplicas}";
    kubectl(&["get", deployment, "-n", NAMESPACE, "-o", path]).await
}
