//! What a client shows and believes, read from the client Secret, and connections made with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use kube::Api;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// The name KEDA dials and so verifies.
const HOST: &str = "keda-kaito-scaler-svc.keda.svc.cluster.local";
/// The preface and an empty SETTINGS frame.
const HTTP2_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DEADLINE: Duration = Duration::from_secs(10);

/// A client's three parameters, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) bundle: Vec<u8>,
}

impl Credentials {
    /// As someone else wrote them.
    pub(crate) fn new(certificate: &str, key: &str, bundle: &[u8]) -> Self {
        Self {
            certificate: certificate.as_bytes().to_vec(),
            key: key.as_bytes().to_vec(),
            bundle: bundle.to_vec(),
        }
    }

    /// Reads certificate, key and bundle with one request each, in KEDA's order. A pair torn by a write in between is
    /// read again, as KEDA does when it cannot use it.
    pub(crate) async fn read_one_by_one(bed: &Bed) -> Result<Self> {
        for _ in 0..5 {
            let read = async |key| value(&secret(bed, names::CLIENT_SECRET).await?, key);
            let credentials = Self {
                certificate: read(names::TLS_CRT).await?,
                key: read(names::TLS_KEY).await?,
                bundle: read(names::CA_CRT).await?,
            };
            if credentials.config().is_ok() {
                return Ok(credentials);
            }
        }
        bail!("the client Secret holds no pair")
    }

    fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.bundle)? {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, PrivateKeyDer::from_pem_slice(&self.key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

/// One of our Secrets.
pub(crate) async fn secret(bed: &Bed, name: &str) -> Result<Secret> {
    let api: Api<Secret> = Api::namespaced(bed.client.clone(), "keda");
    api.get(name).await.with_context(|| format!("Secret {name}"))
}

/// The value of a Secret's key.
pub(crate) fn value(secret: &Secret, key: &str) -> Result<Vec<u8>> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value
        .map(|value| value.0.clone())
        .with_context(|| format!("{key} is missing"))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
}

async fn shake_hands(credentials: &Credentials, address: &str) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(credentials.config()?));
    let connecting = async {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        connector.connect(HOST.try_into()?, stream).await.context("TLS")
    };
    tokio::time::timeout(DEADLINE, connecting)
        .await
        .context("no handshake in time")?
}

/// One connection; it is not opened again when it ends.
pub(crate) async fn dial(credentials: &Credentials, replica: &str) -> Result<Channel> {
    let stream = shake_hands(credentials, &format!("{replica}:10450")).await?;
    let mut once = Some(TokioIo::new(stream));
    let endpoint = Endpoint::try_from(format!("https://{HOST}"))?.timeout(DEADLINE);
    let connect = tower::service_fn(move |_| {
        let stream = once.take();
        async move { stream.ok_or_else(|| std::io::Error::other("the connection has ended")) }
    });
    Ok(endpoint.connect_with_connector(connect).await?)
}

/// Why these credentials are not served; an error if they are.
pub(crate) async fn refusal(credentials: &Credentials, replica: &str) -> Result<String> {
    let mut stream = match shake_hands(credentials, &format!("{replica}:10450")).await {
        Ok(stream) => stream,
        Err(error) => return Ok(format!("{error:#}")),
    };
    // In TLS 1.3 a client learns only with its first reading that its certificate was refused.
    let talk = async {
        stream.write_all(HTTP2_BEGIN).await?;
        stream.read_u8().await
    };
    match tokio::time::timeout(DEADLINE, talk)
        .await
        .context("neither served nor refused")?
    {
        Ok(_) => bail!("{replica} serves credentials it should refuse"),
        Err(error) => Ok(error.to_string()),
    }
}
