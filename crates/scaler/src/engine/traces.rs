//! One trace per round of an InferenceSet: its scrapes and its decisions. Nothing here is built for rounds that are not kept.

use std::collections::HashMap;

use keda_kaito_core::trigger::Protocol;
use keda_kaito_runtime::telemetry::{SPANS, child, root, traced};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::registry::SetKey;
use crate::registry::target::{Job, Sample};
use crate::scrape::ScrapeError;

/// The rounds under way, the ones that are not kept among them. Empty when nothing is traced.
#[derive(Debug, Default)]
pub(super) struct Traces(HashMap<SetKey, Span>);

impl Traces {
    /// The span of the round that is under way, begun if need be.
    pub(super) fn of(&mut self, key: &SetKey) -> Span {
        if !traced() {
            return Span::none();
        }
        self.0.entry(key.clone()).or_insert_with(|| round(key)).clone()
    }

    /// As [`Self::of`]; what comes next belongs to another round.
    pub(super) fn end(&mut self, key: &SetKey) -> Span {
        if !traced() {
            return Span::none();
        }
        self.0.remove(key).unwrap_or_else(|| round(key))
    }

    pub(super) fn forget(&mut self, key: &SetKey) {
        self.0.remove(key);
    }
}

fn round(key: &SetKey) -> Span {
    root(|| {
        info_span!(
            target: SPANS, parent: None, "round",
            k8s.namespace.name = &*key.namespace,
            kaito.inference_set.name = &*key.name,
        )
    })
}

/// The span of one scrape.
pub(super) fn scrape(round: &Span, key: &SetKey, job: &Job) -> Span {
    child(round, |round| {
        let endpoint = &job.page.endpoint;
        info_span!(
            target: SPANS, parent: round, "scrape",
            otel.kind = "client",
            otel.status_code = Empty,
            k8s.namespace.name = &*key.namespace,
            k8s.pod.name = job.pod_name,
            kaito.inference_set.name = &*key.name,
            server.address = %job.address.ip(),
            server.port = job.address.port(),
            http.request.method = "GET",
            url.scheme = match endpoint.protocol {
                Protocol::Http => "http",
                Protocol::Https => "https",
            },
            url.path = endpoint.path,
            http.response.status_code = Empty,
            "error.type" = Empty,
        )
    })
}

/// Says in the current span how a scrape ended.
pub(super) fn scraped(result: &Result<Sample, ScrapeError>) {
    let span = Span::current();
    if span.is_none() {
        return;
    }
    let status = match result {
        Ok(_) => Some(200),
        Err(error) => {
            span.record("error.type", error.category());
            span.record("otel.status_code", "ERROR");
            error.http_status()
        }
    };
    span.record("http.response.status_code", status);
}
