//! What several tests wait for.

use std::time::Duration;

use anyhow::Result;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::keda;

const SOON: Duration = Duration::from_secs(20);

/// An Event about the object with this reason, whose message has all these words.
pub(crate) async fn event(bed: &Bed, namespace: &str, kind: Kind, name: &str, reason: &str, words: &[&str]) -> Result<String> {
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
pub(crate) async fn metric(bed: &Bed, namespace: &str, name: &str, metric: &str, wanted: f64) -> Result<()> {
    eventually(
        Duration::from_secs(45),
        &format!("{metric} of {name} is {wanted}"),
        async || {
            let value = keda::external_metric(&bed.client, namespace, name, metric).await?;
            Ok(Look::when((value - wanted).abs() < 0.0005, value)).map(|look| match look {
                Look::Met(_) => Look::Met(()),
                Look::NotYet(state) => Look::NotYet(state),
            })
        },
    )
    .await
}
