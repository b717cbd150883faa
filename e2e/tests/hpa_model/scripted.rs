//! An external scaler that answers what a trigger's own metadata says: `value` and `target`, under the metric `scripted`.
//! It knows no cluster, speaks plaintext and is found under one address by KEDA and nobody else.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Result;
use futures::Stream;
use keda_kaito_externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use keda_kaito_externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// The metric's name, to which KEDA adds the trigger's index.
pub(crate) const METRIC: &str = "scripted";

/// Serves until it is dropped.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn serve() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(async move {
            let service = ExternalScalerServer::new(Answers);
            let served = tonic::transport::Server::builder().add_service(service);
            if let Err(error) = served.serve_with_incoming(TcpListenerStream::new(listener)).await {
                tracing::error!(%error, "the scripted scaler has ended");
            }
        });
        Ok(Self {
            address,
            _server: server,
        })
    }
}

struct Answers;

impl Answers {
    fn number(scaled_object: Option<&ScaledObjectRef>, key: &str) -> Result<f64, Status> {
        let text = scaled_object.and_then(|object| object.scaler_metadata.get(key));
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Status::invalid_argument(format!("{key} {text:?} is no number")))
    }
}

#[tonic::async_trait]
impl ExternalScaler for Answers {
    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    async fn stream_is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Err(Status::unimplemented("not a push scaler"))
    }

    async fn get_metric_spec(&self, request: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let target = Self::number(Some(request.get_ref()), "target")?;
        let spec = MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size_float: target,
            ..MetricSpec::default()
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let value = Self::number(request.get_ref().scaled_object_ref.as_ref(), "value")?;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value_float: value,
            ..MetricValue::default()
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }
}
