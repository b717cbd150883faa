//! What tonic, TLS, the client and the machine cost by themselves: a server on two threads of its own that knows nothing and
//! answers every `GetMetrics` with the same number.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use keda_kaito_externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use keda_kaito_externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricValue, ScaledObjectRef,
};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// As many as the scaler has on a machine of two cores.
const THREADS: usize = 2;

/// Serves for as long as the process lives.
///
/// # Errors
/// When the address cannot be had.
pub(crate) fn serve(address: SocketAddr, config: ServerConfig) -> Result<()> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    std::thread::spawn(move || runtime.block_on(accept(listener, acceptor)));
    Ok(())
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let routes = Routes::new(ExternalScalerServer::new(Constant)).prepare();
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, routes) = (acceptor.clone(), routes.clone());
        // A client that goes away is no matter of the server's.
        tokio::spawn(async move { answer(stream, acceptor, routes).await.ok() });
    }
}

async fn answer(stream: TcpStream, acceptor: TlsAcceptor, routes: Routes) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(acceptor.accept(stream).await?);
    let service = TowerToHyperService::new(routes);
    Ok(http2::Builder::new(TokioExecutor::new())
        .serve_connection(stream, service)
        .await?)
}

struct Constant;

type Answer<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl ExternalScaler for Constant {
    type StreamIsActiveStream = futures::stream::Empty<std::result::Result<IsActiveResponse, Status>>;

    async fn is_active(&self, _request: Request<ScaledObjectRef>) -> Answer<IsActiveResponse> {
        Err(Status::unimplemented("this answers GetMetrics only"))
    }

    async fn stream_is_active(&self, _request: Request<ScaledObjectRef>) -> Answer<Self::StreamIsActiveStream> {
        Err(Status::unimplemented("this answers GetMetrics only"))
    }

    async fn get_metric_spec(&self, _request: Request<ScaledObjectRef>) -> Answer<GetMetricSpecResponse> {
        Err(Status::unimplemented("this answers GetMetrics only"))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Answer<GetMetricsResponse> {
        let value = MetricValue {
            metric_name: request.into_inner().metric_name,
            metric_value_float: 1.0,
            ..MetricValue::default()
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }
}
