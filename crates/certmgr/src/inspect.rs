//! From Secrets as stored to what decisions are made on. Chains and usages are judged by the TLS library, with the code
//! that will judge them in a handshake.

use std::collections::BTreeMap;

use keda_kaito_core::credentials::{Authentication, Objects, RootId};
use keda_kaito_core::names;

use crate::cluster::Snapshot;
use crate::pem::{self, PrivateKey, RootCertificate};

mod authority;
mod leaf;
pub(crate) mod secret;

/// What leaves must carry by the present configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeafNames {
    /// DNS names of the server leaf.
    pub(crate) server: Vec<String>,
    /// The client leaf's URI.
    pub(crate) client: String,
}

/// What was read, and the material behind it.
#[derive(Clone, Debug)]
pub(crate) struct Inspected {
    pub(crate) objects: Objects,
    /// Every root found anywhere.
    pub(crate) roots: BTreeMap<RootId, RootCertificate>,
    /// The private keys of the authorities that have one.
    pub(crate) keys: BTreeMap<RootId, PrivateKey>,
    /// The next authority's certificate signed by the present one, in PEM.
    pub(crate) cross: Option<String>,
}

/// Reads everything there is in a snapshot.
pub(crate) fn inspect(snapshot: &Snapshot, wanted: &LeafNames) -> Inspected {
    let authority = authority::inspect(snapshot.authority.as_ref());
    let mut roots: BTreeMap<RootId, RootCertificate> = BTreeMap::new();
    let published = [&snapshot.server, &snapshot.client].into_iter().flatten();
    let published = published
        .filter_map(|secret| pem::roots(secret.value(names::CA_CRT)?).ok())
        .flatten();
    for root in authority.roots.iter().cloned().chain(published) {
        roots.entry(root.root.id.clone()).or_insert(root);
    }
    let server = secret::inspect(snapshot.server.as_ref(), &roots, leaf::Use::Server(&wanted.server));
    let client = secret::inspect(snapshot.client.as_ref(), &roots, leaf::Use::Client(&wanted.client));
    let seen = snapshot.authentication.object.as_ref();
    let epoch = seen.and_then(|object| object.metadata.annotations.as_ref()?.get(names::CREDENTIAL_EPOCH_ANNOTATION));
    Inspected {
        objects: Objects {
            authority: authority.view,
            server,
            client,
            authentication: Authentication {
                served: snapshot.authentication.served,
                exists: seen.is_some(),
                as_wanted: seen.is_some_and(|object| object.spec == crate::write::authentication_spec()),
                epoch: epoch.and_then(|epoch| epoch.parse().ok()),
            },
        },
        roots,
        keys: authority.keys,
        cross: authority.cross,
    }
}
