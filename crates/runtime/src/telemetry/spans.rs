//! Beginning spans, and the numbers they go by. What is not traced is [`Span::none`], whose attributes are never built.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::sampling::{self, Upstream};

/// The target of every span that may be sent: `info_span!(target: SPANS, parent: …, …)`.
pub const SPANS: &str = "span";

/// A caller's span, as `traceparent` of the W3C names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent(SpanContext);

/// The numbers of a span, both never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// Of the trace; written with 32 hexadecimal digits.
    pub trace: u128,
    /// Of the span; written with 16 hexadecimal digits.
    pub span: u64,
}

/// Whether any span is sent at all.
#[must_use]
pub fn traced() -> bool {
    sampling::installed().is_some()
}

/// Begins a trace, if it is to be kept: `make` must give a span with `parent: None`.
#[must_use]
pub fn root(make: impl FnOnce() -> Span) -> Span {
    root_below(None, make)
}

/// As [`root`]; below the span of the caller, if there is one.
#[must_use]
pub fn root_below(parent: Option<Parent>, make: impl FnOnce() -> Span) -> Span {
    let Some(sampling) = sampling::installed() else {
        return Span::none();
    };
    let upstream = parent.as_ref().map(|Parent(context)| Upstream {
        trace: context.trace_id(),
        sampled: context.is_sampled(),
    });
    let Some(trace) = sampling.pick(upstream) else {
        return Span::none();
    };
    let span = make();
    if let Some(Parent(context)) = parent {
        // It cannot have begun yet.
        let _set = span.set_parent(Context::new().with_remote_span_context(context));
    }
    // Asking for its context begins it: here, where its number is known.
    sampling::with_trace(trace, || drop(span.context()));
    span
}

/// Begins a span below `parent`, unless that is not traced: `make` must give one with `parent: parent`.
#[must_use]
pub fn child(parent: &Span, make: impl FnOnce(&Span) -> Span) -> Span {
    if parent.is_none() { Span::none() } else { make(parent) }
}

/// As [`child`], for something that has a number already, not zero: the span goes by it too.
#[must_use]
pub fn child_numbered(parent: &Span, number: u64, make: impl FnOnce(&Span) -> Span) -> Span {
    let span = child(parent, make);
    if !span.is_none() {
        sampling::with_span(SpanId::from(number), || drop(span.context()));
    }
    span
}

/// Says that `span` rests on another one, whatever its trace; nothing unless it is traced.
pub fn link(span: &Span, to: SpanIds) {
    let (trace, id) = (TraceId::from(to.trace), SpanId::from(to.span));
    span.add_link(SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default()));
}

/// The numbers of `span`; `None` when it is not traced.
#[must_use]
pub fn ids(span: &Span) -> Option<SpanIds> {
    if span.is_none() {
        return None;
    }
    SpanIds::of(span.context().span().span_context())
}

/// The numbers of the span this code runs in; `None` when it is not traced.
#[must_use]
pub fn current_ids() -> Option<SpanIds> {
    Context::map_current(|context| SpanIds::of(context.span().span_context()))
}

impl SpanIds {
    fn of(context: &SpanContext) -> Option<Self> {
        (context.is_valid() && context.is_sampled()).then(|| Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
        })
    }

    /// The trace's number as backends show it.
    #[must_use]
    pub fn trace_hex(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's number as backends show it.
    #[must_use]
    pub fn span_hex(&self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for SpanIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}/{:016x}", self.trace, self.span)
    }
}

impl Parent {
    /// Reads `version-trace-span-flags`; what is not well formed is nobody's span.
    #[must_use]
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may append to what the first one says.
        let known = version == "00" && parts.next().is_none() || version != "00" && version != "ff";
        if !known || [version, flags].iter().any(|part| part.len() != 2) || trace.len() != 32 || span.len() != 16 {
            return None;
        }
        let hexadecimal = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if ![version, trace, span, flags].into_iter().all(hexadecimal) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()? & TraceFlags::SAMPLED.to_u8();
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(flags),
            true,
            TraceState::default(),
        );
        context.is_valid().then_some(Self(context))
    }
}
