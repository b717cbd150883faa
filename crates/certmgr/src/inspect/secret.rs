//! What the server or the client Secret holds, in our layout or the Go reference's.

use std::collections::BTreeMap;

use keda_kaito_core::credentials::{Flaw, Leaf, LeafSecret, RootId};
use keda_kaito_core::names::{
    CA_CRT, CA_KEY, GENERATION_ANNOTATION, PUBLISHED_ANNOTATION, REFERENCE_SERVER_CRT, REFERENCE_SERVER_KEY, RETIRING_ANNOTATION,
    TLS_CRT, TLS_KEY,
};

use super::leaf::{self, Use};
use crate::pem::{self, RootCertificate};
use crate::stored::Stored;

/// Keys that only the Go reference writes into these Secrets.
pub(crate) const REFERENCE_KEYS: [&str; 3] = [CA_KEY, REFERENCE_SERVER_CRT, REFERENCE_SERVER_KEY];

pub(super) fn inspect(stored: Option<&Stored>, roots: &BTreeMap<RootId, RootCertificate>, used: Use<'_>) -> LeafSecret {
    let Some(stored) = stored else { return LeafSecret::absent() };
    let (crt, key) = pair(stored);
    LeafSecret {
        presence: stored.presence(),
        leaf: leaf(stored, crt, key, roots, used),
        bundle: match stored.value(CA_CRT).map(pem::roots) {
            None => Err(Flaw::Absent),
            Some(Err(why)) => Err(Flaw::Unusable(why)),
            Some(Ok(roots)) => Ok(roots.into_iter().map(|root| root.root).collect()),
        },
        generation: stored.number(GENERATION_ANNOTATION),
        published: stored.moment(PUBLISHED_ANNOTATION),
        retiring: stored.moment(RETIRING_ANNOTATION),
        reference_keys: REFERENCE_KEYS.iter().any(|key| stored.value(key).is_some()),
        reference_layout: crt == REFERENCE_SERVER_CRT,
    }
}

/// Under which keys the pair is: ours, unless only the Go reference's are there.
pub(crate) fn pair(stored: &Stored) -> (&'static str, &'static str) {
    let ours = stored.value(TLS_CRT).is_some() || stored.value(TLS_KEY).is_some();
    if !ours && stored.value(REFERENCE_SERVER_CRT).is_some() {
        return (REFERENCE_SERVER_CRT, REFERENCE_SERVER_KEY);
    }
    (TLS_CRT, TLS_KEY)
}

fn leaf(stored: &Stored, crt: &str, key: &str, roots: &BTreeMap<RootId, RootCertificate>, used: Use<'_>) -> Result<Leaf, Flaw> {
    match (stored.value(crt), stored.value(key)) {
        (None, None) => Err(Flaw::Absent),
        (None, Some(_)) => Err(Flaw::Unusable(format!("{crt} is missing"))),
        (Some(_), None) => Err(Flaw::Unusable(format!("{key} is missing"))),
        (Some(chain), Some(private)) => leaf::inspect(chain, private, roots, used).map_err(Flaw::Unusable),
    }
}
