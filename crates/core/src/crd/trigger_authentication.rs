//! KEDA's ClusterTriggerAuthentication (`keda.sh/v1alpha1`).

use kube::core::{ClusterResourceScope, ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};

use super::resource::fixed_resource;

/// Names the Secret keys from which KEDA takes a trigger's credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterTriggerAuthentication {
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub types: Option<TypeMeta>,
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: TriggerAuthenticationSpec,
}

/// Where each parameter comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerAuthenticationSpec {
    /// KEDA reads them one by one in this order.
    #[serde(default)]
    pub secret_target_ref: Vec<SecretTargetRef>,
}

/// One parameter read from one key of a Secret in KEDA's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretTargetRef {
    pub parameter: String,
    pub name: String,
    pub key: String,
}

fixed_resource!(
    ClusterTriggerAuthentication,
    ClusterResourceScope,
    "keda.sh",
    "v1alpha1",
    "ClusterTriggerAuthentication",
    "clustertriggerauthentications"
);
