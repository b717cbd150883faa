//! KEDA's calls: decode, ask the registry, encode. Every answer comes from memory; nothing here waits for anything but a
//! subscriber of `StreamIsActive`.

mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use keda_kaito_core::names;
use keda_kaito_core::policy::is_metric_name;
use keda_kaito_core::record::Answer;
use keda_kaito_core::trigger::{TriggerRequest, decode, keys};
use keda_kaito_externalscaler::external_scaler_server::ExternalScaler;
use keda_kaito_externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::callers::{Callers, Trigger};
use crate::decision_span;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::server::{Current, Peer};
use crate::status;

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// The external scaler. Clones share everything.
#[derive(Clone)]
pub struct Service {
    registry: Registry,
    callers: Callers,
    credentials: Current,
    /// What `metricPort` may say.
    ports: Arc<[u16]>,
    metrics: Metrics,
}

impl Service {
    /// Answers from `registry`; `ports` are those a trigger may name.
    #[must_use]
    pub fn new(registry: Registry, callers: Callers, credentials: Current, ports: &[u16], metrics: Metrics) -> Self {
        Self {
            registry,
            callers,
            credentials,
            ports: ports.into(),
            metrics,
        }
    }

    /// What a trigger asks. A pure function of the call: it never depends on the cluster.
    fn decode(&self, reference: &ScaledObjectRef) -> Result<TriggerRequest, Status> {
        if reference.name.len() > MAX_NAME || reference.namespace.len() > MAX_NAME {
            return Err(Status::invalid_argument("scaledObjectRef: the name is too long"));
        }
        let metadata = reference.scaler_metadata.iter();
        let metadata = metadata.map(|(key, value)| (key.as_str(), value.as_str()));
        let request = decode(metadata, &self.ports).map_err(|error| status::bad_metadata(&error))?;
        if request.inference_set_namespace != reference.namespace {
            return Err(status::foreign_namespace(
                &request.inference_set_namespace,
                &reference.namespace,
            ));
        }
        Ok(request)
    }

    /// Tells a caller that would miss a rotation to read its credentials again.
    fn nudge(&self, reference: &ScaledObjectRef, request: &TriggerRequest, peer: Option<&Peer>) -> Result<(), Status> {
        let Some(Peer { caller, .. }) = peer else { return Ok(()) };
        let retiring = self.credentials.borrow().as_ref().and_then(|current| current.retiring);
        let retires = retiring.is_some_and(|last| caller.not_before <= last);
        if retires && self.callers.nudge(&trigger(reference, request), caller) {
            self.metrics.nudged();
            // KEDA reads its credentials again when a call fails, and repeats the call within the same request.
            return Err(status::unavailable(
                "the client certificate is being replaced; call again with the new one",
            ));
        }
        Ok(())
    }

    /// Remembers who calls with which credentials.
    fn note(&self, reference: &ScaledObjectRef, request: &TriggerRequest, peer: Option<&Peer>) {
        if let Some(Peer { caller, .. }) = peer {
            let (epoch, now) = (request.credential_epoch, Instant::now());
            self.callers.note(trigger(reference, request), epoch, caller, now);
        }
    }

    fn active(&self, reference: &ScaledObjectRef, request: &TriggerRequest) -> Result<bool, Status> {
        let active = self.registry.is_active(&reference.namespace, &reference.name, request);
        active.map_err(|error| status::no_answer(&error))
    }
}

#[tonic::async_trait]
impl ExternalScaler for Service {
    type StreamIsActiveStream = ReceiverStream<Result<IsActiveResponse, Status>>;

    async fn is_active(&self, call: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let reference = call.get_ref();
        let request = self.decode(reference)?;
        self.note(reference, &request, call.extensions().get::<Peer>());
        let result = self.active(reference, &request)?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn stream_is_active(&self, call: Request<ScaledObjectRef>) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let request = self.decode(call.get_ref())?;
        let closing = call.extensions().get::<Peer>().map(|peer| peer.closing.clone());
        let closing = closing.unwrap_or_default();
        let reference = call.into_inner();
        let service = self.clone();
        let look = move || service.active(&reference, &request).ok();
        Ok(Response::new(stream::transitions(look, closing)))
    }

    async fn get_metric_spec(&self, call: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let (metric_name, target) = match self.decode(call.get_ref()) {
            Ok(request) => (request.aggregation.metric_name().to_owned(), request.aggregation.target()),
            Err(_told_by_get_metrics) => (stand_in(call.get_ref()), 1.0),
        };
        let spec = MetricSpec {
            metric_name,
            target_size: whole(target),
            target_size_float: target,
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(&self, call: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let reference = call.get_ref().scaled_object_ref.as_ref();
        let reference = reference.ok_or_else(|| Status::invalid_argument("scaledObjectRef: missing"))?;
        let request = self.decode(reference)?;
        let peer = call.extensions().get::<Peer>();
        self.nudge(reference, &request, peer)?;
        self.note(reference, &request, peer);
        let decision = self.registry.decide(&reference.namespace, &reference.name, &request);
        let decision = decision.map_err(|error| status::no_answer(&error))?;
        let span = Span::current();
        span.record("k8s.namespace.name", &reference.namespace);
        span.record("keda.scaled_object.name", &reference.name);
        decision_span::note(&span, &reference.namespace, &request.inference_set_name, &decision);
        let value = match decision.record.answer {
            Answer::Value(value) => value,
            Answer::Unavailable(reason) => return Err(status::unavailable(reason)),
        };
        let value = MetricValue {
            metric_name: request.aggregation.metric_name().to_owned(),
            metric_value: whole(value),
            metric_value_float: value,
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }
}

fn trigger(reference: &ScaledObjectRef, request: &TriggerRequest) -> Trigger {
    Trigger {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        metric: request.aggregation.metric_name().to_owned(),
    }
}

/// The name of a metric that cannot be had. KEDA drops a trigger without a name from the HPA without a word, so that the other
/// triggers alone decide; one whose `GetMetrics` fails holds the HPA, and the user reads why.
fn stand_in(reference: &ScaledObjectRef) -> String {
    let named = reference
        .scaler_metadata
        .get(keys::METRIC_NAME)
        .filter(|name| is_metric_name(name));
    let decided = reference.scaler_metadata.contains_key(keys::POLICY);
    match (named, decided) {
        (_, true) => names::DESIRED_REPLICAS_METRIC.to_owned(),
        (Some(name), false) => name.clone(),
        (None, false) => names::DEFAULT_METRIC.to_owned(),
    }
}

/// KEDA up to 2.16 reads only whole numbers.
fn whole(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "values and targets are at most 4e12")]
    {
        value.ceil() as i64
    }
}
