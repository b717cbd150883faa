//! The proxy's certificate, from an authority made on the spot.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

pub(super) struct Made {
    pub(super) acceptor: TlsAcceptor,
    /// Base64 of its PEM, as a kubeconfig has it.
    pub(super) authority: String,
}

pub(super) fn make(address: IpAddr) -> Result<Made> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("making an authority")?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![address.to_string()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    // Not HTTP/2: a reset would end every stream of a client at once.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Made {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        authority: STANDARD.encode(authority.pem()),
    })
}
