//! Carries out one step: composes what an object shall hold and writes it by compare-and-swap.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::crd::{ClusterTriggerAuthentication, SecretTargetRef, TriggerAuthenticationSpec};
use keda_kaito_core::names;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::stored::Stored;

mod authority;
mod leaf;

pub(crate) use authority::compose as compose_authority;
pub(crate) use leaf::compose as compose_leaf;

/// What a Secret shall hold. Values never reach Debug: there is none.
pub(crate) struct Contents {
    pub(crate) data: BTreeMap<&'static str, Vec<u8>>,
    /// Annotations to set, or to remove where absent.
    pub(crate) annotations: BTreeMap<&'static str, Option<String>>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written,
    /// Somebody else wrote first: what was composed is worthless, keys included.
    Lost,
}

/// What the ClusterTriggerAuthentication shall say. KEDA reads in this order: whoever shows a certificate has since read
/// the bundle that came with it.
pub(crate) fn authentication_spec() -> TriggerAuthenticationSpec {
    let parameter = |parameter: &str, key: &str| SecretTargetRef {
        parameter: parameter.to_owned(),
        name: names::CLIENT_SECRET.to_owned(),
        key: key.to_owned(),
    };
    TriggerAuthenticationSpec {
        secret_target_ref: vec![
            parameter("tlsClientCert", names::TLS_CRT),
            parameter("tlsClientKey", names::TLS_KEY),
            parameter("caCert", names::CA_CRT),
        ],
    }
}

impl Cluster {
    /// Writes a Secret over what was read; `replace` deletes it first.
    pub(crate) async fn put(
        &self,
        object: &'static str,
        read: Option<&Stored>,
        contents: Contents,
        replace: bool,
    ) -> Result<Outcome, Error> {
        let api = self.secrets();
        let failed = |source| Error::Write { object, source };
        if let (Some(read), true) = (read, replace) {
            let metadata = &read.0.metadata;
            let params = DeleteParams::default().preconditions(Preconditions {
                resource_version: metadata.resource_version.clone(),
                uid: metadata.uid.clone(),
            });
            match api.delete(object, &params).await {
                Ok(_) => {}
                Err(error) if is_lost(&error) => return Ok(Outcome::Lost),
                Err(error) => return Err(failed(error)),
            }
        }
        let secret = secret(object, read, contents, replace);
        let written = if read.is_some() && !replace {
            api.replace(object, &PostParams::default(), &secret).await
        } else {
            api.create(&PostParams::default(), &secret).await
        };
        match written {
            Ok(_) => Ok(Outcome::Written),
            Err(error) if is_lost(&error) => Ok(Outcome::Lost),
            Err(error) => Err(failed(error)),
        }
    }

    /// Applies the ClusterTriggerAuthentication over what was read, under our field manager.
    pub(crate) async fn apply_authentication(
        &self,
        epoch: u64,
        read: Option<&ClusterTriggerAuthentication>,
    ) -> Result<Outcome, Error> {
        let object = names::TRIGGER_AUTHENTICATION;
        let mut metadata = json!({
            "name": object,
            "labels": { names::NAME_LABEL: names::APP_NAME },
            "annotations": { names::CREDENTIAL_EPOCH_ANNOTATION: epoch.to_string() },
        });
        let version = read.and_then(|read| read.metadata.resource_version.as_ref());
        if let (Some(version), Some(metadata)) = (version, metadata.as_object_mut()) {
            metadata.insert("resourceVersion".to_owned(), json!(version));
        }
        let applied = json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ClusterTriggerAuthentication",
            "metadata": metadata,
            "spec": authentication_spec(),
        });
        let params = PatchParams::apply(names::CERTMGR_FIELD_MANAGER).force();
        let patched = self.authentications().patch(object, &params, &Patch::Apply(&applied)).await;
        match patched {
            Ok(_) => Ok(Outcome::Written),
            Err(error) if is_lost(&error) => Ok(Outcome::Lost),
            Err(source) => Err(Error::Write { object, source }),
        }
    }
}

/// Changed, created or deleted by somebody else in the meantime.
fn is_lost(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    // A namespace that does not exist answers 404 to a create, and says so.
    let ours = |kind: &str| ["secrets", "clustertriggerauthentications"].contains(&kind);
    let gone = status.code == 404 && status.details.as_ref().is_some_and(|details| ours(&details.kind));
    status.code == 409 || gone
}

pub(crate) fn secret(name: &str, read: Option<&Stored>, contents: Contents, replace: bool) -> Secret {
    let before = read.map(|read| read.0.metadata.clone()).unwrap_or_default();
    let mut annotations = before.annotations.unwrap_or_default();
    for (key, value) in contents.annotations {
        match value {
            Some(value) => annotations.insert(key.to_owned(), value),
            None => annotations.remove(key),
        };
    }
    let mut labels = before.labels.unwrap_or_default();
    labels.insert(names::NAME_LABEL.to_owned(), names::APP_NAME.to_owned());
    labels.insert(names::COMPONENT_LABEL.to_owned(), names::CERTMGR_COMPONENT.to_owned());
    let metadata = if replace {
        ObjectMeta::default()
    } else {
        ObjectMeta {
            resource_version: before.resource_version,
            uid: before.uid,
            owner_references: before.owner_references,
            finalizers: before.finalizers,
            ..ObjectMeta::default()
        }
    };
    let of_type = read.filter(|_| !replace).and_then(|read| read.0.type_.clone());
    let data = contents.data.into_iter();
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(annotations),
            labels: Some(labels),
            ..metadata
        },
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value))).collect()),
        type_: Some(of_type.unwrap_or_else(|| "Opaque".to_owned())),
        ..Secret::default()
    }
}
