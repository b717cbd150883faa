//! What the Secret with the authorities holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use keda_kaito_core::credentials::{AuthoritySecret, RootId};
use keda_kaito_core::names;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::pem::{self, PrivateKey, RootCertificate};
use crate::stored::Stored;

/// The view, and the material behind it.
pub(super) struct Authorities {
    pub(super) view: AuthoritySecret,
    pub(super) roots: Vec<RootCertificate>,
    pub(super) keys: BTreeMap<RootId, PrivateKey>,
    pub(super) cross: Option<String>,
}

pub(super) fn inspect(stored: Option<&Stored>) -> Authorities {
    let mut found = Authorities {
        view: AuthoritySecret::absent(),
        roots: Vec::new(),
        keys: BTreeMap::new(),
        cross: None,
    };
    let Some(stored) = stored else { return found };
    found.view.presence = stored.presence();
    found.view.requested = stored.annotation(names::ROTATE_REASON_ANNOTATION).map(str::to_owned);
    found.view.recorded = stored.annotation(names::ROTATED_REASON_ANNOTATION).map(str::to_owned);
    let mut flaws = Vec::new();
    let current = keep(certificates(stored, names::CA_CRT), names::CA_CRT, &mut flaws);
    let next = keep(certificates(stored, names::NEXT_CRT), names::NEXT_CRT, &mut flaws);
    found.view.current = current.iter().map(|root| root.root.clone()).collect();
    if let Some((id, key)) = keep(signer(stored, names::CA_KEY, &current), names::CA_KEY, &mut flaws) {
        found.view.signer = Some(id.clone());
        found.keys.insert(id, key);
    }
    match keep(signer(stored, names::NEXT_KEY, &next), names::NEXT_KEY, &mut flaws) {
        Some((id, key)) => {
            found.view.next = next.iter().find(|root| root.root.id == id).map(|root| root.root.clone());
            found.keys.insert(id, key);
        }
        None if !next.is_empty() => flaws.push(format!("{} has no usable private key", names::NEXT_CRT)),
        None => {}
    }
    let issuers = current.iter();
    let crossed = keep(cross(stored, next.first(), issuers), names::CROSS_CRT, &mut flaws);
    found.view.crossed = crossed.is_some();
    found.cross = crossed;
    found.view.retiring = stored.value(names::RETIRING_CRT).and_then(|value| {
        let all = pem::certificates(value).ok()?;
        pem::validity(&pem::parse(all.first()?).ok()?).ok()
    });
    found.roots = current.into_iter().chain(next).collect();
    found.view.flaw = (!flaws.is_empty()).then(|| flaws.join("; "));
    found
}

/// What was read; a flaw is noted and counts as nothing read.
fn keep<T: Default>(read: Result<T, String>, key: &str, flaws: &mut Vec<String>) -> T {
    read.unwrap_or_else(|why| {
        flaws.push(format!("{key} is {why}"));
        T::default()
    })
}

fn certificates(stored: &Stored, key: &str) -> Result<Vec<RootCertificate>, String> {
    stored.value(key).map_or(Ok(Vec::new()), pem::roots)
}

/// The one of `roots` to which the stored private key belongs.
fn signer(stored: &Stored, key: &str, roots: &[RootCertificate]) -> Result<Option<(RootId, PrivateKey)>, String> {
    let Some(value) = stored.value(key) else { return Ok(None) };
    let text = stored.text(key).ok_or("not text")?;
    if rcgen::KeyPair::from_pem(text).is_err() {
        return Err("not a private key that certificates can be issued with".to_owned());
    }
    for root in roots {
        if fits(vec![root.der.clone()], value).is_ok() {
            return Ok(Some((root.root.id.clone(), PrivateKey(text.to_owned()))));
        }
    }
    Err("not the private key of its certificate".to_owned())
}

/// Whether a private key is the first certificate's.
pub(super) fn fits(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<(), String> {
    let key = pem::private_key(key)?;
    let provider = Arc::new(ring::default_provider());
    let certified = CertifiedKey::from_der(chain, key, &provider);
    let fits = certified.and_then(|certified| certified.keys_match());
    fits.map_err(|_error| "not the private key of the certificate, or of an unsupported kind".to_owned())
}

/// The cross certificate in PEM, if it certifies the next authority's key and one of `issuers` signed it.
fn cross<'a>(
    stored: &Stored,
    next: Option<&RootCertificate>,
    mut issuers: impl Iterator<Item = &'a RootCertificate>,
) -> Result<Option<String>, String> {
    let Some(value) = stored.value(names::CROSS_CRT) else {
        return Ok(None);
    };
    let next = next.ok_or("there without a next authority")?;
    let all = pem::certificates(value)?;
    let cross = pem::parse(all.first().ok_or("empty")?)?;
    let subject = pem::parse(&next.der)?;
    if cross.public_key().raw != subject.public_key().raw || cross.subject() != subject.subject() {
        return Err("not the next authority's".to_owned());
    }
    let signed = |issuer: &RootCertificate| {
        let issuer = pem::parse(&issuer.der).ok()?;
        cross.verify_signature(Some(issuer.public_key())).ok()
    };
    if issuers.any(|issuer| signed(issuer).is_some()) {
        return Ok(stored.text(names::CROSS_CRT).map(str::to_owned));
    }
    Err("not signed by the present authority".to_owned())
}
