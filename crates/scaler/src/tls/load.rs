//! The checks between a Secret and a configuration that may be served.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Credentials;
use crate::cluster_time::ClusterTime;
use crate::server::HTTP2;

/// Largest value of one key in the Secret.
const MAX_VALUE: usize = 64 * 1024;
/// Most roots in a bundle.
const MAX_ROOTS: usize = 16;

/// Why a Secret cannot be served. No message holds key material.
#[derive(Debug, Error)]
pub enum CredentialError {
    #[error("{key} is missing")]
    Missing { key: &'static str },
    #[error("{key} is {bytes} bytes long; at most {MAX_VALUE} are accepted")]
    TooLong { key: &'static str, bytes: usize },
    #[error("{key} cannot be read as PEM")]
    Pem { key: &'static str },
    #[error("{key} holds a certificate that cannot be read")]
    Certificate { key: &'static str },
    #[error("{key} holds {count} certificates; at most {MAX_ROOTS} are accepted")]
    TooMany { key: &'static str, count: usize },
    #[error("{key} is valid from {not_before} to {not_after}, which is not now")]
    NotValidNow {
        key: &'static str,
        not_before: Timestamp,
        not_after: Timestamp,
    },
    #[error("{key} holds no authority that is valid now")]
    NoRoots { key: &'static str },
    #[error("tls.key is not the key of tls.crt, or of a kind that is not supported")]
    Key,
    #[error("tls.crt is not for servers")]
    Use,
    #[error("annotation {annotation}: {value:?} cannot be read")]
    Annotation { annotation: &'static str, value: String },
    #[error("the TLS library refuses the credentials: {0}")]
    Refused(String),
}

/// Checks a Secret and builds what is served from it.
///
/// # Errors
/// The first thing wrong with it; nothing of it may then be used.
pub fn load(secret: &Secret, time: &ClusterTime) -> Result<Credentials, CredentialError> {
    let now = time.now();
    let provider = Arc::new(ring::default_provider());
    let (roots, first_root_ends) = roots(value(secret, names::CA_CRT)?, now)?;
    let chain = certificates(names::TLS_CRT, value(secret, names::TLS_CRT)?)?;
    let leaf = chain.first().ok_or(CredentialError::Pem { key: names::TLS_CRT })?;
    let (not_before, not_after) = validity(names::TLS_CRT, leaf)?;
    if now < not_before || not_after < now {
        return Err(CredentialError::NotValidNow {
            key: names::TLS_CRT,
            not_before,
            not_after,
        });
    }
    if !is_for_servers(leaf)? {
        return Err(CredentialError::Use);
    }
    let leaf_is_theirs = verifies(&chain, &roots, &provider, now);
    let key = certified_key(chain, value(secret, names::TLS_KEY)?, &provider)?;
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| CredentialError::Refused(error.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(time.clone()))
        .with_safe_default_protocol_versions()
        .map_err(|error| CredentialError::Refused(error.to_string()))?
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![HTTP2.to_vec()];
    // A resumed session would skip the verification of the client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Credentials {
        config: Arc::new(config),
        verifier,
        roots,
        leaf_is_theirs,
        time: time.clone(),
        generation: annotation(secret, names::GENERATION_ANNOTATION)?.unwrap_or(0),
        not_after,
        first_root_ends,
        retiring: annotation(secret, names::RETIRING_ANNOTATION)?,
    })
}

fn value<'a>(secret: &'a Secret, key: &'static str) -> Result<&'a [u8], CredentialError> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let bytes = &data
        .filter(|value| !value.0.is_empty())
        .ok_or(CredentialError::Missing { key })?
        .0;
    if bytes.len() > MAX_VALUE {
        return Err(CredentialError::TooLong { key, bytes: bytes.len() });
    }
    Ok(bytes)
}

fn annotation<T: std::str::FromStr>(secret: &Secret, key: &'static str) -> Result<Option<T>, CredentialError> {
    let Some(text) = secret
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(key))
    else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_unreadable| CredentialError::Annotation {
        annotation: key,
        value: text.chars().take(64).collect(),
    })
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_error| CredentialError::Pem { key })?;
    if certificates.len() > MAX_ROOTS {
        let count = certificates.len();
        return Err(CredentialError::TooMany { key, count });
    }
    Ok(certificates)
}

/// Expired roots are left out here: the TLS library would go on trusting them.
fn roots(pem: &[u8], now: Timestamp) -> Result<(RootCertStore, Timestamp), CredentialError> {
    let key = names::CA_CRT;
    let mut roots = RootCertStore::empty();
    let mut first_end = Timestamp::MAX;
    for certificate in certificates(key, pem)? {
        let (_, not_after) = validity(key, &certificate)?;
        if not_after < now {
            continue;
        }
        first_end = first_end.min(not_after);
        roots
            .add(certificate)
            .map_err(|_error| CredentialError::Certificate { key })?;
    }
    if roots.is_empty() {
        return Err(CredentialError::NoRoots { key });
    }
    Ok((roots, first_end))
}

fn validity(key: &'static str, certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), CredentialError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_error| CredentialError::Certificate { key })?;
    let validity = parsed.validity();
    let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|_error| CredentialError::Certificate { key });
    Ok((
        moment(validity.not_before.timestamp())?,
        moment(validity.not_after.timestamp())?,
    ))
}

/// A certificate that says nothing of its use may serve.
fn is_for_servers(leaf: &CertificateDer<'_>) -> Result<bool, CredentialError> {
    let unreadable = CredentialError::Certificate { key: names::TLS_CRT };
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return Err(unreadable);
    };
    let usage = parsed.extended_key_usage().map_err(|_error| unreadable)?;
    Ok(usage.is_none_or(|usage| usage.value.server_auth || usage.value.any))
}

/// Whether callers who trust these roots would take the chain for a server's.
fn verifies(chain: &[CertificateDer<'static>], roots: &RootCertStore, provider: &CryptoProvider, now: Timestamp) -> bool {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    let (Ok(leaf), Ok(seconds)) = (ParsedCertificate::try_from(leaf), u64::try_from(now.as_second())) else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms).is_ok()
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CredentialError> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_error| CredentialError::Pem { key: names::TLS_KEY })?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|_error| CredentialError::Key)?;
    key.keys_match().map_err(|_error| CredentialError::Key)?;
    Ok(key)
}
