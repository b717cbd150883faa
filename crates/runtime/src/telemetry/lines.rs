//! Log lines that name the span they were written in, so that a line leads to its trace and a trace to its lines.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::spans::{SpanIds, current_ids};

/// A format whose lines end with `trace_id` and `span_id` where there is a span that is sent.
pub(super) struct WithIds<F> {
    format: F,
    end: fn(&mut Writer<'_>, &str, SpanIds) -> fmt::Result,
}

impl<F> WithIds<F> {
    /// Of a format with one JSON object per line.
    pub(super) fn json(format: F) -> Self {
        let end = |writer: &mut Writer<'_>, line: &str, ids: SpanIds| {
            let open = line.strip_suffix('}').unwrap_or(line);
            let (trace, span) = (ids.trace_hex(), ids.span_hex());
            writeln!(writer, r#"{open},"trace_id":"{trace}","span_id":"{span}"}}"#)
        };
        Self { format, end }
    }

    /// Of a format with one sentence and `key=value` pairs per line.
    pub(super) fn text(format: F) -> Self {
        let end = |writer: &mut Writer<'_>, line: &str, ids: SpanIds| {
            writeln!(writer, "{line} trace_id={} span_id={}", ids.trace_hex(), ids.span_hex())
        };
        Self { format, end }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(ids) = current_ids() else {
            return self.format.format_event(ctx, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(ctx, Writer::new(&mut line), event)?;
        (self.end)(&mut writer, line.trim_end(), ids)
    }
}
