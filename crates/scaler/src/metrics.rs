//! What the scaler reports about itself. Label values come from closed lists; what is reported per InferenceSet is in
//! `metrics::fleet`.

pub mod fleet;

use std::cmp::Ordering;
use std::time::Duration;

use keda_kaito_core::record::Answer;
use keda_kaito_runtime::metrics::{Known, Registry, SharedRegistry};
use keda_kaito_runtime::telemetry::SpanIds;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::registry::decided::Decided;
use crate::tls::Credentials;

type By<const N: usize> = Family<[(&'static str, &'static str); N], Counter>;
/// Names of a span that was counted.
type Exemplar = [(&'static str, String); 2];
/// The name of a decision, and of its trace where that is kept.
type DecisionExemplar = Vec<(&'static str, String)>;
type DecisionsBy = Family<[(&'static str, &'static str); 1], CounterWithExemplar<DecisionExemplar>>;
type Timed = HistogramWithExemplars<Exemplar>;
type DurationBy = Family<[(&'static str, &'static str); 1], Timed, fn() -> Timed>;

/// Handles to the metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    scrapes: By<2>,
    scrape_duration: Histogram,
    rejected: Counter,
    decisions: DecisionsBy,
    calls: By<2>,
    call_duration: DurationBy,
    connections: By<1>,
    refusals: Counter,
    nudges: Counter,
    generation: Known,
    not_after: Known,
    root_not_after: Known,
    over_quota: Gauge,
    panics: By<1>,
    blind: Gauge,
    clock_skew: Known,
}

impl Metrics {
    /// Registers everything; one per process.
    #[must_use]
    pub fn register(registry: &SharedRegistry) -> Self {
        let metrics = Self::unregistered();
        registry.register(|registry| {
            metrics.register_scraping(registry);
            metrics.register_serving(registry);
        });
        metrics
    }

    /// Handles that nobody reads.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            scrapes: Family::default(),
            scrape_duration: Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0]),
            rejected: Counter::default(),
            decisions: Family::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(call_buckets),
            connections: Family::default(),
            refusals: Counter::default(),
            nudges: Counter::default(),
            generation: Known::default(),
            not_after: Known::default(),
            root_not_after: Known::default(),
            over_quota: Gauge::default(),
            panics: Family::default(),
            blind: Gauge::default(),
            clock_skew: Known::default(),
        }
    }

    /// Looking after one InferenceSet panicked.
    pub fn panicked(&self, work: &'static str) {
        self.panics.get_or_create(&[("work", work)]).inc();
    }

    fn register_scraping(&self, registry: &mut Registry) {
        let help = "Scrapes of replicas by the form of the page and what became of them";
        registry.register("scrapes", help, self.scrapes.clone());
        let help = "Time from dialling a replica to its answer, or to giving up";
        registry.register_with_unit("scrape_duration", help, Unit::Seconds, self.scrape_duration.clone());
        let help = "Lines of replicas' pages that could not be used, and series that came twice";
        registry.register("rejected_lines", help, self.rejected.clone());
        let help = "Decisions at the end of rounds by where they lead: up, down, hold, only a value, or none";
        registry.register("decisions", help, self.decisions.clone());
        let help = "Replicas that are not scraped because of a limit on targets";
        registry.register("targets_over_quota", help, self.over_quota.clone());
        let help = "1 while another replica of the scaler sees targets and this one sees none, else 0";
        registry.register("blind", help, self.blind.clone());
        let help = "Panics while one InferenceSet was looked after, which then has no value until it changes, by work";
        registry.register("panics", help, self.panics.clone());
    }

    fn register_serving(&self, registry: &mut Registry) {
        registry.register("calls", "Calls by KEDA by method and gRPC code", self.calls.clone());
        let help = "Time to answer a call";
        registry.register_with_unit("call_duration", help, Unit::Seconds, self.call_duration.clone());
        registry.register("connections", "Connections by what became of them", self.connections.clone());
        let help = "Times the Secret held something that cannot be served";
        registry.register("credentials_refused", help, self.refusals.clone());
        let help = "Calls answered Unavailable once, so that KEDA reads its new certificate before the old one is refused";
        registry.register("callers_nudged", help, self.nudges.clone());
        let help = "Generation of the Secret that is served; absent before the first";
        registry.register("credentials_generation", help, self.generation.clone());
        let help = "When the served certificate ends, as a Unix time; absent before the first";
        registry.register_with_unit("certificate_not_after", help, Unit::Seconds, self.not_after.clone());
        let help = "When the first of the trusted authorities ends, as a Unix time; absent before the first";
        registry.register_with_unit("authority_not_after", help, Unit::Seconds, self.root_not_after.clone());
        let help = "How far our clock is ahead of the API server's; absent while unknown";
        registry.register_with_unit("clock_skew", help, Unit::Seconds, self.clock_skew.clone());
    }

    /// Shows how far our clock is ahead of the API server's, in seconds.
    pub fn clock_skew(&self, seconds: f64) {
        self.clock_skew.set(Some(seconds));
    }

    /// Counts one scrape.
    pub fn scrape(&self, form: &'static str, outcome: &'static str, took: Duration) {
        self.scrapes.get_or_create(&[("form", form), ("outcome", outcome)]).inc();
        self.scrape_duration.observe(took.as_secs_f64());
    }

    /// Counts what a page held that could not be used.
    pub fn rejected(&self, lines: usize) {
        self.rejected.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
    }

    /// Counts one decision of a round, made while `replicas` were ordered; `span` is its span if it is traced.
    pub fn decided(&self, decided: &Decided, replicas: u32, span: Option<SpanIds>) {
        let outcome = match (&decided.record.answer, decided.record.desired) {
            (Answer::Unavailable(_), _) => "unavailable",
            (Answer::Value(_), None) => "value",
            (Answer::Value(_), Some(desired)) => match desired.cmp(&replicas) {
                Ordering::Greater => "up",
                Ordering::Less => "down",
                Ordering::Equal => "hold",
            },
        };
        let mut exemplar = vec![("decision_id", decided.id.to_string())];
        exemplar.extend(span.map(|span| ("trace_id", span.trace_hex())));
        self.decisions
            .get_or_create(&[("outcome", outcome)])
            .inc_by(1, Some(exemplar), None);
    }

    /// Counts one call; `span` is its span if it is traced.
    pub fn call(&self, method: &'static str, code: tonic::Code, took: Duration, span: Option<SpanIds>) {
        self.calls
            .get_or_create(&[("method", method), ("code", code_name(code))])
            .inc();
        let exemplar = span.map(|span| [("trace_id", span.trace_hex()), ("span_id", span.span_hex())]);
        self.call_duration
            .get_or_create(&[("method", method)])
            .observe(took.as_secs_f64(), exemplar, None);
    }

    /// Counts one connection, or the attempt at one.
    pub fn connection(&self, outcome: &'static str) {
        self.connections.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Shows what is served now.
    pub fn credentials(&self, credentials: &Credentials) {
        #[expect(clippy::cast_precision_loss, reason = "generations are Unix times or counts")]
        self.generation.set(Some(credentials.generation as f64));
        self.not_after.set(Some(credentials.not_after.as_duration().as_secs_f64()));
        self.root_not_after
            .set(Some(credentials.first_root_ends.as_duration().as_secs_f64()));
    }

    /// Counts one Secret that could not be used.
    pub fn credentials_refused(&self) {
        self.refusals.inc();
    }

    /// Counts one caller that was told to read its credentials again.
    pub fn nudged(&self) {
        self.nudges.inc();
    }

    /// Shows how many targets go without.
    pub fn over_quota(&self, count: usize) {
        self.over_quota.set(gauge(count));
    }

    /// Shows whether this replica has stepped aside.
    pub fn blind(&self, blind: bool) {
        self.blind.set(i64::from(blind));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn call_buckets() -> Timed {
    let bounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];
    Timed::new(bounds.into_iter())
}

/// As a label, and as `error.type` of a span.
pub(crate) fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
