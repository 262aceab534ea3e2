//! The fields of a log line as text: `name=value`, one line whatever is in them.
//!
//! The usual fields cannot be used: they write what a `Display` gives as it is, so that a line break in an
//! upstream's text would begin a line that nobody logged. They are also the greater part of what a line
//! costs, since each of them goes through `Debug`; text that needs no escape is copied here.

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

const ITALIC: &str = "\x1b[3m";
const DIMMED: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes fields one after the other. See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields;

struct Visitor<'a> {
    out: Writer<'a>,
    first: bool,
    result: fmt::Result,
}

/// Lets no control character through.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

// === impl Fields ===

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { out, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

// === impl Visitor ===

impl Visitor<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>, bool) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.begin(field.name()).and_then(|is_message| value(&mut self.out, is_message));
        }
    }

    /// Writes a field's name; says whether it is the message, which has none.
    fn begin(&mut self, name: &str) -> Result<bool, fmt::Error> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.write_char(' ')?;
        }
        if name == "message" {
            return Ok(true);
        }
        if self.out.has_ansi_escapes() {
            write!(self.out, "{ITALIC}{name}{PLAIN}{DIMMED}={PLAIN}")?;
        } else {
            self.out.write_str(name)?;
            self.out.write_char('=')?;
        }
        Ok(false)
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |out, is_message| {
            if is_message {
                OneLine(out).write_str(value)
            } else if is_printable_ascii(value) && !value.contains(['"', '\\']) {
                out.write_char('"')?;
                out.write_str(value)?;
                out.write_char('"')
            } else {
                write!(out, "{value:?}")
            }
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out, _| write!(out, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out, _| write!(OneLine(out), "{value:?}"));
    }
}

// === impl OneLine ===

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if is_printable_ascii(text) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some((at, control)) = rest.char_indices().find(|(_, char)| char.is_control()) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", control.escape_default())?;
            rest = &rest[at + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let lines = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(Fields)
            .with_ansi(ansi)
            .without_time()
            .with_target(false)
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        lines.text()
    }

    #[test]
    fn fields_look_as_the_usual_ones_do() {
        let line = logged(false, || {
            let _span = tracing::info_span!("request", model = "gpt-4o", status = 200_u16).entered();
            tracing::info!(elapsed_ms = 3_u64, error = %"it broke", quoted = "a \"b\"", on = true, "over");
        });
        assert_eq!(
            line,
            " INFO request{model=\"gpt-4o\" status=200}: over elapsed_ms=3 error=it broke \
             quoted=\"a \\\"b\\\"\" on=true\n"
        );
    }

    #[test]
    fn nothing_logged_begins_a_line_or_moves_the_cursor() {
        let hostile = "x\nERROR forged\r\u{1b}[2J\u{9b}\u{7f}";
        for ansi in [false, true] {
            let line = logged(ansi, || {
                let _span = tracing::info_span!("request", model = hostile, cause = %hostile).entered();
                tracing::info!(text = hostile, debug = ?hostile, error = %hostile, "{hostile}");
            });
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.ends_with('\n') && !line.contains(['\r', '\u{9b}', '\u{7f}']), "{line:?}");
            assert!(!line.contains("\u{1b}[2J"), "{line:?}");
        }
    }
}
