//! `provisioner render`: the same judgement as in the cluster, over a file. It makes no call.

mod input;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use keda_kaito_core::crd::{InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::names;
use keda_kaito_core::plan::{Observation, Plan, ScalerState, Verdict, plan};
use keda_kaito_core::policy::complaint::Complaint;
use keda_kaito_runtime::args::Identity;

use crate::args::RenderArgs;
use input::Refused;

pub use input::Error;

/// Something was complained of.
pub const EXIT_COMPLAINTS: u8 = 1;
/// A file is not readable, or holds no InferenceSet.
pub const EXIT_UNREADABLE: u8 = 2;

/// What the API server would have assigned.
const PLACEHOLDER_UID: &str = "00000000-0000-0000-0000-000000000000";

/// What is printed for one InferenceSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// `namespace/name`.
    pub inference_set: String,
    /// Absent when nothing would be provisioned.
    pub scaled_object: Option<ScaledObject>,
    pub complaints: Vec<Complaint>,
    /// Why the API server would not take it. Nothing else of it is judged then.
    pub refusals: Vec<String>,
    /// Whether `auto-provision` is absent or false.
    pub is_off: bool,
}

/// Prints to standard output and standard error; the exit code says how it went, the worst of all files.
pub fn main(args: &RenderArgs) -> ExitCode {
    let codes = args.filenames.iter().map(|path| render_and_print(path, args));
    ExitCode::from(codes.max().unwrap_or(EXIT_UNREADABLE))
}

fn render_and_print(path: &Path, args: &RenderArgs) -> u8 {
    match render_file(path, args) {
        Ok(rendered) => match print(&rendered) {
            Ok(()) if rendered.iter().all(Rendered::is_fine) => 0,
            Ok(()) | Err(_) => EXIT_COMPLAINTS,
        },
        Err(error) => {
            complain(&format!("provisioner render: {error}"));
            EXIT_UNREADABLE
        }
    }
}

/// Renders every InferenceSet of the file, each by itself.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn render_file(path: &Path, args: &RenderArgs) -> Result<Vec<Rendered>, Error> {
    let file = path.display().to_string();
    let inference_sets = input::parse(&input::read(path, &file)?, &file)?;
    let identity = Identity::from_env();
    Ok(inference_sets
        .into_iter()
        .map(|one| one.map_or_else(Rendered::from, |object| render(object, args, &identity)))
        .collect())
}

impl Rendered {
    fn is_fine(&self) -> bool {
        self.complaints.is_empty() && self.refusals.is_empty()
    }
}

impl From<Refused> for Rendered {
    fn from(refused: Refused) -> Self {
        Self {
            inference_set: refused.inference_set,
            scaled_object: None,
            complaints: Vec::new(),
            refusals: refused.reasons,
            is_off: false,
        }
    }
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
        refusals: Vec::new(),
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
        for refusal in &one.refusals {
            complain(&format!("{}: {refusal}", one.inference_set));
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
