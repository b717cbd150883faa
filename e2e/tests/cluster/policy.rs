//! The policy dialect against the real HPA, with short windows: up on all metrics, nothing between the thresholds, down on
//! all metrics, one step at a time. The same for replicas of one pod and of three.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keda_kaito_core::crd::Workspace;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, TWO_METRICS};
use keda_kaito_e2e::cases::objects::{Kind, condition, number};
use keda_kaito_e2e::cases::observer::{Change, Observer};
use keda_kaito_e2e::cases::three_nodes;
use keda_kaito_e2e::cases::{expect, running};
use serde_json::json;

const COOLDOWN: Duration = Duration::from_secs(20);
/// A step is due when window, cooldown and a few rounds of scraping have passed; a busy machine is given some more.
const STEP_WITHIN: Duration = Duration::from_secs(120);
/// From a replica's Workspace to its last pod.
const PODS_WITHIN: Duration = Duration::from_secs(30);
/// Longer than every window of the policy together.
const HELD: Duration = Duration::from_secs(45);

#[tokio::test]
async fn a_policy_moves_one_step_at_a_time_and_holds_between_its_thresholds() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("policy", async |namespace| up_hold_down(&bed, &namespace, "shared", 1).await)
        .await
}

#[tokio::test]
async fn a_policy_moves_replicas_of_three_pods_as_it_moves_replicas_of_one() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("policy-of-three", async |namespace| {
        let nodes = three_nodes::prepare(&bed, &namespace).await?;
        up_hold_down(&bed, &namespace, &nodes, 3).await
    })
    .await
}

async fn up_hold_down(bed: &Bed, namespace: &str, nodes: &str, nodes_per_replica: u32) -> Result<()> {
    let set = InferenceSet::new(namespace, "phi")
        .on_nodes(nodes)
        .node_count_limit(3 * nodes_per_replica + nodes_per_replica / 2)
        .annotated(&[
            ("auto-provision", "true"),
            ("metrics", TWO_METRICS),
            ("evaluationwindow", "5"),
            ("scaleupcooldown", "20"),
            ("scaledowncooldown", "20"),
        ]);
    set.create(bed).await?;
    let observer = Observer::start(bed, namespace, "phi").await?;
    load(bed, namespace, 5.0, 3.0).await?;
    eventually(expect::KAITO_WITHIN, "the HPA reads a decided count", async || {
        let hpa = bed.get(Kind::HPA, namespace, "keda-hpa-phi").await?;
        let shown = (condition(&hpa, "ScalingActive").to_owned(), number(&hpa, "/spec/maxReplicas"));
        Ok(Look::when(shown == ("True".to_owned(), Some(3)), shown))
    })
    .await?;
    every_replica_has(bed, namespace, nodes_per_replica).await?;
    expect::desired(bed, namespace, "phi", 1).await?;

    // A histogram has no say before it has been seen for its whole window.
    expect::scraped(bed, namespace, "phi", 5).await?;

    // One metric of two is not enough.
    let half = Timestamp::now();
    load(bed, namespace, 30.0, 3.0).await?;
    expect::holds(&observer, half, HELD).await?;

    let busy = Timestamp::now();
    load(bed, namespace, 30.0, 10.0).await?;
    let first = observer.next_after(busy, 2, STEP_WITHIN).await?;
    let second = observer.next_after(after(&first), 3, STEP_WITHIN).await?;
    ensure!(
        apart(&first, &second) >= COOLDOWN,
        "two steps within one cooldown: {first:?}, {second:?}"
    );
    expect::serving(bed, namespace, "phi", 3).await?;
    every_replica_has(bed, namespace, nodes_per_replica).await?;

    let middling = Timestamp::now();
    load(bed, namespace, 5.0, 3.0).await?;
    expect::holds(&observer, middling, HELD).await?;

    let idle = Timestamp::now();
    load(bed, namespace, 0.0, 0.1).await?;
    let third = observer.next_after(idle, 2, STEP_WITHIN).await?;
    let fourth = observer.next_after(after(&third), 1, STEP_WITHIN).await?;
    ensure!(
        apart(&third, &fourth) >= COOLDOWN,
        "two steps within one cooldown: {third:?}, {fourth:?}"
    );
    ensure!(
        observer.changes().len() == 4,
        "more steps than four: {:?}",
        observer.changes()
    );
    Ok(())
}

/// Requests waiting at each replica, and how long those that finish have waited.
async fn load(bed: &Bed, namespace: &str, waiting: f64, queued: f64) -> Result<()> {
    let settings = json!({"waiting": waiting, "queue_time_rate": {"seconds": queued, "per_second": 4.0}});
    bed.fleet.set(namespace, "phi", settings).await?;
    Ok(())
}

fn after(change: &Change) -> Timestamp {
    change.at + Duration::from_nanos(1)
}

/// The time between two steps, and the HPA's own look: it measures from when it wrote, we from when we saw.
fn apart(first: &Change, second: &Change) -> Duration {
    second.at.duration_since(first.at).unsigned_abs() + Duration::from_secs(2)
}

async fn every_replica_has(bed: &Bed, namespace: &str, nodes: u32) -> Result<()> {
    let workspaces = bed.list(Kind::WORKSPACE, namespace).await?;
    ensure!(!workspaces.is_empty(), "no Workspace");
    for workspace in &workspaces {
        let workspace: Workspace = serde_json::from_value(workspace.clone())?;
        let count = workspace.target_node_count().context("a Workspace without a node count")?;
        ensure!(count == nodes, "a replica of {count} nodes, {nodes} were meant");
    }
    // The first pod of a replica can be seen, and scraped, a moment before its others.
    let expected = workspaces.len() * usize::try_from(nodes)?;
    let pods = async || {
        let pods = bed.fleet.pods_of(namespace, "phi").await?.len();
        Ok(Look::when(pods == expected, pods))
    };
    eventually(PODS_WITHIN, &format!("{expected} pods"), pods).await?;
    Ok(())
}
