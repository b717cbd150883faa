//! `certmgr rotate`: writes the wish for a rotation, with its reason, onto the Secret with the authorities.
//! The running certmgr acts on it; the gates of a rotation hold as always.

use std::process::ExitCode;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names::{CA_SECRET, ROTATE_REASON_ANNOTATION, ROTATED_REASON_ANNOTATION};
use keda_kaito_runtime::client::describe;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::args::{RotateArgs, working_namespace};
use crate::command;
use crate::stored::Stored;

/// Runs the subcommand.
#[must_use]
pub fn main(args: &RotateArgs) -> ExitCode {
    command::main(args.validate(), |client, identity| {
        let namespace = working_namespace(args.working_namespace.as_ref(), &identity);
        async move { ask(client, &namespace, &args.reason).await }
    })
}

async fn ask(client: Client, namespace: &str, reason: &str) -> anyhow::Result<String> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let read = api.get_opt(CA_SECRET).await;
    let read = read.map_err(|error| anyhow::anyhow!("failed to read Secret {CA_SECRET:?}: {}", describe(&error)))?;
    let stored = Stored(read.with_context(|| format!("Secret {CA_SECRET:?} in namespace {namespace:?} does not exist yet"))?);
    if stored.annotation(ROTATED_REASON_ANNOTATION) == Some(reason) {
        bail!("a rotation for the reason {reason:?} has been made or begun already; give another reason for another one");
    }
    let patch = json!({ "metadata": {
        "resourceVersion": stored.0.metadata.resource_version,
        "annotations": { ROTATE_REASON_ANNOTATION: reason },
    } });
    let patched = api.patch(CA_SECRET, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map_err(|error| anyhow::anyhow!("failed to annotate Secret {CA_SECRET:?}: {}", describe(&error)))?;
    Ok(format!(
        "asked for a rotation; follow it with: certmgr status --working-namespace {namespace}\n"
    ))
}
