//! Waits until the API server serves the kinds a program needs, and notices later that the answer changed.
//! It installs nothing.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kube::core::{ApiResource, GroupVersion};
use kube::{Client, Error};
use tokio_util::sync::CancellationToken;

use crate::client::describe;
use crate::readiness::Gate;

/// A kind, and the versions of it that the program can work with, most wanted first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKindWanted {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind in upper camel case.
    pub kind: String,
    /// Versions in order of preference.
    pub versions: Vec<String>,
}

impl GroupKindWanted {
    /// Names a kind and the acceptable versions.
    #[must_use]
    pub fn new(group: &str, kind: &str, versions: &[&str]) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            versions: versions.iter().map(|&version| version.to_owned()).collect(),
        }
    }
}

/// A kind that is served differently from before.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The kind as it was served.
    pub from: ApiResource,
    /// The version now preferred; absent when none of the wanted ones is served.
    pub to: Option<ApiResource>,
}

/// Asks until every kind is served in one of its versions, and returns the preferred ones in the order of `wanted`.
/// Opens the gate then; before, the gate says what is missing. `None` when shut down first.
pub async fn wait_served(
    client: &Client,
    wanted: &[GroupKindWanted],
    gate: &Gate,
    shutdown: &CancellationToken,
) -> Option<Vec<ApiResource>> {
    let wait = async {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(15))
            .with_jitter()
            .without_max_times()
            .build();
        let mut said = String::new();
        loop {
            match all_served(client, wanted).await {
                Ok(found) => return found,
                Err(missing) => {
                    gate.close(missing.clone());
                    if missing != said {
                        tracing::info!(reason = missing, "waiting for the API server");
                        said = missing;
                    }
                }
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    };
    let found = unless_cancelled(wait, shutdown).await?;
    gate.open();
    Some(found)
}

const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Resolves once a kind's preferred version is another than in `current` (as [`wait_served`] returned it), asking every
/// `every`. A kind must be absent twice in a row to count as gone. Errors are not changes.
pub async fn changed(client: &Client, wanted: &[GroupKindWanted], current: &[ApiResource], every: Duration) -> Changed {
    let mut absent: Vec<bool> = vec![false; wanted.len()];
    loop {
        tokio::time::sleep(every).await;
        for ((kind, from), absent) in wanted.iter().zip(current).zip(&mut absent) {
            match served(client, kind).await {
                Ok(Some(to)) if to == *from => *absent = false,
                Ok(None) if !*absent => *absent = true,
                Ok(to) => return Changed { from: from.clone(), to },
                Err(error) => tracing::debug!(error = describe(&error), kind = kind.kind, "failed to look up a kind"),
            }
        }
    }
}

async fn all_served(client: &Client, wanted: &[GroupKindWanted]) -> Result<Vec<ApiResource>, String> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for kind in wanted {
        match served(client, kind).await {
            Ok(Some(resource)) => found.push(resource),
            Ok(None) => missing.push(format!("{}.{} ({})", kind.kind, kind.group, kind.versions.join(" or "))),
            Err(error) => return Err(format!("cannot ask the API server for its kinds: {}", describe(&error))),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(format!("waiting for the API server to serve {}", missing.join(", ")))
}

/// The most wanted version of a kind that is served, if any.
///
/// # Errors
/// The API server could not be asked; this says nothing about the kind.
pub async fn served(client: &Client, wanted: &GroupKindWanted) -> Result<Option<ApiResource>, Error> {
    for version in &wanted.versions {
        let group_version = GroupVersion::gv(&wanted.group, version);
        let listed = match client.list_api_group_resources(&group_version.api_version()).await {
            Err(Error::Api(status)) if status.code == 404 => continue,
            listed => listed?,
        };
        let found = listed
            .resources
            .iter()
            .find(|resource| resource.kind == wanted.kind && !resource.name.contains('/'));
        if let Some(resource) = found {
            return Ok(Some(ApiResource {
                group: wanted.group.clone(),
                version: version.clone(),
                api_version: group_version.api_version(),
                kind: wanted.kind.clone(),
                plural: resource.name.clone(),
            }));
        }
    }
    Ok(None)
}

async fn unless_cancelled<T>(future: impl Future<Output = T>, shutdown: &CancellationToken) -> Option<T> {
    shutdown.run_until_cancelled(future).await
}

#[cfg(test)]
mod tests;
