//! In-process servers over real mutual TLS.

mod refusals;
mod under_load;

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::Stream;
use hyper_util::rt::TokioIo;
use keda_kaito_externalscaler::external_scaler_client::ExternalScalerClient;
use keda_kaito_externalscaler::*;
use keda_kaito_runtime::metrics::SharedRegistry;
use keda_kaito_runtime::readiness::{Gate, Readiness};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::cluster_time::ClusterTime;
use crate::fake_cluster::eventually;
use crate::tls::load;
use crate::tls::tests::{Authority, OPERATOR, Pair, secret};

/// Says who calls; sleeps when the ScaledObject's name is a number of milliseconds.
struct Echo;

#[tonic::async_trait]
impl ExternalScaler for Echo {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        if let Ok(millis) = request.get_ref().name.parse() {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn stream_is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let closing = request.extensions().get::<Peer>().unwrap().closing.clone();
        let stream = futures::stream::once(async move {
            closing.cancelled().await;
            Ok(IsActiveResponse { result: true })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_metric_spec(&self, request: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap();
        let spec = MetricSpec {
            metric_name: peer.caller.issuer.clone(),
            ..MetricSpec::default()
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(&self, _request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        Err(Status::unavailable("nothing safe to say"))
    }
}

struct Running {
    address: SocketAddr,
    publish: watch::Sender<Option<Arc<Credentials>>>,
    connections: Connections,
    exported: SharedRegistry,
    ready: Gate,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(secret: &k8s_openapi::api::core::v1::Secret, patience: Patience) -> Self {
        Self::start_with(secret, patience, Echo).await
    }

    async fn start_with(secret: &k8s_openapi::api::core::v1::Secret, patience: Patience, service: impl ExternalScaler) -> Self {
        let (publish, credentials) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let connections = Connections::default();
        let exported = SharedRegistry::with_prefix("test");
        let server = Arc::new(Server {
            credentials,
            rules: CallerRules {
                uris: vec![OPERATOR.to_owned()],
            },
            connections: connections.clone(),
            patience,
            metrics: Metrics::register(&exported),
            shutdown: shutdown.clone(),
        });
        let (routes, reporter) = routes(service).unwrap();
        let readiness = Readiness::default();
        let ready = readiness.gate("test", "not yet");
        tokio::spawn(health::follow(reporter, readiness, shutdown.clone()));
        let (open, opened) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.serve("127.0.0.1:0".parse().unwrap(), routes, |address| open.send(address).unwrap()));
        publish.send_replace(Some(Arc::new(load(secret, &ClusterTime::default()).unwrap())));
        Self {
            address: opened.await.unwrap(),
            publish,
            connections,
            exported,
            ready,
            shutdown,
            task,
        }
    }

    fn swap(&self, secret: &k8s_openapi::api::core::v1::Secret) {
        self.publish
            .send_replace(Some(Arc::new(load(secret, &ClusterTime::default()).unwrap())));
    }

    /// A channel as KEDA's: it dials when it is used, and again when its connection has ended.
    fn channel(&self, client: Option<&Pair>, roots: &[&Authority]) -> Channel {
        channel_to(vec![self.address], client_config(client, roots))
    }

    async fn until_counted(&self, outcome: &str) {
        let line = format!("test_connections_total{{outcome=\"{outcome}\"}} ");
        eventually(&line, || self.exported.encode().unwrap().contains(&line)).await;
    }

    async fn until_count(&self, count: usize) {
        let reached = async {
            while self.connections.count() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), reached).await.unwrap();
    }
}

/// A channel to the first of `addresses` that takes connections, as behind a Service.
fn channel_to(addresses: Vec<SocketAddr>, config: rustls::ClientConfig) -> Channel {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Endpoint::from_static("https://localhost").connect_with_connector_lazy(tower::service_fn(move |_| {
        let (connector, addresses) = (connector.clone(), addresses.clone());
        async move {
            let stream = TcpStream::connect(&*addresses).await?;
            let stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    }))
}

fn client_config(client: Option<&Pair>, roots: &[&Authority]) -> rustls::ClientConfig {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store
            .add(CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap())
            .unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn named(name: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.to_owned(),
        ..ScaledObjectRef::default()
    }
}

async fn issuer_seen(channel: &Channel) -> Result<String, Status> {
    let mut client = ExternalScalerClient::new(channel.clone());
    let response = client.get_metric_spec(named("x")).await?.into_inner();
    Ok(response.metric_specs[0].metric_name.clone())
}

fn quick() -> Patience {
    Patience {
        handshake: Duration::from_millis(300),
        idle: Duration::from_secs(60),
        retire_within: Duration::ZERO,
        age: Duration::from_secs(600),
        drain: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn swapped_credentials_hold_for_new_connections_and_end_the_old_callers() {
    let (a, b) = (Authority::ours("a"), Authority::ours("b"));
    let running = Running::start(&secret(1, &a.server(), &[&a]), quick()).await;
    let old = running.channel(Some(&a.client(OPERATOR)), &[&a, &b]);
    let new = running.channel(Some(&b.client(OPERATOR)), &[&a, &b]);
    assert_eq!(issuer_seen(&old).await.unwrap(), "keda-kaito-scaler-ca-a");
    assert!(issuer_seen(&new).await.is_err());

    running.swap(&secret(2, &b.server(), &[&a, &b]));
    let new = running.channel(Some(&b.client(OPERATOR)), &[&b]);
    assert_eq!(issuer_seen(&new).await.unwrap(), "keda-kaito-scaler-ca-b");
    assert_eq!(issuer_seen(&old).await.unwrap(), "keda-kaito-scaler-ca-a");
    assert_eq!(
        running.connections.count(),
        2,
        "an open connection is still trusted and stays"
    );

    running.swap(&secret(3, &b.server(), &[&b]));
    running.until_count(1).await;
    assert!(
        issuer_seen(&old).await.is_err(),
        "the old caller's next connection is refused"
    );
    assert_eq!(issuer_seen(&new).await.unwrap(), "keda-kaito-scaler-ca-b");
}

#[tokio::test]
async fn connections_end_at_their_age_and_their_callers_come_back() {
    let authority = Authority::ours("a");
    let patience = Patience {
        age: Duration::from_millis(300),
        ..quick()
    };
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), patience).await;
    let channel = running.channel(Some(&authority.client(OPERATOR)), &[&authority]);
    for _ in 0..3 {
        issuer_seen(&channel).await.unwrap();
        running.until_count(1).await;
        running.until_count(0).await;
    }
}

#[tokio::test]
async fn retired_connections_are_counted_until_they_have_ended() {
    let (a, b) = (Authority::ours("a"), Authority::ours("b"));
    let patience = Patience {
        retire_within: Duration::from_secs(600),
        ..quick()
    };
    let running = Running::start(&secret(1, &a.server(), &[&a, &b]), patience).await;
    let old = running.channel(Some(&a.client(OPERATOR)), &[&a]);
    let new = running.channel(Some(&b.client(OPERATOR)), &[&a]);
    issuer_seen(&old).await.unwrap();
    issuer_seen(&new).await.unwrap();
    let untrusted = |generation, bundle: &[&Authority]| {
        let credentials = load(&secret(generation, &a.server(), bundle), &ClusterTime::default()).unwrap();
        running.connections.count_untrusted(&credentials, jiff::Timestamp::now())
    };
    assert_eq!(untrusted(2, &[&a, &b]), 0);
    assert_eq!(untrusted(3, &[&b]), 1);
    drop(old);
    running.until_count(1).await;
    assert_eq!(untrusted(4, &[&b]), 0);
}

#[tokio::test]
async fn port_stays_closed_until_there_are_credentials() {
    let (publish, credentials) = watch::channel(None);
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let server = Arc::new(Server {
        credentials,
        rules: CallerRules { uris: Vec::new() },
        connections: Connections::default(),
        patience: quick(),
        metrics: Metrics::unregistered(),
        shutdown: CancellationToken::new(),
    });
    let (open, mut opened) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(server.serve(address, routes(Echo).unwrap().0, |address| open.send(address).unwrap()));
    assert!(TcpStream::connect(address).await.is_err());
    assert!(opened.try_recv().is_err());

    let authority = Authority::ours("a");
    let credentials = load(&secret(1, &authority.server(), &[&authority]), &ClusterTime::default()).unwrap();
    publish.send_replace(Some(Arc::new(credentials)));
    assert_eq!(opened.await.unwrap(), address);
    assert!(TcpStream::connect(address).await.is_ok());
    task.abort();
}

#[tokio::test]
async fn slow_call_is_ended_and_a_large_message_refused() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), quick()).await;
    let mut client = ExternalScalerClient::new(running.channel(Some(&authority.client(OPERATOR)), &[&authority]));
    assert!(client.is_active(named("10")).await.unwrap().into_inner().result);
    let start = std::time::Instant::now();
    let status = client.is_active(named("60000")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DeadlineExceeded, "no answer within 500 ms")
    );
    assert!(start.elapsed() < Duration::from_secs(5));

