//! KAITO's Workspace: one replica of an InferenceSet. Its `resource` and `inference` sit at top level and are not read.

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};

use super::resource::discovered_resource;

/// The fields of a Workspace that we read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workspace {
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: Option<WorkspaceStatus>,
}

/// What KAITO reports of one replica.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceStatus {
    /// Nodes, and so pods, of this replica; 0 until KAITO's estimator has set it, fixed from then on.
    #[serde(default)]
    pub target_node_count: Option<i32>,
    #[serde(default)]
    pub conditions: Vec<WorkspaceCondition>,
}

/// One condition of a Workspace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceCondition {
    #[serde(rename = "type", default)]
    pub type_: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub reason: String,
}

impl Workspace {
    /// Nodes of this replica, once KAITO knows them.
    pub fn target_node_count(&self) -> Option<u32> {
        let count = self.status.as_ref()?.target_node_count?;
        u32::try_from(count).ok().filter(|count| *count > 0)
    }

    /// Whether the Workspace is controlled by the object with this UID. The label alone can be forged.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.uid == uid && owner.controller == Some(true))
    }
}

discovered_resource!(Workspace);
