//! Which traces are kept, decided before anything of them is built: what is not kept costs a number and a comparison.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::config::Variables;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

static INSTALLED: OnceLock<Sampling> = OnceLock::new();

thread_local! {
    /// The number of the trace whose first span this thread is about to begin.
    static NEXT: Cell<Option<TraceId>> = const { Cell::new(None) };
    /// The number of the span that this thread is about to begin, where it is not left to chance.
    static NEXT_SPAN: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// What `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether a caller that says whether it keeps its trace decides.
    parent_based: bool,
    /// Share of the traces, 0 to 1.
    ratio: f64,
}

/// The trace a caller's span belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) trace: TraceId,
    pub(super) sampled: bool,
}

impl Sampling {
    /// Every trace, or what its caller says, unless the variables say something that can be followed.
    pub(super) fn read(variables: &mut Variables<'_>) -> Self {
        let usual = Self {
            parent_based: true,
            ratio: 1.0,
        };
        let Some(name) = variables.text(SAMPLER) else { return usual };
        let (parent_based, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name.as_str()),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio(variables),
            _ => {
                let why = "is none of always_on, always_off and traceidratio, with or without parentbased_ before it";
                variables.ignore(SAMPLER, &name, why);
                return usual;
            }
        };
        Self { parent_based, ratio }
    }

    /// The number of the trace to be kept, if it is; `upstream` is the caller's. Traces are picked by their number as every
    /// sampler named `traceidratio` does, so that several programs pick the same ones.
    pub(super) fn pick(self, upstream: Option<Upstream>) -> Option<TraceId> {
        match upstream {
            Some(Upstream { trace, sampled }) if self.parent_based => sampled.then_some(trace),
            Some(Upstream { trace, .. }) => self.keeps(trace).then_some(trace),
            None => {
                let trace = RandomIdGenerator::default().new_trace_id();
                self.keeps(trace).then_some(trace)
            }
        }
    }

    fn keeps(self, trace: TraceId) -> bool {
        let [_, _, _, _, _, _, _, _, low @ ..] = trace.to_bytes();
        #[expect(
            clippy::cast_precision_loss,
            reason = "both sides lose the same digits, far below what a ratio says"
        )]
        let place = (u64::from_be_bytes(low) >> 1) as f64;
        place < self.ratio * (1_u64 << 63) as f64
    }
}

fn ratio(variables: &mut Variables<'_>) -> f64 {
    let Some(text) = variables.text(ARGUMENT) else { return 1.0 };
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    if ratio.is_none() {
        variables.ignore(ARGUMENT, &text, "is not a number from 0 to 1");
    }
    ratio.unwrap_or(1.0)
}

impl fmt::Display for Sampling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of traces", self.ratio)?;
        if self.parent_based {
            formatter.write_str(", else as the caller does")?;
        }
        Ok(())
    }
}

/// From now on traces are kept as `sampling` says; before, none is. Once per process.
pub(super) fn install(sampling: Sampling) {
    // A second one would need a second subscriber, which there cannot be.
    let _first = INSTALLED.set(sampling);
}

/// What is installed.
pub(super) fn installed() -> Option<Sampling> {
    INSTALLED.get().copied()
}

/// Runs `begin`, in which a span without a parent gets the number `trace`.
pub(super) fn with_trace<T>(trace: TraceId, begin: impl FnOnce() -> T) -> T {
    NEXT.set(Some(trace));
    let begun = begin();
    NEXT.set(None);
    begun
}

/// Runs `begin`, in which a span gets the number `span`.
pub(super) fn with_span<T>(span: SpanId, begin: impl FnOnce() -> T) -> T {
    NEXT_SPAN.set(Some(span));
    let begun = begin();
    NEXT_SPAN.set(None);
    begun
}

/// Random numbers, but for a trace that was picked by its own, and for a span that has one already.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        NEXT_SPAN.take().unwrap_or_else(|| self.0.new_span_id())
    }
}
