//! Around each call: the caller's identity goes in, a deadline bounds it, and what became of it is counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use keda_kaito_runtime::telemetry::{Parent, SPANS, current_ids, root_below};
use tokio::time::Instant;
use tonic::Status;
use tonic::service::Routes;
use tower::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::Peer;
use super::activity::Activity;
use crate::metrics::{Metrics, code_name};

/// No unary call takes longer, reading its message included.
pub(super) const DEADLINE: Duration = Duration::from_millis(500);
/// Streams of the services beside ours.
const STREAMS: [&str; 2] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];
const PREFIX: &str = "/externalscaler.ExternalScaler/";
/// [`PREFIX`] without its slashes.
pub(super) const SERVICE: &str = "externalscaler.ExternalScaler";

/// The calls of one connection.
#[derive(Clone)]
pub(super) struct Calls {
    routes: Routes,
    peer: Peer,
    metrics: Metrics,
    activity: Activity,
}

impl Calls {
    pub(super) fn new(routes: Routes, peer: Peer, metrics: Metrics, activity: Activity) -> Self {
        Self {
            routes,
            peer,
            metrics,
            activity,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let span = method.span(&request, &self.peer);
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.routes.clone().call(request);
        let metrics = self.metrics.clone();
        let under_way = self.activity.begin();
        let call = async move {
            let start = Instant::now();
            let response = match method {
                Method::Unary(_) | Method::Other => match tokio::time::timeout(DEADLINE, answer).await {
                    Ok(response) => response?,
                    Err(_elapsed) => Status::deadline_exceeded("no answer within 500 ms").into_http(),
                },
                Method::Stream(_) | Method::OtherStream => answer.await?,
            };
            if let Method::Unary(name) | Method::Stream(name) = method {
                let code = code(&response);
                ended(&Span::current(), code);
                metrics.call(name, code, start.elapsed(), current_ids());
            }
            if let Method::Stream(_) = method {
                under_way.goes_on();
            }
            drop(under_way);
            Ok(response)
        };
        Box::pin(call.instrument(span))
    }
}

/// Names come from a closed list: they are labels.
#[derive(Clone, Copy)]
enum Method {
    Unary(&'static str),
    Stream(&'static str),
    /// Of the services beside ours, or of none.
    Other,
    OtherStream,
}

impl Method {
    /// Below the caller's, should it ever say which that is.
    fn span(self, request: &Request<Incoming>, peer: &Peer) -> Span {
        let (Self::Unary(method) | Self::Stream(method)) = self else {
            return Span::none();
        };
        let caller = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        root_below(caller.and_then(Parent::from_traceparent), || {
            info_span!(
                target: SPANS, parent: None, "grpc",
                otel.kind = "server",
                otel.status_code = Empty,
                rpc.system = "grpc",
                rpc.service = SERVICE,
                rpc.method = method,
                rpc.grpc.status_code = Empty,
                "error.type" = Empty,
                client.address = peer.address.map(|address| display(address.ip())),
                client.port = peer.address.map(|address| address.port()),
                k8s.namespace.name = Empty,
                keda.scaled_object.name = Empty,
            )
        })
    }

    fn of(path: &str) -> Self {
        match path.strip_prefix(PREFIX) {
            Some("GetMetrics") => Self::Unary("GetMetrics"),
            Some("GetMetricSpec") => Self::Unary("GetMetricSpec"),
            Some("IsActive") => Self::Unary("IsActive"),
            Some("StreamIsActive") => Self::Stream("StreamIsActive"),
            _ if STREAMS.contains(&path) => Self::OtherStream,
            _ => Self::Other,
        }
    }
}

fn ended(span: &Span, code: tonic::Code) {
    if span.is_none() {
        return;
    }
    span.record("rpc.grpc.status_code", i64::from(i32::from(code)));
    if code != tonic::Code::Ok {
        span.record("error.type", code_name(code));
        span.record("otel.status_code", "ERROR");
    }
}

/// A call that fails says so in its headers; one that succeeds only in its trailers.
fn code(response: &Response<tonic::body::Body>) -> tonic::Code {
    Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code())
}
