//! Why it scaled, as the scaler tells it: asked with its own client, beside the HPA's account of the same move.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keda_kaito_core::explain::Explanation;
use keda_kaito_core::history::Lean;
use keda_kaito_core::journal::{Entry, State};
use keda_kaito_core::record::{Answer, Clamp};
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::expect;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::running::{self, EXPLAIN};
use keda_kaito_e2e::programs::{Name, built};
use serde_json::json;
use tokio::process::Command;

const WAITING: &str = "vllm:num_requests_waiting";
/// Rounds of scraping, and the round that tells.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

async fn explain(arguments: &[&str]) -> Result<Output> {
    let run = Command::new(built(Name::Scaler)?)
        .arg("explain")
        .args(arguments)
        .arg(format!("--address={EXPLAIN}"))
        .kill_on_drop(true)
        .output();
    Ok(tokio::time::timeout(TOLD_WITHIN, run).await??)
}

async fn printed(arguments: &[&str]) -> Result<String> {
    let output = explain(arguments).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// What is told of the decision that led to a move from one count to another, once it is.
async fn mover(set: &str, from: u32, to: u32) -> Result<(Explanation, Entry<Timestamp>)> {
    eventually(
        TOLD_WITHIN,
        &format!("a decision moves {set} from {from} to {to}"),
        async || {
            let told: Explanation = serde_json::from_str(&printed(&[set, "--output=json"]).await?)?;
            let moves = |entry: &&Entry<Timestamp>| entry.moves.iter().any(|step| (step.from, step.to) == (from, to));
            let decisions = told.triggers.iter().flat_map(|trigger| &trigger.decisions);
            Ok(match decisions.clone().find(moves).cloned() {
                Some(entry) => Look::Met((told, entry)),
                None => Look::NotYet(format!("{:?}", decisions.collect::<Vec<_>>())),
            })
        },
    )
    .await
}

#[tokio::test]
async fn a_scale_up_is_explained_with_its_cause_its_ids_and_what_the_hpa_did() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("explained", async |namespace| {
        InferenceSet::new(&namespace, "phi").create(&bed).await?;
        bed.fleet.set(&namespace, "phi", json!({"waiting": 4})).await?;
        let observer = Observer::start(&bed, &namespace, "phi").await?;
        let ours = trigger(&namespace, "phi", &json!({"metricName": WAITING, "threshold": "10"}));
        let object = swift_scaled_object(&namespace, "phi", 1, 2, &[ours]);
        bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
        expect::metric(&bed, &namespace, "phi", &format!("s0-{WAITING}"), 4.0).await?;

        let begun = Timestamp::now();
        bed.fleet.set(&namespace, "phi", json!({"waiting": 15})).await?;
        let change = observer.next_after(begun, 2, Duration::from_secs(60)).await?;
        let set = format!("{namespace}/phi");
        let (told, decision) = mover(&set, 1, 2).await?;

        // Why.
        ensure!(
            (decision.wish(), decision.desired, decision.spec_replicas) == (Lean::Up, Some(2), 1),
            "{decision:#?}"
        );
        ensure!(
            decision.reason.contains("the sum over 1 replicas is 15"),
            "{}",
            decision.reason
        );
        ensure!(
            *decision.latest_answer() == Answer::Value(15.0) && decision.calls > 0,
            "KEDA was told otherwise: {decision:#?}"
        );
        let replica = decision.replicas.first().context("no replica is named")?;
        let age = replica.sample_seconds.context("its sample has no age")?;
        ensure!(
            (replica.state, replica.values.first()) == (State::Serving, Some(&Some(15.0))) && (0.0..30.0).contains(&age),
            "{replica:?}"
        );
        // What the HPA did.
        let step = decision.moves.first().context("no move")?;
        let apart = step.at.duration_since(change.at).as_secs_f64().abs();
        ensure!(apart < 30.0, "{apart} s between the move and the news of it");
        let words = observer.cause(&change).await?;
        ensure!(words.contains("New size: 2"), "{words}");
        // The same id everywhere.
        let id = decision.id.to_string();
        expect::event(
            &bed,
            &namespace,
            Kind::INFERENCE_SET,
            "phi",
            "ScaleUpWanted",
            &["wants 2 replicas, has 1", &id],
        )
        .await?;
        let story = told.triggers.first().context("no trigger")?;
        ensure!(
            story.last_call.as_ref().is_some_and(|call| call.calls > 0) && story.current.is_some() && !story.timeline.is_empty(),
            "{story:#?}"
        );

        let page = printed(&[&set]).await?;
        for part in [
            id.as_str(),
            "spec.replicas went from 1 to 2",
            "as wanted",
            "target 10",
            "10 up|",
        ] {
            ensure!(page.contains(part), "{part:?} is missing in\n{page}");
        }
        let picture = printed(&[&set, "--output=svg"]).await?;
        ensure!(picture.starts_with("<svg ") && picture.contains(WAITING), "{picture}");
        ensure!(printed(&[]).await?.contains(&set), "it is not in the list");

        // Nothing further is asked for at the maximum, and that is said.
        expect::serving(&bed, &namespace, "phi", 2).await?;
        eventually(TOLD_WITHIN, "the maximum is named", async || {
            let told: Explanation = serde_json::from_str(&printed(&[&set, "--output=json"]).await?)?;
            let decisions = told.triggers.iter().flat_map(|trigger| &trigger.decisions);
            let held = decisions
                .clone()
                .any(|entry| entry.lean == Lean::Up && entry.clamps.contains(&Clamp::MaxReplicas));
            Ok(Look::when(
                held,
                decisions.map(|entry| entry.reason.clone()).collect::<Vec<_>>(),
            ))
        })
        .await
        .map(drop)
    })
    .await
}

#[tokio::test]
async fn who_asks_about_nothing_is_told_so() -> Result<()> {
    running::bed().await?;
    let output = explain(&["nowhere/none"]).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && errors.contains("no ScaledObject asks"),
        "{errors}"
    );
    let output = explain(&["nowhere"]).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && errors.contains("NAMESPACE/NAME"),
        "{errors}"
    );
    Ok(())
}
