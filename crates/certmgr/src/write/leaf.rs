//! What the server or the client Secret shall hold after a step. Makes keys: belongs on a blocking thread.

use std::collections::BTreeMap;

use keda_kaito_core::credentials::{LeafSecret, LeafSource, Publication, RootId};
use keda_kaito_core::names::{CA_CRT, GENERATION_ANNOTATION, PUBLISHED_ANNOTATION, RETIRING_ANNOTATION, TLS_CRT, TLS_KEY};

use super::Contents;
use super::authority::{bundle, missing, signer_of};
use crate::error::Error;
use crate::inspect::secret::{REFERENCE_KEYS, pair};
use crate::inspect::{Inspected, LeafNames};
use crate::issue::{self, Kind};
use crate::stored::Stored;

/// Composes the Secret; `stored` is it as read.
pub(crate) fn compose(
    kind: Kind,
    publication: &Publication,
    inspected: &Inspected,
    stored: Option<&Stored>,
    wanted: &LeafNames,
) -> Result<Contents, Error> {
    let view = match kind {
        Kind::Server => &inspected.objects.server,
        Kind::Client => &inspected.objects.client,
    };
    let bundle = bundle(inspected, &in_place(view, &publication.bundle))?;
    let mut data = BTreeMap::from([(CA_CRT, bundle.into_bytes())]);
    match &publication.leaf {
        LeafSource::Keep => {
            let stored = stored.ok_or_else(|| missing("the certificate"))?;
            let (crt, key) = pair(stored);
            data.insert(TLS_CRT, value(stored, crt)?);
            data.insert(TLS_KEY, value(stored, key)?);
        }
        LeafSource::Issue(order) => {
            let signer = signer_of(inspected, &order.issuer).ok_or_else(|| missing("the signing authority"))?;
            let leaf = issue::leaf(kind, wanted, &signer, order.validity)?;
            let mut chain = leaf.certificate;
            if let Some(cross) = inspected.cross.as_ref().filter(|_| order.crossed) {
                chain.push_str(cross);
            }
            data.insert(TLS_CRT, chain.into_bytes());
            data.insert(TLS_KEY, leaf.key.0.into_bytes());
        }
    }
    if publication.keep_reference_keys {
        let kept = REFERENCE_KEYS
            .into_iter()
            .filter_map(|key| Some((key, stored?.value(key)?.to_vec())));
        data.extend(kept);
    }
    let annotations = BTreeMap::from([
        (GENERATION_ANNOTATION, Some(publication.generation.to_string())),
        (PUBLISHED_ANNOTATION, Some(publication.published.to_string())),
        (RETIRING_ANNOTATION, publication.retiring.map(|moment| moment.to_string())),
    ]);
    Ok(Contents { data, annotations })
}

/// Roots that are there already keep their places: the Go reference takes its own authority to be the first.
fn in_place(view: &LeafSecret, wanted: &[RootId]) -> Vec<RootId> {
    let present = view.bundle.iter().flatten().map(|root| root.id.clone());
    let mut ids: Vec<_> = present.filter(|id| wanted.contains(id)).collect();
    let new: Vec<_> = wanted.iter().filter(|id| !ids.contains(id)).cloned().collect();
    ids.extend(new);
    ids
}

fn value(stored: &Stored, key: &str) -> Result<Vec<u8>, Error> {
    let value = stored.value(key).ok_or_else(|| missing("the certificate"))?;
    Ok(value.to_vec())
}
