//! Who comes to the port without being entitled to: no certificate, somebody else's, one that has ended or names another, an
//! old protocol, no TLS at all, and handshakes that are begun and never go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names::{CA_CRT, CA_SECRET, CLIENT_SECRET, SERVER_SECRET};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_externalscaler::ScaledObjectRef;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::super::damage::{leaf, named_leaf, ours, stranger};
use super::super::load::{call, channel};
use super::super::material::{Material, SERVICE, certificates, secrets, value};

/// Where strangers come from.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 244, 9, 9);
/// What the scaler must have counted once each has come.
pub(crate) const OUTCOMES: [&str; 8] = [
    "certificate_missing",
    "certificate_unknown_issuer",
    "certificate_expired",
    "certificate_refused",
    "not_allowed",
    "not_http2",
    "not_tls",
    "tls_incompatible",
];

/// All of them.
#[derive(Clone)]
pub(crate) struct Strangers {
    replica: SocketAddr,
    entitled: Arc<ClientConfig>,
    /// Who fails, by what is wrong with them.
    refused: Vec<(&'static str, Arc<ClientConfig>)>,
    /// Entitled, and with one version of TLS.
    versions: Vec<Arc<ClientConfig>>,
}

impl Strangers {
    /// Issues their certificates, some of them under the authority that is in force.
    pub(crate) async fn prepare(bed: &Bed, replica: SocketAddr) -> Result<Self> {
        let (authority, client) = (secrets(bed).get(CA_SECRET).await?, secrets(bed).get(CLIENT_SECRET).await?);
        let (ours, theirs) = (ours(&authority)?, stranger()?);
        let other = SanType::URI("spiffe://cluster.local/ns/tenant/sa/curious".try_into()?);
        let material = Material::of(&client)?;
        let entitled = (material.chain.clone(), material.key.clone_key());
        let all: &[&'static SupportedProtocolVersion] = &[&TLS12, &TLS13];
        let with = |(certificate, key): (String, String)| -> Result<_> {
            Ok(Some((
                certificates(certificate.as_bytes())?,
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )))
        };
        let mut without_alpn = config(&client, Some((entitled.0.clone(), entitled.1.clone_key())), all)?;
        let mut old_http = without_alpn.clone();
        without_alpn.alpn_protocols = Vec::new();
        old_http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let refused = vec![
            ("no certificate", config(&client, None, all)?),
            (
                "another authority's",
                config(&client, with(leaf(&theirs, CLIENT_SECRET, 2049)?)?, all)?,
            ),
            ("ended", config(&client, with(leaf(&ours, CLIENT_SECRET, 2021)?)?, all)?),
            ("a server's", config(&client, with(leaf(&ours, SERVER_SECRET, 2049)?)?, all)?),
            (
                "another name",
                config(&client, with(named_leaf(&ours, usage, other, 2049)?)?, all)?,
            ),
            ("no HTTP/2", old_http),
            ("no protocol", without_alpn),
        ];
        let version = |one| {
            Ok(Arc::new(config(
                &client,
                Some((entitled.0.clone(), entitled.1.clone_key())),
                &[one],
            )?))
        };
        let versions: Result<Vec<_>> = [&TLS12, &TLS13].into_iter().map(version).collect();
        Ok(Self {
            replica,
            entitled: Arc::new(material.client()?),
            refused: refused.into_iter().map(|(what, config)| (what, Arc::new(config))).collect(),
            versions: versions?,
        })
    }

    /// None of them gets an answer; who is entitled does, with either version of TLS, and gets HTTP/2.
    pub(crate) async fn each_is_refused(&self, request: ScaledObjectRef) -> Result<()> {
        for (what, config) in &self.refused {
            let channel = channel(Arc::clone(config), STRANGER, self.replica);
            let answered = call(channel, request.clone()).await;
            ensure!(answered.is_err(), "{what}: answered");
            if what.starts_with("no ") {
                ensure!(self.says(config).await? == 0, "{what}: gets something");
            }
        }
        for bytes in [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
            b"GET / HTTP/1.1\r\n\r\n",
            &old_hello(),
        ] {
            let mut stream = self.dial().await?;
            stream.write_all(bytes).await?;
            let mut said = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await;
            ensure!(ended.is_ok(), "the connection stays open");
            // At most an alert of TLS.
            ensure!(said.is_empty() || said.first() == Some(&21), "{said:?}");
        }
        for config in &self.versions {
            let answered = call(channel(Arc::clone(config), STRANGER, self.replica), request.clone()).await;
            ensure!(answered.is_ok(), "refused with {config:?}: {answered:?}");
        }
        let connector = TlsConnector::from(Arc::clone(&self.entitled));
        let stream = connector.connect(SERVICE.try_into()?, self.dial().await?).await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "no ALPN");
        Ok(())
    }

    /// How many bytes of an answer there are after the handshake, if that succeeds.
    async fn says(&self, config: &Arc<ClientConfig>) -> Result<usize> {
        let connector = TlsConnector::from(Arc::clone(config));
        let Ok(mut stream) = connector.connect(SERVICE.try_into()?, self.dial().await?).await else {
            return Ok(0);
        };
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut [0; 1])).await?;
        Ok(read.unwrap_or(0))
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((STRANGER, 0)))?;
        socket.connect(self.replica).await
    }

    /// Begins so many handshakes and holds on to all of them until `window` has passed; how many there were.
    pub(crate) fn half_open(&self, count: usize, window: Duration) -> Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (begun, mut held) = (Instant::now(), Vec::with_capacity(count));
            // Evenly over most of the time.
            let share = window.mul_f64(0.8);
            while held.len() < count {
                let due = (begun.elapsed().as_secs_f64() / share.as_secs_f64()).min(1.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of a small count"
                )]
                let due = (due * count as f64) as usize;
                while held.len() < due {
                    let mut stream = self.dial().await?;
                    // Every other one says how it would begin.
                    if held.len().is_multiple_of(2) {
                        stream.write_all(&[22, 3, 1, 2, 0, 1]).await?;
                    }
                    held.push(stream);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(window.saturating_sub(begun.elapsed())).await;
            Ok(held.len())
        })
    }
}

fn config(
    client: &Secret,
    pair: Option<(Vec<rustls_pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in certificates(value(client, CA_CRT)?)? {
        store.add(root)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(store);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The ClientHello of a client that knows nothing above TLS 1.1.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}
