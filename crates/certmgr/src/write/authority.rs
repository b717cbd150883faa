//! What the Secret with the authorities shall hold after a step. Makes keys: belongs on a blocking thread.

use std::collections::BTreeMap;

use keda_kaito_core::credentials::{AuthorityWrite, NextAuthority, RootId, Validity};
use keda_kaito_core::names::{CA_CRT, CA_KEY, CROSS_CRT, NEXT_CRT, NEXT_KEY, RETIRING_CRT, ROTATED_REASON_ANNOTATION, TLS_CRT};

use super::Contents;
use crate::error::Error;
use crate::inspect::Inspected;
use crate::issue::{self, Pair, Signer};
use crate::pem::{self, PrivateKey};
use crate::stored::Stored;

/// What is read now and shall be written differently.
struct Present<'a> {
    inspected: &'a Inspected,
    stored: Option<&'a Stored>,
    client: Option<&'a Stored>,
}

/// Composes the Secret; `stored` is it as read, `client` the client Secret as read.
pub(crate) fn compose(
    write: &AuthorityWrite,
    inspected: &Inspected,
    stored: Option<&Stored>,
    client: Option<&Stored>,
) -> Result<Contents, Error> {
    let present = Present {
        inspected,
        stored,
        client,
    };
    let mut annotations = BTreeMap::new();
    let data = match write {
        AuthorityWrite::Create { validity } => {
            let pair = issue::authority(*validity)?;
            BTreeMap::from([(CA_CRT, pair.certificate.into_bytes()), (CA_KEY, pair.key.0.into_bytes())])
        }
        AuthorityWrite::Prepare {
            next,
            cross,
            keep,
            reason,
        } => {
            if let Some(reason) = reason {
                annotations.insert(ROTATED_REASON_ANNOTATION, Some(reason.clone()));
            }
            present.prepare(next, *cross, keep)?
        }
        AuthorityWrite::Cross { validity } => present.crossed(*validity)?,
        AuthorityWrite::EraseKey => {
            let mut data = present.usable(true);
            data.remove(CA_KEY);
            data.extend(present.retiring());
            data
        }
        AuthorityWrite::Promote => {
            let next = present.next().ok_or_else(|| missing("the next authority"))?;
            BTreeMap::from([(CA_CRT, next.certificate.into_bytes()), (CA_KEY, next.key.0.into_bytes())])
        }
        AuthorityWrite::Rewrite { next } => present.usable(*next),
    };
    Ok(Contents { data, annotations })
}

impl Present<'_> {
    fn prepare(
        &self,
        next: &NextAuthority,
        cross: Option<Validity>,
        keep: &[RootId],
    ) -> Result<BTreeMap<&'static str, Vec<u8>>, Error> {
        let next = match next {
            NextAuthority::New(validity) => issue::authority(*validity)?,
            NextAuthority::Stored => {
                let signer = self.inspected.objects.authority.signer.as_ref();
                let stored = signer.and_then(|signer| self.pair(signer));
                stored.ok_or_else(|| missing("the stored authority"))?
            }
        };
        let mut data = BTreeMap::from([(CA_CRT, bundle(self.inspected, keep)?.into_bytes())]);
        match cross {
            Some(validity) => {
                let signer = self.signer()?;
                data.insert(CROSS_CRT, cross_certificate(&next, &signer, validity)?.into_bytes());
                data.insert(CA_KEY, signer.key.0.clone().into_bytes());
            }
            None => data.extend(self.retiring()),
        }
        data.insert(NEXT_CRT, next.certificate.into_bytes());
        data.insert(NEXT_KEY, next.key.0.into_bytes());
        Ok(data)
    }

    fn crossed(&self, validity: Validity) -> Result<BTreeMap<&'static str, Vec<u8>>, Error> {
        let next = self.next().ok_or_else(|| missing("the next authority"))?;
        let mut data = self.usable(true);
        data.insert(CROSS_CRT, cross_certificate(&next, &self.signer()?, validity)?.into_bytes());
        Ok(data)
    }

    /// Everything that can still be used, as it is stored.
    fn usable(&self, with_next: bool) -> BTreeMap<&'static str, Vec<u8>> {
        let view = &self.inspected.objects.authority;
        let current: Vec<_> = view.current.iter().map(|root| root.id.clone()).collect();
        let mut data = BTreeMap::new();
        if let Ok(bundle) = bundle(self.inspected, &current) {
            data.insert(CA_CRT, bundle.into_bytes());
        }
        if let Some(key) = view.signer.as_ref().and_then(|id| self.inspected.keys.get(id)) {
            data.insert(CA_KEY, key.0.clone().into_bytes());
        }
        let Some(next) = self.next().filter(|_| with_next) else {
            return data;
        };
        data.insert(NEXT_CRT, next.certificate.into_bytes());
        data.insert(NEXT_KEY, next.key.0.into_bytes());
        if let Some(cross) = &self.inspected.cross {
            data.insert(CROSS_CRT, cross.clone().into_bytes());
        }
        let retiring = self
            .stored
            .and_then(|stored| stored.value(RETIRING_CRT))
            .filter(|_| view.retiring.is_some());
        if let Some(retiring) = retiring {
            data.insert(RETIRING_CRT, retiring.to_vec());
        }
        data
    }

    /// The client certificate that is out now; its private key stays where it is.
    fn retiring(&self) -> Option<(&'static str, Vec<u8>)> {
        self.inspected.objects.client.leaf.as_ref().ok()?;
        let chain = pem::certificates(self.client?.value(TLS_CRT)?).ok()?;
        Some((RETIRING_CRT, pem::encode(chain.first()?).into_bytes()))
    }

    fn next(&self) -> Option<Pair> {
        self.pair(&self.inspected.objects.authority.next.as_ref()?.id)
    }

    fn pair(&self, id: &RootId) -> Option<Pair> {
        let root = self.inspected.roots.get(id)?;
        Some(Pair {
            certificate: pem::encode(&root.der),
            key: self.inspected.keys.get(id)?.clone(),
        })
    }

    fn signer(&self) -> Result<Signer<'_>, Error> {
        let signer = self.inspected.objects.authority.signer.as_ref();
        signer
            .and_then(|signer| signer_of(self.inspected, signer))
            .ok_or_else(|| missing("the signing authority"))
    }
}

/// The authority `id` with its private key.
pub(super) fn signer_of<'a>(inspected: &'a Inspected, id: &RootId) -> Option<Signer<'a>> {
    let key: &PrivateKey = inspected.keys.get(id)?;
    Some(Signer {
        root: inspected.roots.get(id)?,
        key,
    })
}

/// These roots in PEM, in this order.
pub(super) fn bundle(inspected: &Inspected, ids: &[RootId]) -> Result<String, Error> {
    let certificate = |id: &RootId| inspected.roots.get(id).map(|root| pem::encode(&root.der));
    let all: Option<String> = ids.iter().map(certificate).collect();
    all.ok_or_else(|| missing("a root of the trust bundle"))
}

pub(super) fn missing(what: &'static str) -> Error {
    Error::Issue {
        what,
        why: "it was not read".to_owned(),
    }
}

fn cross_certificate(next: &Pair, signer: &Signer<'_>, validity: Validity) -> Result<String, Error> {
    let what = "the cross certificate";
    let failed = |why| Error::Issue { what, why };
    let roots = pem::roots(next.certificate.as_bytes()).map_err(failed)?;
    let root = roots.first().ok_or_else(|| missing(what))?;
    issue::cross(root, &next.key, signer, validity)
}
