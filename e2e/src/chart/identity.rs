//! A program's own credentials, as its pod would have them: a short-lived token that names the pod, in a kubeconfig.

use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::bed::Bed;

/// Above what a test takes, and above the least that the API server gives.
const LIFETIME_SECONDS: i64 = 3600;

impl Bed {
    /// Creates this pod, which nobody need run.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create_pod(&self, pod: Value) -> Result<Pod> {
        let pod: Pod = serde_json::from_value(pod)?;
        let namespace = pod.namespace().context("the pod has no namespace")?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let created = api.create(&PostParams::default(), &pod).await;
        created.with_context(|| format!("creating pod {}", pod.name_any()))
    }

    /// Creates a pod of this ServiceAccount that says nothing else of interest.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create_pod_of(&self, namespace: &str, account: &str, name: &str) -> Result<Pod> {
        self.create_pod(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "one", "image": "none.invalid/none:1"}]},
        }))
        .await
    }

    /// A kubeconfig with a token of this ServiceAccount, bound to the pod if there is one.
    ///
    /// # Errors
    /// The API server's, or no `KUBECONFIG` to take its address from.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str, pod: Option<&Pod>) -> Result<PathBuf> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(LIFETIME_SECONDS),
                bound_object_ref: pod.map(|pod| BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = api.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("requesting a token of {namespace}/{account}"))?;
        let token = answer.status.context("the API server gave no token")?.token;

        let admin = std::env::var_os("KUBECONFIG").context("no KUBECONFIG")?;
        let mut config: Value = serde_json::from_slice(&std::fs::read(admin)?)?;
        let user = config.pointer_mut("/users/0/user").context("a kubeconfig without a user")?;
        *user = json!({ "token": token });
        let name = pod.map_or_else(|| "no-pod".to_owned(), ResourceExt::name_any);
        let file = self
            .directory
            .join("kubeconfig")
            .join(format!("{namespace}.{account}.{name}"));
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        Ok(file)
    }
}
