//! What the API server serves and how old it is: the versions of kinds, and whether HPAs keep their tolerance.

use std::time::Duration;

use keda_kaito_core::names;
use keda_kaito_runtime::client::describe;
use keda_kaito_runtime::crds::{self, GroupKindWanted};
use keda_kaito_runtime::readiness::Gate;
use kube::Client;
use kube::core::ApiResource;
use tokio_util::sync::CancellationToken;

/// The first Kubernetes with the HPA's tolerance switched on.
const TOLERANCE_SINCE: (u32, u32) = (1, 35);
/// How often served versions are looked up again.
const KINDS_EVERY: Duration = Duration::from_secs(30);
/// How often the server's version is looked up again; it changes with an upgrade of the control plane.
const VERSION_EVERY: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(2);

/// What holds until [`changed`] says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) inference_sets: ApiResource,
    pub(crate) workspaces: ApiResource,
    /// Whether HPAs keep their `tolerance` field.
    pub(crate) tolerance_in_force: bool,
    all: Vec<ApiResource>,
}

/// Waits until everything is served; the gate says what is missing. `None` when shut down first.
pub(crate) async fn wait(client: &Client, gate: &Gate, shutdown: &CancellationToken) -> Option<Served> {
    let all = crds::wait_served(client, &wanted(), gate, shutdown).await?;
    let kind = |kind: &str| all.iter().find(|resource| resource.kind == kind).cloned();
    let (inference_sets, workspaces) = (kind(names::INFERENCE_SET_KIND)?, kind(names::WORKSPACE_KIND)?);
    let tolerance_in_force = shutdown.run_until_cancelled(tolerance_known(client)).await?;
    tracing::info!(
        inference_sets = inference_sets.api_version,
        workspaces = workspaces.api_version,
        tolerance_in_force,
        "found what the API server serves"
    );
    Some(Served {
        inference_sets,
        workspaces,
        tolerance_in_force,
        all,
    })
}

/// Resolves once something is served differently, with what it is.
pub(crate) async fn changed(client: &Client, served: &Served) -> String {
    let wanted = wanted();
    tokio::select! {
        change = crds::changed(client, &wanted, &served.all, KINDS_EVERY) => match change.to {
            Some(to) => format!("{} is now served as {}", to.kind, to.api_version),
            None => format!("{} is no longer served", change.from.kind),
        },
        () = tolerance_changed(client, served.tolerance_in_force) => "the API server has another version".to_owned(),
    }
}

fn wanted() -> [GroupKindWanted; 4] {
    let versions = &names::KAITO_VERSIONS;
    [
        GroupKindWanted::new(names::KAITO_GROUP, names::INFERENCE_SET_KIND, versions),
        GroupKindWanted::new(names::KAITO_GROUP, names::WORKSPACE_KIND, versions),
        GroupKindWanted::new("keda.sh", "ScaledObject", &["v1alpha1"]),
        GroupKindWanted::new("keda.sh", "ClusterTriggerAuthentication", &["v1alpha1"]),
    ]
}

async fn tolerance_known(client: &Client) -> bool {
    loop {
        match client.apiserver_version().await {
            Ok(version) => return keeps_tolerance(&version.major, &version.minor),
            Err(error) => tracing::warn!(
                error = describe(&error),
                "cannot look up the API server's version, trying again"
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn tolerance_changed(client: &Client, before: bool) {
    loop {
        tokio::time::sleep(VERSION_EVERY).await;
        match client.apiserver_version().await {
            Ok(version) if keeps_tolerance(&version.major, &version.minor) != before => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(error = describe(&error), "failed to look up the API server's version"),
        }
    }
}

/// Versions such as `1` and `35+`. One that cannot be read counts as old: its tolerance is the larger.
fn keeps_tolerance(major: &str, minor: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        text.get(..digits)?.parse().ok()
    };
    number(major)
        .zip(number(minor))
        .is_some_and(|version| version >= TOLERANCE_SINCE)
}

#[cfg(test)]
mod tests {
    use super::keeps_tolerance;

    #[test]
    fn tolerance_is_in_force_from_1_35_on() {
        for (major, minor, expected) in [
            ("1", "35", true),
            ("1", "35+", true),
            ("1", "36-gke.1", true),
            ("2", "0", true),
            ("1", "34+", false),
            ("1", "9", false),
            ("", "", false),
            ("1", "x", false),
        ] {
            assert_eq!(keeps_tolerance(major, minor), expected, "{major}.{minor}");
        }
    }
}
