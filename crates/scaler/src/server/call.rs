//! Around each call: the caller's identity goes in, a deadline bounds it, and what became of it is counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;
use tonic::service::Routes;
use tower::Service;
use tracing::Instrument;

use super::Peer;
use super::activity::Activity;
use crate::metrics::Metrics;

/// No unary call takes longer, reading its message included.
pub(super) const DEADLINE: Duration = Duration::from_millis(500);
const PREFIX: &str = "/externalscaler.ExternalScaler/";

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
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.routes.clone().call(request);
        let metrics = self.metrics.clone();
        let under_way = self.activity.begin();
        let call = async move {
            let start = Instant::now();
            let response = match method {
                Method::Unary(_) => match tokio::time::timeout(DEADLINE, answer).await {
                    Ok(response) => response?,
                    Err(_elapsed) => Status::deadline_exceeded("no answer within 500 ms").into_http(),
                },
                Method::Stream(_) | Method::Other => answer.await?,
            };
            if let Method::Unary(name) | Method::Stream(name) = method {
                let code = code(&response);
                tracing::Span::current().record("code", tracing::field::debug(code));
                metrics.call(name, code, start.elapsed());
            }
            if let Method::Stream(_) = method {
                under_way.goes_on();
            }
            drop(under_way);
            Ok(response)
        };
        Box::pin(call.instrument(method.span()))
    }
}

/// Names come from a closed list: they are labels.
#[derive(Clone, Copy)]
enum Method {
    Unary(&'static str),
    Stream(&'static str),
    Other,
}

impl Method {
    fn span(self) -> tracing::Span {
        match self {
            Self::Unary(method) | Self::Stream(method) => tracing::info_span!("grpc", method, code = tracing::field::Empty),
            Self::Other => tracing::Span::none(),
        }
    }

    fn of(path: &str) -> Self {
        match path.strip_prefix(PREFIX) {
            Some("GetMetrics") => Self::Unary("GetMetrics"),
            Some("GetMetricSpec") => Self::Unary("GetMetricSpec"),
            Some("IsActive") => Self::Unary("IsActive"),
            Some("StreamIsActive") => Self::Stream("StreamIsActive"),
            _ => Self::Other,
        }
    }
}

/// A call that fails says so in its headers; one that succeeds only in its trailers.
fn code(response: &Response<tonic::body::Body>) -> tonic::Code {
    Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code())
}
