//! TLS as between KEDA and the scaler, with what certmgr has issued for both.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::Kind;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// One Secret, read.
struct Issued {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// As KEDA calls.
///
/// # Errors
/// The Secret is not there, or not usable.
pub(crate) async fn client(bed: &Bed) -> Result<ClientConfig> {
    let Issued { roots, chain, key } = read(bed, names::CLIENT_SECRET).await?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// As the scaler answers.
///
/// # Errors
/// The Secret is not there, or not usable.
pub(crate) async fn server(bed: &Bed) -> Result<ServerConfig> {
    let Issued { roots, chain, key } = read(bed, names::SERVER_SECRET).await?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

async fn read(bed: &Bed, name: &str) -> Result<Issued> {
    let secret: Secret = serde_json::from_value(bed.get(Kind::SECRET, "keda", name).await?)?;
    let data: BTreeMap<String, ByteString> = secret.data.unwrap_or_default();
    let pem = |key: &str| {
        data.get(key)
            .map(|bytes| bytes.0.as_slice())
            .with_context(|| format!("no {key}"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem(names::CA_CRT)?) {
        roots.add(certificate?)?;
    }
    Ok(Issued {
        roots: Arc::new(roots),
        chain: CertificateDer::pem_slice_iter(pem(names::TLS_CRT)?).collect::<Result<Vec<_>, _>>()?,
        key: PrivateKeyDer::from_pem_slice(pem(names::TLS_KEY)?)?,
    })
}
