//! PEM in and out: certificates with their identities, private keys that never show themselves.

use std::fmt;

use jiff::Timestamp;
use keda_kaito_core::credentials::{MAX_ROOTS, Root, RootId, Validity};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longer values are not read: a Secret holds 1 MiB at most, and no bundle of ours comes near this.
const MAX_LENGTH: usize = 64 * 1024;

/// A private key in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PrivateKey(pub(crate) String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(..)")
    }
}

/// A root certificate and what tells it from others.
#[derive(Clone, Debug)]
pub(crate) struct RootCertificate {
    pub(crate) root: Root,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) common_name: String,
}

/// Every certificate in `pem`, which holds nothing else.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.len() > MAX_LENGTH {
        return Err(format!("{} bytes long; at most {MAX_LENGTH} are read", pem.len()));
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("not PEM: {error}"))?;
    match all.len() {
        0 => Err("without a certificate".to_owned()),
        count if count > MAX_ROOTS => Err(format!("of {count} certificates; at most {MAX_ROOTS} are read")),
        _ => Ok(all),
    }
}

/// Every certificate in `pem`, all of which are authorities.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn roots(pem: &[u8]) -> Result<Vec<RootCertificate>, String> {
    let mut roots: Vec<RootCertificate> = Vec::new();
    for der in certificates(pem)? {
        let root = root(der)?;
        if roots.iter().all(|known| known.root.id != root.root.id) {
            roots.push(root);
        }
    }
    Ok(roots)
}

fn root(der: CertificateDer<'static>) -> Result<RootCertificate, String> {
    let parsed = parse(&der)?;
    if !parsed.is_ca() {
        return Err("with a certificate that is no authority".to_owned());
    }
    let common_name = common_name(&parsed);
    let root = Root {
        id: identity(&der),
        validity: validity(&parsed)?,
    };
    Ok(RootCertificate { root, der, common_name })
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    Ok(parsed)
}

pub(crate) fn common_name(certificate: &X509Certificate<'_>) -> String {
    let mut names = certificate.subject().iter_common_name();
    names.find_map(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

pub(crate) fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, String> {
    let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| format!("with an impossible time: {error}"));
    let validity = certificate.validity();
    Ok(Validity {
        not_before: moment(validity.not_before.timestamp())?,
        not_after: moment(validity.not_after.timestamp())?,
    })
}

/// The first private key in `pem`.
///
/// # Errors
/// A sentence without a byte of the key.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if pem.len() > MAX_LENGTH {
        return Err(format!("{} bytes long; at most {MAX_LENGTH} are read", pem.len()));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_error| "not a private key in PEM".to_owned())
}

/// The first 16 hexadecimal digits of the certificate's SHA-256 digest.
pub(crate) fn identity(der: &[u8]) -> RootId {
    let digest = Sha256::digest(der);
    RootId(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// A certificate in PEM, with the line ends that everyone uses.
pub(crate) fn encode(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
