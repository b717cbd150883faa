//! `provisioner render`: the same judgement as in the cluster, over a file. It makes no call.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use keda_kaito_core::crd::{InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::names;
use keda_kaito_core::plan::{Observation, Plan, ScalerState, Verdict, plan};
use keda_kaito_core::policy::complaint::Complaint;
use keda_kaito_runtime::args::Identity;
use serde_json::{Value, json};
use thiserror::Error;

use crate::args::RenderArgs;

/// Something was complained of.
pub const EXIT_COMPLAINTS: u8 = 1;
/// The input is no InferenceSet.
pub const EXIT_UNREADABLE: u8 = 2;

/// Larger files are no manifests.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What the API server would have assigned.
const PLACEHOLDER_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Why the input cannot be rendered.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot read {file:?}: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file:?} has more than {MAX_BYTES} bytes")]
    TooLarge { file: String },
    #[error("{file:?} is neither YAML nor JSON: {reason}")]
    Syntax { file: String, reason: String },
    #[error("{file:?} contains no InferenceSet")]
    NoInferenceSet { file: String },
    #[error("{file:?}: InferenceSet {name:?} cannot be read: {reason}")]
    Decode { file: String, name: String, reason: String },
}

/// What is printed for one InferenceSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// `namespace/name`.
    pub inference_set: String,
    /// Absent when nothing would be provisioned.
    pub scaled_object: Option<ScaledObject>,
    pub complaints: Vec<Complaint>,
    /// Whether `auto-provision` is absent or false.
    pub is_off: bool,
}

/// Prints to standard output and standard error; the exit code says how it went.
pub fn main(args: &RenderArgs) -> ExitCode {
    match render_file(args) {
        Ok(rendered) => match print(&rendered) {
            Ok(()) => {
                let complained = rendered.iter().any(|one| !one.complaints.is_empty());
                ExitCode::from(if complained { EXIT_COMPLAINTS } else { 0 })
            }
            Err(_closed) => ExitCode::from(EXIT_COMPLAINTS),
        },
        Err(error) => {
            complain(&format!("provisioner render: {error}"));
            ExitCode::from(EXIT_UNREADABLE)
        }
    }
}

/// Renders every InferenceSet of the file.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn render_file(args: &RenderArgs) -> Result<Vec<Rendered>, Error> {
    let file = args.filename.display().to_string();
    let text = read(&args.filename, &file)?;
    let inference_sets = parse(&text, &file)?;
    let identity = Identity::from_env();
    Ok(inference_sets
        .into_iter()
        .map(|object| render(object, args, &identity))
        .collect())
}

/// Renders one InferenceSet as if each of its replicas had the given number of nodes.
pub fn render(mut inference_set: InferenceSet, args: &RenderArgs, identity: &Identity) -> Rendered {
    let metadata = &mut inference_set.metadata;
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let has_uid = metadata.uid.is_some();
    metadata.uid.get_or_insert_with(|| PLACEHOLDER_UID.to_owned());
    let newest = format!("{}/{}", names::KAITO_GROUP, names::KAITO_VERSIONS[0]);
    let types = inference_set.types.as_ref();
    let options = RenderOptions {
        scaler_address: args.address.scaler_address(identity),
        inference_set_api_version: types.map_or(newest, |types| types.api_version.clone()),
        credential_epoch: None,
        tolerance_in_force: true,
        max_num_seqs: args.server.max_num_seqs,
    };
    let workspace = workspace_of(&inference_set, args.nodes_per_replica);
    let observation = Observation {
        inference_set: &inference_set,
        workspaces: &[&workspace],
        scaled_objects: &[],
        scaler: ScalerState::NotRequired,
        contest: None,
    };
    let Verdict { plan, complaints, .. } = plan(&observation, &options);
    let is_off = plan == Plan::Delete;
    let scaled_object = match plan {
        Plan::Apply(apply) => Some(apply.desired),
        Plan::Delete | Plan::Keep(_) | Plan::Wait(_) | Plan::Reject => None,
    };
    let metadata = &inference_set.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    Rendered {
        inference_set: format!("{}/{}", part(&metadata.namespace), part(&metadata.name)),
        scaled_object: scaled_object.map(|object| if has_uid { object } else { without_owner(object) }),
        complaints,
        is_off,
    }
}

/// An owner that does not exist would have the object collected at once, were it ever applied.
fn without_owner(mut object: ScaledObject) -> ScaledObject {
    object.metadata.owner_references = None;
    object
}

fn workspace_of(inference_set: &InferenceSet, nodes: u16) -> Workspace {
    let mut workspace = Workspace::default();
    let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        uid: inference_set.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..Default::default()
    };
    workspace.metadata.owner_references = Some(vec![owner]);
    workspace.status = Some(keda_kaito_core::crd::WorkspaceStatus {
        target_node_count: Some(nodes.into()),
        ..Default::default()
    });
    workspace
}

fn read(path: &Path, file: &str) -> Result<String, Error> {
    let failed = |source| Error::Read {
        file: file.to_owned(),
        source,
    };
    let mut text = String::new();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let bytes = input.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > MAX_BYTES) {
        return Err(Error::TooLarge { file: file.to_owned() });
    }
    Ok(text)
}

fn parse(text: &str, file: &str) -> Result<Vec<InferenceSet>, Error> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Error::Syntax {
        file: file.to_owned(),
        reason: error.to_string(),
    })?;
    let documents = documents.into_iter().flat_map(|mut document| {
        // `kubectl get -o json` wraps several objects into a List.
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(_) | None => vec![document],
        }
    });
    let inference_sets: Vec<Value> = documents
        .filter(|object| object["kind"] == json!(names::INFERENCE_SET_KIND))
        .collect();
    if inference_sets.is_empty() {
        return Err(Error::NoInferenceSet { file: file.to_owned() });
    }
    let decode = |object: Value| {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        serde_json::from_value(object).map_err(|error| Error::Decode {
            file: file.to_owned(),
            name,
            reason: error.to_string(),
        })
    };
    inference_sets.into_iter().map(decode).collect()
}

fn print(rendered: &[Rendered]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for one in rendered {
        if let Some(object) = &one.scaled_object {
            let yaml = serde_saphyr::to_string(object).map_err(io::Error::other)?;
            write!(out, "---\n{yaml}")?;
        }
        if one.is_off {
            complain(&format!(
                "{}: {} is absent or false, so nothing is provisioned",
                one.inference_set,
                names::AUTO_PROVISION
            ));
        }
        for complaint in &one.complaints {
            complain(&format!("{}: {}: {complaint}", one.inference_set, complaint.reason));
        }
    }
    out.flush()
}

#[expect(clippy::print_stderr, reason = "a command tells its user what is wrong on standard error")]
fn complain(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests;
