//! The way of a finished span to the collector: a bounded queue, batches, and a count of what got lost. Nobody who ends a
//! span ever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};

use super::config::TraceConfig;
use super::outcomes::Outcomes;
use super::sampling::Ids;
use crate::args::Identity;
use crate::error::ConfigError;
use crate::program::About;

/// What sends spans as `config` says. Needs a tokio runtime.
pub(super) fn provider(
    about: &About,
    identity: &Identity,
    config: &TraceConfig,
    outcomes: Outcomes,
) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = OtlpExporter::builder()
        .with_tonic()
        .with_endpoint(&config.endpoint)
        .with_timeout(config.timeout)
        .build()
        .map_err(|error| ConfigError::caused_by(format!("{} {:?} cannot be used", config.named, config.endpoint), error))?;
    let queue = Arc::new(Queue {
        room: config.queue,
        waiting: AtomicUsize::new(0),
        failing: AtomicBool::new(false),
        outcomes,
    });
    let exporter = Counted {
        exporter,
        queue: Arc::clone(&queue),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(config.queue)
        .with_max_export_batch_size(config.batch)
        .with_scheduled_delay(config.delay)
        .build();
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(SdkTracerProvider::builder()
        // What gets here was picked before it was built.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(Ids::default())
        .with_span_processor(Bounded { batches, queue })
        .with_resource(resource(about, identity, config.service.as_deref()))
        .build())
}

/// Ours first: what a user says by `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` wins.
fn resource(about: &About, identity: &Identity, service: Option<&str>) -> Resource {
    let pod = [
        ("k8s.pod.name", std::env::var("POD_NAME").ok()),
        ("k8s.namespace.name", std::env::var("POD_NAMESPACE").ok()),
        ("k8s.pod.uid", std::env::var("POD_UID").ok()),
    ];
    let pod = pod
        .into_iter()
        .filter_map(|(key, value)| Some(KeyValue::new(key, value.filter(|text| !text.is_empty())?)));
    let said = Resource::builder_empty()
        .with_service_name(about.name)
        .with_attributes([
            KeyValue::new("service.namespace", about.product),
            KeyValue::new("service.version", about.version),
            KeyValue::new("service.instance.id", identity.name.clone()),
        ])
        .with_attributes(pod)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match service {
        Some(service) => said.with_service_name(service.to_owned()).build(),
        None => said.build(),
    }
}

/// Spans between their end and the collector.
#[derive(Debug)]
struct Queue {
    room: usize,
    waiting: AtomicUsize,
    /// Whether the last batch was lost, so that a collector's absence is told once.
    failing: AtomicBool,
    outcomes: Outcomes,
}

impl Queue {
    fn enter(&self) -> bool {
        let entered = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < self.room).then_some(waiting + 1)
        });
        if entered.is_err() {
            self.outcomes.queue_full.inc();
        }
        entered.is_ok()
    }

    fn leave(&self, count: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
        let spans = u64::try_from(count).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                self.outcomes.sent.inc_by(spans);
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.outcomes.failed.inc_by(spans);
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "the collector does not take spans; they are dropped until it does");
                }
            }
        }
    }
}

/// Keeps the queue of the batches from ever being full: what it would drop, it would not count.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batches.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.enter() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Tells what became of each batch.
#[derive(Debug)]
struct Counted {
    exporter: OtlpExporter,
    queue: Arc<Queue>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.queue.leave(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
