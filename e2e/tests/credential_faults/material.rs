//! What is in the Secrets, read with rustls and judged by shaking hands in memory: nothing of the programs under test.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look};
use keda_kaito_e2e::cases::objects::{Kind, text};
use kube::Api;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name KEDA dials.
pub(crate) const SERVICE: &str = "keda-kaito-scaler-svc.keda.svc.cluster.local";

/// One side's certificate, key and trust bundle.
pub(crate) struct Material {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

/// The Secrets of KEDA's namespace.
pub(crate) fn secrets(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), "keda")
}

/// The value of a key.
pub(crate) fn value<'a>(secret: &'a Secret, key: &str) -> Result<&'a [u8]> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    Ok(&value.with_context(|| format!("{key} is missing"))?.0)
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    Ok(certificates?)
}

impl Material {
    pub(crate) fn of(secret: &Secret) -> Result<Self> {
        Ok(Self {
            chain: certificates(value(secret, names::TLS_CRT)?)?,
            key: PrivateKeyDer::from_pem_slice(value(secret, names::TLS_KEY)?)?,
            roots: certificates(value(secret, names::CA_CRT)?)?,
        })
    }

    fn store(&self) -> Result<Arc<RootCertStore>> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone())?;
        }
        Ok(Arc::new(store))
    }

    /// As KEDA would dial with it.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.store()?)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn server(&self) -> Result<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.store()?, Arc::clone(&provider)).build()?;
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?)
    }
}

/// Whether everything is as it should be at rest: whoever reads the Secrets now gets along with everybody else who does,
/// and KEDA is told of the newest.
pub(crate) async fn at_rest(bed: &Bed) -> Result<Look<()>> {
    Ok(match judge(bed).await {
        Ok(()) => Look::Met(()),
        Err(why) => Look::NotYet(format!("{why:#}")),
    })
}

async fn judge(bed: &Bed) -> Result<()> {
    let read = async |name: &str| secrets(bed).get(name).await.with_context(|| name.to_owned());
    let authority = read(names::CA_SECRET).await?;
    let (server, client) = (read(names::SERVER_SECRET).await?, read(names::CLIENT_SECRET).await?);
    for secret in [&authority, &server, &client] {
        ensure!(
            secret.type_.as_deref() == Some("Opaque") && secret.immutable != Some(true),
            "type"
        );
    }
    let (server_side, client_side) = (Material::of(&server)?, Material::of(&client)?);
    shake_hands(&server_side, &client_side).await?;
    PrivateKeyDer::from_pem_slice(value(&authority, names::CA_KEY)?)?;
    ensure!(value(&authority, names::NEXT_CRT).is_err(), "a rotation is under way");
    let root = certificates(value(&authority, names::CA_CRT)?)?;
    ensure!(root == server_side.roots && root == client_side.roots, "the bundles differ");
    generation(&server).context("no generation")?;
    told(bed, &client).await
}

async fn told(bed: &Bed, client: &Secret) -> Result<()> {
    let told = bed
        .get(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
        .await?;
    let references = told.pointer("/spec/secretTargetRef").and_then(|list| list.as_array());
    let named: Vec<_> = references.into_iter().flatten().collect();
    let parameters: Vec<&str> = named.iter().map(|one| text(one, "/parameter")).collect();
    ensure!(parameters == ["tlsClientCert", "tlsClientKey", "caCert"], "{parameters:?}");
    ensure!(
        named.iter().all(|one| text(one, "/name") == names::CLIENT_SECRET),
        "another Secret"
    );
    let generation = generation(client).context("no generation")?;
    let pointer = format!(
        "/metadata/annotations/{}",
        names::CREDENTIAL_EPOCH_ANNOTATION.replace('/', "~1")
    );
    let epoch = text(&told, &pointer);
    ensure!(epoch == generation, "KEDA is told of {epoch} and not of {generation}");
    Ok(())
}

/// The Secret's generation as its annotation says it.
pub(crate) fn generation(secret: &Secret) -> Option<&str> {
    let annotations = secret.metadata.annotations.as_ref()?;
    annotations.get(names::GENERATION_ANNOTATION).map(String::as_str)
}

async fn shake_hands(server: &Material, client: &Material) -> Result<()> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(Arc::new(server.server()?));
    let connector = TlsConnector::from(Arc::new(client.client()?));
    let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(SERVICE.try_into()?, far));
    accepted.context("the scaler's side")?;
    connected.context("KEDA's side")?;
    Ok(())
}
