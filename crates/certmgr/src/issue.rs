//! Makes keys and certificates: ECDSA P-256, random serials, both key identifiers, critical basic constraints and usages.
//! Everything here takes CPU time and belongs on a blocking thread.

use jiff::Timestamp;
use keda_kaito_core::credentials::Validity;
use keda_kaito_core::names;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::error::Error;
use crate::inspect::LeafNames;
use crate::pem::{PrivateKey, RootCertificate};

/// A certificate and its private key, both in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: PrivateKey,
}

/// Which leaf to issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Client,
}

/// A new authority with a name of its own.
pub(crate) fn authority(validity: Validity) -> Result<Pair, Error> {
    let what = "an authority";
    let number = u64::from_be_bytes(rand::random());
    let mut params = params(&format!("{}{number:016x}", names::AUTHORITY_NAME_PREFIX), validity, what)?;
    // Below the root there is a cross certificate at most, and then the leaf.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(|error| failed(what, &error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(what, &error))?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: PrivateKey(key.serialize_pem()),
    })
}

/// The certificate of `next`, signed by `issuer` and not by itself.
pub(crate) fn cross(
    next: &RootCertificate,
    next_key: &PrivateKey,
    issuer: &Signer<'_>,
    validity: Validity,
) -> Result<String, Error> {
    let what = "the cross certificate";
    let mut params = params(&next.common_name, validity, what)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::from_pem(&next_key.0).map_err(|error| failed(what, &error))?;
    let certificate = params
        .signed_by(&key, &issuer.issuer(what)?)
        .map_err(|error| failed(what, &error))?;
    Ok(certificate.pem())
}

/// A leaf with a new key.
pub(crate) fn leaf(kind: Kind, wanted: &LeafNames, issuer: &Signer<'_>, validity: Validity) -> Result<Pair, Error> {
    let what = match kind {
        Kind::Server => "the server certificate",
        Kind::Client => "the client certificate",
    };
    let mut params = params(what_for(kind), validity, what)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match kind {
        Kind::Server => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            for name in &wanted.server {
                params.subject_alt_names.push(match name.parse() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|error| failed(what, &error))?),
                });
            }
        }
        Kind::Client => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let uri = wanted.client.as_str().try_into().map_err(|error| failed(what, &error))?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
    }
    let key = KeyPair::generate().map_err(|error| failed(what, &error))?;
    let certificate = params
        .signed_by(&key, &issuer.issuer(what)?)
        .map_err(|error| failed(what, &error))?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: PrivateKey(key.serialize_pem()),
    })
}

/// An authority that signs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer<'a> {
    pub(crate) root: &'a RootCertificate,
    pub(crate) key: &'a PrivateKey,
}

impl Signer<'_> {
    fn issuer(&self, what: &'static str) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = KeyPair::from_pem(&self.key.0).map_err(|error| failed(what, &error))?;
        Issuer::from_ca_cert_der(&self.root.der, key).map_err(|error| failed(what, &error))
    }
}

fn params(common_name: &str, validity: Validity, what: &'static str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = moment(validity.not_before, what)?;
    params.not_after = moment(validity.not_after, what)?;
    params.serial_number = Some(serial());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn what_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "keda-kaito-scaler server",
        Kind::Client => "keda-kaito-scaler client",
    }
}

/// 159 random bits: positive, and at most 20 bytes, as RFC 5280 wants.
fn serial() -> SerialNumber {
    let mut bytes: [u8; 20] = rand::random();
    if let Some(first) = bytes.first_mut() {
        *first &= 0x7f;
    }
    SerialNumber::from_slice(&bytes)
}

fn moment(timestamp: Timestamp, what: &'static str) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(timestamp.as_second()).map_err(|error| failed(what, &error))
}

fn failed(what: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Issue {
        what,
        why: error.to_string(),
    }
}
