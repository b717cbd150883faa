//! The Kubernetes types we read and write, reduced to the fields we use. Generated definitions are not used:
//! KAITO serves one object under two versions, and unknown fields must not fail a decode.

mod inference_set;
mod resource;
mod scaled_object;
mod trigger_authentication;
mod workspace;

pub use inference_set::{AutoUpgrade, InferenceSet, InferenceSetSpec, InferenceSetStatus, NodeSelector};
pub use scaled_object::{
    Advanced, AuthenticationRef, Behavior, HpaConfig, ScaleTargetRef, ScaledObject, ScaledObjectCondition, ScaledObjectSpec,
    ScaledObjectStatus, ScalingModifiers, ScalingPolicy, ScalingRules, Trigger,
};
pub use trigger_authentication::{ClusterTriggerAuthentication, SecretTargetRef, TriggerAuthenticationSpec};
pub use workspace::{Workspace, WorkspaceCondition, WorkspaceStatus};
