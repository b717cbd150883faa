//! Events about one object, whichever of the two Event APIs wrote them.

use anyhow::{Context, Result};
use serde_json::Value;

use super::cluster::{Cluster, Kind, text};

/// One Event, counted as often as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `Normal` or `Warning`.
    pub severity: String,
    pub reason: String,
    pub message: String,
    /// Kind and name of the object it is about.
    pub about: (String, String),
}

/// Every Event in the namespace, in no order.
///
/// # Errors
/// The API server's.
pub async fn in_namespace(cluster: &Cluster, namespace: &str) -> Result<Vec<Note>> {
    Ok(cluster.list(Kind::EVENT, namespace).await?.iter().map(note).collect())
}

/// The Events about one object.
///
/// # Errors
/// The API server's.
pub async fn about(cluster: &Cluster, namespace: &str, kind: Kind, name: &str) -> Result<Vec<Note>> {
    let mut notes = in_namespace(cluster, namespace).await?;
    notes.retain(|note| note.about == (kind.kind.to_owned(), name.to_owned()));
    Ok(notes)
}

/// The Event about the object with this reason whose message has all these words.
///
/// # Errors
/// When there is none: then all that are there.
pub async fn find(cluster: &Cluster, namespace: &str, kind: Kind, name: &str, reason: &str, words: &[&str]) -> Result<Note> {
    let notes = about(cluster, namespace, kind, name).await?;
    let fits = |note: &&Note| note.reason == reason && words.iter().all(|word| note.message.contains(word));
    let found = notes.iter().find(fits).cloned();
    found.with_context(|| format!("no Event {reason} with {words:?} about {} {name}; there are {notes:?}", kind.kind))
}

pub(super) fn note(event: &Value) -> Note {
    let object = |field: &str| text(event, &format!("/involvedObject/{field}")).to_owned();
    Note {
        severity: text(event, "/type").to_owned(),
        reason: text(event, "/reason").to_owned(),
        message: text(event, "/message").to_owned(),
        about: (object("kind"), object("name")),
    }
}
