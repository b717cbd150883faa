//! Who may call: under issuers of ours a certificate must carry an allowed URI; under foreign issuers (a user's own, or
//! the Go reference's during migration) the bundle alone decides.

use jiff::Timestamp;
use keda_kaito_core::names::AUTHORITY_NAME_PREFIX;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a client certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Common name of the issuer.
    pub issuer: String,
    /// Hexadecimal.
    pub serial: String,
    pub not_before: Timestamp,
}

/// URIs of which a certificate of ours must carry one.
#[derive(Clone, Debug)]
pub struct CallerRules {
    pub uris: Vec<String>,
}

/// Why a caller with a verified certificate is turned away.
#[derive(Debug, Error)]
pub enum CallerError {
    #[error("no client certificate")]
    None,
    #[error("the client certificate cannot be read")]
    Unreadable,
    #[error("the client certificate carries none of the allowed URIs, but {0:?}")]
    NotAllowed(Vec<String>),
}

impl CallerRules {
    /// Reads the leaf of a chain that TLS has verified, and judges it.
    ///
    /// # Errors
    /// The holder may not call.
    pub fn admit(&self, chain: &[CertificateDer<'_>]) -> Result<Caller, CallerError> {
        let leaf = chain.first().ok_or(CallerError::None)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_error| CallerError::Unreadable)?;
        let issuer = leaf.issuer().iter_common_name().next();
        let issuer = issuer.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        if issuer.starts_with(AUTHORITY_NAME_PREFIX) {
            let uris = uris(&leaf)?;
            if !uris.iter().any(|uri| self.uris.contains(uri)) {
                return Err(CallerError::NotAllowed(uris));
            }
        }
        Ok(Caller {
            issuer,
            serial: leaf.raw_serial_as_string(),
            not_before: Timestamp::from_second(leaf.validity().not_before.timestamp())
                .map_err(|_error| CallerError::Unreadable)?,
        })
    }
}

fn uris(leaf: &X509Certificate<'_>) -> Result<Vec<String>, CallerError> {
    let names = leaf.subject_alternative_name().map_err(|_error| CallerError::Unreadable)?;
    let names = names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uri = |name: &GeneralName<'_>| {
        if let GeneralName::URI(uri) = name {
            Some((*uri).to_owned())
        } else {
            None
        }
    };
    Ok(names.iter().filter_map(uri).collect())
}
