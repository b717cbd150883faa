//! The objects in memory, and certmgr's way of reading, deciding and writing applied to them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_core::credentials::{Acknowledgement, Acknowledgements, Callers, Clock, Config, Plan, Replica, Step, plan};
use keda_kaito_core::names;

use crate::cluster::{SeenAuthentication, Snapshot};
use crate::inspect::{Inspected, LeafNames, inspect};
use crate::issue::Kind;
use crate::stored::Stored;
use crate::write::{Contents, authentication_spec, compose_authority, compose_leaf, secret};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) authority: Option<Stored>,
    pub(super) server: Option<Stored>,
    pub(super) client: Option<Stored>,
    pub(super) authentication: Option<ClusterTriggerAuthentication>,
}

pub(super) fn start() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

pub(super) fn wanted() -> LeafNames {
    LeafNames {
        server: ["keda-kaito-scaler-svc", "keda-kaito-scaler-svc.keda.svc", "127.0.0.1"]
            .map(str::to_owned)
            .to_vec(),
        client: "spiffe://cluster.local/ns/keda/sa/keda-operator".to_owned(),
    }
}

/// A Secret with these values.
pub(super) fn stored(data: &[(&str, &str)]) -> Stored {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Stored(Secret {
        data: Some(data.collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

impl Memory {
    pub(super) fn empty() -> Self {
        Self {
            authority: None,
            server: None,
            client: None,
            authentication: None,
        }
    }

    /// What certmgr makes of nothing.
    pub(super) fn issued() -> Self {
        let mut memory = Self::empty();
        memory.settle(start());
        memory
    }

    pub(super) fn inspect(&self) -> Inspected {
        inspect(&self.snapshot(start()), &wanted())
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        Snapshot {
            authority: self.authority.clone(),
            server: self.server.clone(),
            client: self.client.clone(),
            authentication: SeenAuthentication {
                served: true,
                object: self.authentication.clone(),
            },
            acknowledgements: Acknowledgements::Known(Vec::new()),
            clock: Clock::agreed(now),
        }
    }

    /// Decides as if one replica held everything published and saw new callers only.
    pub(super) fn plan(&self, inspected: &Inspected, now: Timestamp) -> Plan {
        let generation = inspected.objects.server.generation;
        let replica = Replica {
            name: "a".to_owned(),
            acknowledgement: Some(Acknowledgement {
                trusted: generation,
                served: generation,
                retired_connections: Some(0),
                callers: Some(Callers {
                    since: start() - DAY,
                    lowest_epoch: inspected.objects.authentication.epoch,
                    oldest_client: Some(now),
                }),
            }),
        };
        plan(
            &inspected.objects,
            &Acknowledgements::Known(vec![replica]),
            &Clock::agreed(now),
            &Config::default(),
        )
    }

    /// Makes the next write, if one is due.
    pub(super) fn step(&mut self, now: Timestamp) -> Option<Step> {
        let inspected = inspect(&self.snapshot(now), &wanted());
        let step = self.plan(&inspected, now).step?;
        let put = |name: &str, before: &Option<Stored>, contents: Contents, replace: bool| {
            Some(Stored(secret(name, before.as_ref(), contents, replace)))
        };
        match &step {
            Step::Authority { write, replace, .. } => {
                let contents = compose_authority(write, &inspected, self.authority.as_ref(), self.client.as_ref()).unwrap();
                self.authority = put(names::CA_SECRET, &self.authority, contents, *replace);
            }
            Step::Server(publication) => {
                let contents = compose_leaf(Kind::Server, publication, &inspected, self.server.as_ref(), &wanted()).unwrap();
                self.server = put(names::SERVER_SECRET, &self.server, contents, publication.replace);
            }
            Step::Client(publication) => {
                let contents = compose_leaf(Kind::Client, publication, &inspected, self.client.as_ref(), &wanted()).unwrap();
                self.client = put(names::CLIENT_SECRET, &self.client, contents, publication.replace);
            }
            Step::Authentication { epoch, .. } => {
                let mut object = ClusterTriggerAuthentication {
                    spec: authentication_spec(),
                    ..ClusterTriggerAuthentication::default()
                };
                let annotation = (names::CREDENTIAL_EPOCH_ANNOTATION.to_owned(), epoch.to_string());
                object.metadata.annotations = Some(BTreeMap::from([annotation]));
                self.authentication = Some(object);
            }
        }
        Some(step)
    }

    /// Writes until nothing is due, and returns how often.
    pub(super) fn settle(&mut self, now: Timestamp) -> usize {
        let mut writes = 0;
        while self.step(now).is_some() {
            writes += 1;
            assert!(writes < 20, "no end of writing");
        }
        writes
    }

    /// Asks for a rotation.
    pub(super) fn request(&mut self, reason: &str) {
        let annotations = &mut self.authority.as_mut().unwrap().0.metadata.annotations;
        annotations
            .get_or_insert_default()
            .insert(names::ROTATE_REASON_ANNOTATION.to_owned(), reason.to_owned());
    }
}
