//! Whether a certificate, its key and its chain are fit for their use, and under which root.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keda_kaito_core::credentials::{Leaf, RootId, Validity};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::authority::fits;
use crate::pem::{self, RootCertificate};

/// What a leaf is for, and what it must carry for that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use<'a> {
    /// To be served under these names.
    Server(&'a [String]),
    /// To call with, under this URI.
    Client(&'a str),
}

/// Judges a chain and its private key, both in PEM. Whether it is valid now is judged elsewhere.
///
/// # Errors
/// A sentence that says what is wrong, without secrets.
pub(super) fn inspect(
    chain: &[u8],
    key: &[u8],
    roots: &BTreeMap<RootId, RootCertificate>,
    used: Use<'_>,
) -> Result<Leaf, String> {
    let chain = pem::certificates(chain).map_err(|why| format!("the certificate is {why}"))?;
    let (leaf, rest) = chain.split_first().ok_or("the certificate is missing")?;
    fits(chain.clone(), key).map_err(|why| format!("the private key is {why}"))?;
    let parsed = pem::parse(leaf).map_err(|why| format!("the certificate is {why}"))?;
    let validity = pem::validity(&parsed).map_err(|why| format!("the certificate is {why}"))?;
    let verifies =
        |root: &RootCertificate, intermediates: &[CertificateDer<'static>]| verify(leaf, intermediates, root, &validity, used);
    let issuer = roots.values().find(|root| verifies(root, &[]).is_ok());
    let issuer = issuer.ok_or_else(|| {
        let why = roots.values().next().and_then(|root| verifies(root, &[]).err());
        let why = why.unwrap_or_else(|| "none is known".to_owned());
        format!("the certificate verifies under no known authority: {why}")
    })?;
    let other = |root: &&RootCertificate| root.root.id != issuer.root.id;
    let crossed = !rest.is_empty() && roots.values().filter(other).any(|root| verifies(root, rest).is_ok());
    Ok(Leaf {
        issuer: issuer.root.id.clone(),
        validity,
        crossed,
        spread: spread(parsed.raw_serial()),
        outdated: outdated(&parsed, used),
    })
}

/// The moment at which the chain is verified is the first of the leaf's life: its ends are judged by the decision.
fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'static>],
    root: &RootCertificate,
    validity: &Validity,
    used: Use<'_>,
) -> Result<(), String> {
    let provider = Arc::new(ring::default_provider());
    let mut store = RootCertStore::empty();
    store.add(root.der.clone()).map_err(|error| error.to_string())?;
    let now = moment(validity.not_before);
    match used {
        Use::Server(_) => {
            let parsed = ParsedCertificate::try_from(leaf).map_err(|error| error.to_string())?;
            let algorithms = provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &store, intermediates, now, algorithms)
                .map_err(|error| error.to_string())
        }
        Use::Client(_) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            let verified = verifier.verify_client_cert(leaf, intermediates, now);
            verified.map(|_verified| ()).map_err(|error| error.to_string())
        }
    }
}

fn moment(timestamp: Timestamp) -> UnixTime {
    let seconds = u64::try_from(timestamp.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn spread(serial: &[u8]) -> u32 {
    let last = serial.last_chunk::<4>();
    last.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn outdated(certificate: &X509Certificate<'_>, used: Use<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    match used {
        Use::Server(wanted) => {
            let missing = wanted
                .iter()
                .find(|name| !names.iter().any(|carried| is_named(carried, name)))?;
            Some(format!("the name {missing}"))
        }
        Use::Client(uri) => (!names.contains(&GeneralName::URI(uri))).then(|| format!("the URI {uri}")),
    }
}

fn is_named(carried: &GeneralName<'_>, wanted: &str) -> bool {
    match (carried, wanted.parse::<IpAddr>()) {
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V4(address))) => *bytes == address.octets().as_slice(),
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V6(address))) => *bytes == address.octets().as_slice(),
        (GeneralName::DNSName(name), Err(_)) => *name == wanted,
        _ => false,
    }
}
