//! One mutual TLS handshake in memory: the scaler's side from a server Secret, KEDA's from a client Secret.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keda_kaito_core::names;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::UnixTime;

use crate::pem;
use crate::stored::Stored;

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn roots(secret: &Stored) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for der in pem::certificates(secret.value(names::CA_CRT).unwrap()).unwrap() {
        store.add(der).unwrap();
    }
    Arc::new(store)
}

/// Whether both sides are content, and if not, which side says what.
#[expect(clippy::unwrap_in_result, reason = "only the handshake's own failure is an answer")]
pub(super) fn handshake(server: &Stored, client: &Stored, name: &str, now: Timestamp) -> Result<(), String> {
    let provider = Arc::new(ring::default_provider());
    let chain = |secret: &Stored| pem::certificates(secret.value(names::TLS_CRT).unwrap()).unwrap();
    let key = |secret: &Stored| pem::private_key(secret.value(names::TLS_KEY).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server), Arc::clone(&provider))
        .build()
        .unwrap();
    let server_config = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(At(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(server), key(server))
        .unwrap();
    let client_config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(client))
        .with_client_auth_cert(chain(client), key(client))
        .unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name.to_owned().try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server_config)).unwrap();
    client.writer().write_all(b"call").unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    let mut call = [0; 4];
    server.reader().read_exact(&mut call).map_err(|error| error.to_string())?;
    if &call == b"call" { Ok(()) } else { Err("garbled".to_owned()) }
}
