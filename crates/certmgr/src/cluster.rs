//! Reads everything a decision needs, straight from the API server: no cache may decide what is overwritten.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_core::credentials::{Acknowledgements, Clock};
use keda_kaito_core::names;
use keda_kaito_runtime::client::describe;
use keda_kaito_runtime::clock::server_time;
use keda_kaito_runtime::crds::{GroupKindWanted, served};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::error::Error;
use crate::stored::Stored;

mod replicas;

/// The cluster as certmgr sees it.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    working_namespace: String,
    release_namespace: String,
}

/// Everything as read in one go.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) authority: Option<Stored>,
    pub(crate) server: Option<Stored>,
    pub(crate) client: Option<Stored>,
    pub(crate) authentication: SeenAuthentication,
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) clock: Clock,
}

/// The ClusterTriggerAuthentication, and whether its kind is served.
#[derive(Clone, Debug)]
pub(crate) struct SeenAuthentication {
    pub(crate) served: bool,
    pub(crate) object: Option<ClusterTriggerAuthentication>,
}

impl Cluster {
    pub(crate) fn new(client: Client, working_namespace: &str, release_namespace: &str) -> Self {
        Self {
            client,
            working_namespace: working_namespace.to_owned(),
            release_namespace: release_namespace.to_owned(),
        }
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.working_namespace)
    }

    pub(crate) fn authentications(&self) -> Api<ClusterTriggerAuthentication> {
        Api::all(self.client.clone())
    }

    pub(crate) fn working_namespace(&self) -> &str {
        &self.working_namespace
    }

    /// Reads everything.
    ///
    /// # Errors
    /// One of the objects could not be read; this says nothing about whether it exists.
    pub(crate) async fn read(&self) -> Result<Snapshot, Error> {
        let server = server_time(&self.client).await.map_err(|source| Error::Clock { source })?;
        let clock = Clock {
            own: Timestamp::now(),
            server,
        };
        Ok(Snapshot {
            clock,
            authority: self.secret(names::CA_SECRET).await?,
            server: self.secret(names::SERVER_SECRET).await?,
            client: self.secret(names::CLIENT_SECRET).await?,
            authentication: self.authentication().await?,
            acknowledgements: self.acknowledgements(&clock).await,
        })
    }

    /// The UID of a Secret, for an Event about it; none where it cannot be read.
    pub(crate) async fn uid(&self, name: &str) -> Option<String> {
        let secret = self.secrets().get_metadata_opt(name).await.ok().flatten();
        secret.and_then(|secret| secret.metadata.uid)
    }

    async fn secret(&self, name: &'static str) -> Result<Option<Stored>, Error> {
        let secret = self.secrets().get_opt(name).await;
        let secret = secret.map_err(|source| Error::Read { object: name, source })?;
        Ok(secret.map(Stored))
    }

    async fn authentication(&self) -> Result<SeenAuthentication, Error> {
        let object = names::TRIGGER_AUTHENTICATION;
        let seen = match self.authentications().get(object).await {
            Ok(seen) => Some(seen),
            // Where the kind is not served, the answer is a page and no Status.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(source) => return Err(Error::Read { object, source }),
        };
        let served = match &seen {
            Some(_) => true,
            None => {
                let kind = served(&self.client, &authentication_kind()).await;
                kind.map_err(|source| Error::Read { object, source })?.is_some()
            }
        };
        Ok(SeenAuthentication { served, object: seen })
    }

    /// What the replicas say, who date their Leases by the API server's clock. That they cannot be asked blocks a rotation, and no repair.
    async fn acknowledgements(&self, clock: &Clock) -> Acknowledgements {
        let scaler = format!(
            "{}={},{}={}",
            names::NAME_LABEL,
            names::APP_NAME,
            names::COMPONENT_LABEL,
            names::SCALER_LEASE_COMPONENT
        );
        let scaler = ListParams::default().labels(&scaler);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.release_namespace);
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.release_namespace);
        let pods = match pods.list(&scaler).await {
            Ok(pods) => pods,
            Err(error) => return Acknowledgements::Unknown(format!("failed to list Pods: {}", describe(&error))),
        };
        match leases.list(&scaler).await {
            Ok(leases) => Acknowledgements::Known(replicas::replicas(
                &pods.items,
                &leases.items,
                clock.server.unwrap_or(clock.own),
            )),
            Err(error) => Acknowledgements::Unknown(format!("failed to list Leases: {}", describe(&error))),
        }
    }
}

/// KEDA's kind that names the Secrets.
pub(crate) fn authentication_kind() -> GroupKindWanted {
    GroupKindWanted::new("keda.sh", "ClusterTriggerAuthentication", &["v1alpha1"])
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("working_namespace", &self.working_namespace)
            .field("release_namespace", &self.release_namespace)
            .finish_non_exhaustive()
    }
}
