//! What several tests wait for, each with a deadline of its own.

use std::time::Duration;

use super::objects::{Kind, number, text};
use super::observer::Observer;
use crate::bed::{Bed, Look, eventually, never};
use crate::keda;
use anyhow::Result;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(45);
/// KAITO works Workspaces off one after another, and many tests may order some at once.
pub const KAITO_WITHIN: Duration = Duration::from_secs(180);
/// Some rounds of scraping, after KEDA has got round to the object and KAITO to its replicas.
const METRIC_WITHIN: Duration = KAITO_WITHIN;

/// An Event about the object with this reason, whose message has all these words.
///
/// # Errors
/// The Events that are there, at the deadline; so for all below: what was seen last.
pub async fn event(bed: &Bed, namespace: &str, kind: Kind, name: &str, reason: &str, words: &[&str]) -> Result<String> {
    let what = format!("an Event {reason} with {words:?} about {} {name}", kind.kind);
    eventually(SOON, &what, async || {
        let events = bed.list(Kind::EVENT, namespace).await?;
        let about = |event: &&serde_json::Value| {
            text(event, "/involvedObject/kind") == kind.kind && text(event, "/involvedObject/name") == name
        };
        let notes: Vec<(&str, &str)> = events
            .iter()
            .filter(about)
            .map(|event| (text(event, "/reason"), text(event, "/message")))
            .collect();
        let fits = |note: &&(&str, &str)| note.0 == reason && words.iter().all(|word| note.1.contains(word));
        Ok(match notes.iter().find(fits) {
            Some((_, message)) => Look::Met((*message).to_owned()),
            None => Look::NotYet(format!("{notes:?}")),
        })
    })
    .await
}

/// An external metric as the HPA reads it.
///
/// # Errors
/// As above.
pub async fn metric(bed: &Bed, namespace: &str, name: &str, metric: &str, wanted: f64) -> Result<()> {
    eventually(METRIC_WITHIN, &format!("{metric} of {name} is {wanted}"), async || {
        let value = keda::external_metric(&bed.client, namespace, name, metric).await?;
        Ok(Look::when((value - wanted).abs() < 0.0005, value)).map(|look| match look {
            Look::Met(_) => Look::Met(()),
            Look::NotYet(state) => Look::NotYet(state),
        })
    })
    .await
}

/// The replica count that the scaler publishes is this one. The value lies somewhere above the next lower count, so that
/// the HPA rounds it up.
///
/// # Errors
/// As above.
pub async fn desired(bed: &Bed, namespace: &str, name: &str, replicas: u32) -> Result<()> {
    eventually(
        METRIC_WITHIN,
        &format!("{replicas} replicas are wanted for {name}"),
        async || {
            let value = keda::external_metric(&bed.client, namespace, name, "s0-desired-replicas").await?;
            let wanted = f64::from(replicas);
            Ok(Look::when(value > wanted - 1.0 && value <= wanted, value))
        },
    )
    .await?;
    Ok(())
}

/// Every serving pod has been scraped so many times from now on.
///
/// # Errors
/// As above.
pub async fn scraped(bed: &Bed, namespace: &str, name: &str, times: u64) -> Result<()> {
    let serving = async || {
        let mut pods = bed.fleet.pods_of(namespace, name).await?;
        pods.retain(|pod| pod.index == 0 && !pod.terminating);
        Ok::<_, anyhow::Error>(pods)
    };
    let before = serving().await?;
    eventually(METRIC_WITHIN, &format!("{name} is scraped {times} times"), async || {
        let now: Vec<(String, u64)> = serving().await?.iter().map(|pod| (pod.uid.clone(), pod.scrapes())).collect();
        let since = |uid: &str| before.iter().find(|pod| pod.uid == uid).map_or(0, |pod| pod.scrapes());
        let enough = now.iter().all(|(uid, scrapes)| *scrapes >= since(uid) + times);
        Ok(Look::when(enough, now))
    })
    .await?;
    Ok(())
}

/// The count does not change from `since` until `span` from now has passed.
///
/// # Errors
/// As above.
pub async fn holds(observer: &Observer, since: Timestamp, span: Duration) -> Result<()> {
    never(span, "the count has changed", async || {
        Ok(match observer.since(since) {
            changes if changes.is_empty() => Look::NotYet(String::new()),
            changes => Look::Met(changes),
        })
    })
    .await
}

/// KAITO says that so many replicas, and no more, are there and ready.
///
/// # Errors
/// As above.
pub async fn serving(bed: &Bed, namespace: &str, name: &str, replicas: i64) -> Result<()> {
    let what = format!("{name} has {replicas} replicas, all ready");
    eventually(KAITO_WITHIN, &what, async || {
        let set = bed.get(Kind::INFERENCE_SET, namespace, name).await?;
        let shown = ["/status/replicas", "/status/readyReplicas"].map(|pointer| number(&set, pointer).unwrap_or(0));
        Ok(Look::when(shown == [replicas, replicas], shown))
    })
    .await?;
    Ok(())
}

/// An Event of this reason about anything in the namespace, whose message has all these words.
///
/// # Errors
/// As above.
pub async fn warning(bed: &Bed, namespace: &str, reason: &str, words: &[&str]) -> Result<()> {
    eventually(SOON, &format!("a Warning {reason} with {words:?}"), async || {
        let events = bed.list(Kind::EVENT, namespace).await?;
        let notes: Vec<(&str, &str)> = events
            .iter()
            .map(|event| (text(event, "/reason"), text(event, "/message")))
            .collect();
        let fits = |note: &(&str, &str)| note.0 == reason && words.iter().all(|word| note.1.contains(word));
        Ok(if notes.iter().any(fits) {
            Look::Met(())
        } else {
            Look::NotYet(format!("{notes:?}"))
        })
    })
    .await
}
