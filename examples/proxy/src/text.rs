//! A log line as text: when, how bad, in which spans, from where, what.
//!
//! It looks as the usual format of tracing-subscriber does. That one paints each part of a line through
//! `Display`, with or without colours, and takes the date apart anew: a third of what a line costs.

use std::{fmt, time::SystemTime};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields as _, FormattedFields, format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use crate::fields::Fields;

const BOLD: &str = "\x1b[1m";
const DIMMED: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes one event. See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

/// UTC, to the microsecond, as in RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Utc;

/// Puts parts of a line into a style, where they go to a terminal.
struct Paint {
    is_on: bool,
}

// === impl Text ===

impl<S> FormatEvent<S, Fields> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fields>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let paint = Paint { is_on: out.has_ansi_escapes() };
        paint.write(&mut out, DIMMED, |out| Utc.format_time(out))?;
        let (colour, level) = level(*event.metadata().level());
        out.write_char(' ')?;
        paint.write(&mut out, colour, |out| out.write_str(level))?;
        out.write_char(' ')?;

        let mut spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root()).peekable();
        let has_spans = spans.peek().is_some();
        for span in spans {
            paint.write(&mut out, BOLD, |out| out.write_str(span.name()))?;
            if let Some(fields) = span.extensions().get::<FormattedFields<Fields>>()
                && !fields.is_empty()
            {
                paint.write(&mut out, BOLD, |out| out.write_char('{'))?;
                out.write_str(fields)?;
                paint.write(&mut out, BOLD, |out| out.write_char('}'))?;
            }
            paint.write(&mut out, DIMMED, |out| out.write_char(':'))?;
        }
        if has_spans {
            out.write_char(' ')?;
        }

        paint.write(&mut out, DIMMED, |out| out.write_str(event.metadata().target()))?;
        paint.write(&mut out, DIMMED, |out| out.write_char(':'))?;
        out.write_char(' ')?;
        context.format_fields(out.by_ref(), event)?;
        out.write_char('\n')
    }
}

/// Its colour, and its name, all of one width.
fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("\x1b[31m", "ERROR"),
        Level::WARN => ("\x1b[33m", " WARN"),
        Level::INFO => ("\x1b[32m", " INFO"),
        Level::DEBUG => ("\x1b[34m", "DEBUG"),
        Level::TRACE => ("\x1b[35m", "TRACE"),
    }
}

// === impl Utc ===

impl FormatTime for Utc {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_fmt(format_args!("{}", humantime::format_rfc3339_micros(SystemTime::now())))
    }
}

// === impl Paint ===

impl Paint {
    fn write<'w>(
        &self,
        out: &mut Writer<'w>,
        style: &str,
        text: impl FnOnce(&mut Writer<'w>) -> fmt::Result,
    ) -> fmt::Result {
        if !self.is_on {
            return text(out);
        }
        out.write_str(style)?;
        text(out)?;
        out.write_str(PLAIN)
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{filter::LevelFilter, fmt::format::Format};

    use super::*;
    use crate::fields::tests::Log;

    fn logged<F>(ansi: bool, format: F) -> String
    where
        F: FormatEvent<tracing_subscriber::Registry, Fields> + Send + Sync + 'static,
    {
        use tracing_subscriber::layer::SubscriberExt as _;

        let lines = Log::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(Fields)
            .event_format(format)
            .with_ansi(ansi)
            .with_writer(lines.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber.with(LevelFilter::TRACE), || {
            tracing::error!("alone");
            let _outer = tracing::info_span!("request", model = "gpt-4o").entered();
            let _inner = tracing::info_span!("attempt").entered();
            tracing::warn!(number = 3, "refused");
            tracing::info!("sent");
            tracing::debug!("d");
            tracing::trace!("t");
        });
        lines.text()
    }

    /// Behind the time.
    fn rest(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.split_once("Z")).map(|(_, rest)| rest).collect()
    }

    #[test]
    fn a_line_looks_as_the_usual_one_does() {
        for ansi in [false, true] {
            let (ours, usual) = (logged(ansi, Text), logged(ansi, Format::default()));
            assert_eq!(rest(&ours), rest(&usual));
            assert_eq!(rest(&ours).len(), 5);
        }
    }

    #[test]
    fn the_time_is_that_of_the_usual_line() {
        let line = |format_time: &dyn Fn(&mut Writer<'_>) -> fmt::Result| {
            let mut text = String::new();
            format_time(&mut Writer::new(&mut text)).unwrap();
            text
        };
        let before = line(&|out| tracing_subscriber::fmt::time::SystemTime.format_time(out));
        let now = line(&|out| Utc.format_time(out));
        let after = line(&|out| tracing_subscriber::fmt::time::SystemTime.format_time(out));
        assert!(before <= now && now <= after && now.len() == after.len(), "{before} {now} {after}");
    }
}