    let large = |bytes: usize| ScaledObjectRef {
        scaler_metadata: BTreeMap::from([("key".to_owned(), "x".repeat(bytes))]),
        ..named("x")
    };
    assert!(client.is_active(large(60 * 1024)).await.is_ok());
    assert_eq!(client.is_active(large(70 * 1024)).await.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn stopping_ends_streams_and_lets_calls_finish() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), quick()).await;
    let mut client = ExternalScalerClient::new(running.channel(Some(&authority.client(OPERATOR)), &[&authority]));
    let mut stream = client.stream_is_active(named("x")).await.unwrap().into_inner();
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.is_active(named("300")).await });
    assert!(client.is_active(named("1")).await.is_ok(), "the call before is under way");

    running.shutdown.cancel();
    assert!(call.await.unwrap().unwrap().into_inner().result);
    assert!(stream.message().await.unwrap().is_some());
    assert!(stream.message().await.unwrap().is_none());
    running.task.await.unwrap().unwrap();
    assert_eq!(running.connections.count(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn health_and_reflection_answer_too() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), quick()).await;
    let channel = running.channel(Some(&authority.client(OPERATOR)), &[&authority]);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let mut watcher = health.clone();
    let mut check = async |service: &str| {
        let service = service.to_owned();
        let answer = health.check(tonic_health::pb::HealthCheckRequest { service }).await;
        answer
            .map(|answer| answer.into_inner().status())
            .map_err(|status| status.code())
    };
    use tonic_health::pb::health_check_response::ServingStatus;
    for service in ["", "externalscaler.ExternalScaler"] {
        assert_eq!(check(service).await, Ok(ServingStatus::NotServing), "{service}");
    }
    running.ready.open();
    let serves = async {
        while check("").await != Ok(ServingStatus::Serving) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), serves).await.unwrap();
    assert_eq!(check("externalscaler.ExternalScaler").await, Ok(ServingStatus::Serving));
    let request = tonic_health::pb::HealthCheckRequest::default();
    let mut seen = watcher.watch(request).await.unwrap().into_inner();
    let status = seen.message().await.unwrap().map(|answer| answer.status());
    assert_eq!(status, Some(ServingStatus::Serving));
    let more = tokio::time::timeout(Duration::from_millis(1500), seen.message()).await;
    assert!(more.is_err(), "told again though nothing has changed: {more:?}");
    assert_eq!(check("somebody.Else").await, Err(tonic::Code::NotFound));
    assert_eq!(check(&"x".repeat(70_000)).await, Err(tonic::Code::OutOfRange));

    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    assert!(answer.contains("externalscaler.ExternalScaler"), "{answer}");
}
