//! Who is turned away, and what it is counted as.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The ClientHello of a client that knows nothing above TLS 1.1.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn only_callers_with_a_trusted_and_allowed_certificate_are_served() {
    let (ours, other) = (Authority::ours("a"), Authority::ours("b"));
    let running = Running::start(&secret(1, &ours.server(), &[&ours]), quick()).await;
    let operator = ours.client(OPERATOR);
    let channel = running.channel(Some(&operator), &[&ours]);
    assert_eq!(issuer_seen(&channel).await.unwrap(), "keda-kaito-scaler-ca-a");
    for (client, roots) in [
        (None, &ours),
        (Some(&other.client(OPERATOR)), &ours),
        (Some(&ours.client("spiffe://cluster.local/ns/tenant/sa/x")), &ours),
        (Some(&ours.nameless_client()), &ours),
        (Some(&operator), &other),
    ] {
        let refused = issuer_seen(&running.channel(client, &[roots])).await;
        assert!(refused.is_err());
    }
    running.until_count(1).await;
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_reason() {
    let (ours, other) = (Authority::ours("a"), Authority::ours("b"));
    let running = Running::start(&secret(1, &ours.server(), &[&ours]), quick()).await;
    let operator = ours.client(OPERATOR);
    let old = ours.issue(
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        rcgen::SanType::URI(OPERATOR.try_into().unwrap()),
        -1,
    );
    for (client, outcome) in [
        (None, "certificate_missing"),
        (Some(&other.client(OPERATOR)), "certificate_unknown_issuer"),
        (Some(&old), "certificate_expired"),
        (Some(&ours.server()), "certificate_refused"),
        (Some(&ours.client("spiffe://cluster.local/ns/tenant/sa/x")), "not_allowed"),
    ] {
        assert!(issuer_seen(&running.channel(client, &[&ours])).await.is_err(), "{outcome}");
        running.until_counted(outcome).await;
    }
    assert!(issuer_seen(&running.channel(Some(&operator), &[&other])).await.is_err());
    running.until_counted("refused_by_peer").await;
    for (bytes, outcome) in [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "not_tls"),
        (old_hello(), "tls_incompatible"),
        (vec![22, 3, 1], "handshake_timeout"),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        running.until_counted(outcome).await;
    }
    assert_eq!(running.connections.count(), 0);
}

#[tokio::test]
async fn callers_that_do_not_ask_for_http2_are_refused() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), quick()).await;
    for protocols in [Vec::new(), vec![b"http/1.1".to_vec()]] {
        let mut config = client_config(Some(&authority.client(OPERATOR)), &[&authority]);
        config.alpn_protocols = protocols;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(running.address).await.unwrap();
        let ended = match connector.connect("localhost".try_into().unwrap(), stream).await {
            Ok(mut stream) => stream.read(&mut [0; 1]).await.map_or(0, |read| read),
            Err(_refused) => 0,
        };
        assert_eq!(ended, 0, "it is answered");
    }
    let line = "test_connections_total{outcome=\"not_http2\"} 2";
    eventually(line, || running.exported.encode().unwrap().contains(line)).await;
}

#[tokio::test]
async fn half_open_handshakes_give_way_and_others_get_in_at_once() {
    let authority = Authority::ours("a");
    let patient = Patience {
        handshake: Duration::from_secs(600),
        ..quick()
    };
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), patient).await;
    let mut silent = Vec::new();
    for _ in 0..2 * handshakes::MAX_HANDSHAKES {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let channel = running.channel(Some(&authority.client(OPERATOR)), &[&authority]);
    let seen = tokio::time::timeout(Duration::from_secs(5), issuer_seen(&channel)).await;
    assert_eq!(seen.unwrap().unwrap(), "keda-kaito-scaler-ca-a");
    running.until_counted("crowded_out").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), Patience::default()).await;
    let client = authority.client(OPERATOR);
    let caller = CallerRules {
        uris: vec![OPERATOR.to_owned()],
    }
    .admit(&[CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap()])
    .unwrap();
    let mut entries: Vec<_> = (0..connections::MAX_CONNECTIONS)
        .map(|_| running.connections.enter(caller.clone(), Vec::new()).unwrap())
        .collect();
    let channel = running.channel(Some(&client), &[&authority]);
    assert!(issuer_seen(&channel).await.is_err());
    entries.pop();
    assert!(issuer_seen(&channel).await.is_ok());
    assert_eq!(running.connections.oldest_client(), Some(caller.not_before));
}
