//! Log lines on standard error: for people on a terminal, JSON where asked for.

use std::io::IsTerminal as _;

use towergate::config::types::LogFormat;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    fields::Fields,
    lines,
    text::{Text, Utc},
};

/// The filter knows levels and modules and no spans: one that does would be asked, under a lock,
/// each time that a request is polled.
pub(crate) fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter: Targets = filter
        .parse()
        .map_err(|error| format!("{filter:?} is no log filter: {error} [setting: --log, logging.level]"))?;
    let colours = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(|| &lines::STDERR).with_ansi(colours).with_timer(Utc);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.fmt_fields(Fields).event_format(Text).boxed(),
    };
    lines::start().map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
    tracing_subscriber::registry().with(layer).with(filter).init();
    Ok(())
}

/// The usual hook prints what a panic says, and that may quote a request or a key: only the place is
/// logged.
pub(crate) fn hush_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a panic inside the gateway; please report it");
        } else {
            eprintln!("towergate: a panic at {place}; please report it");
        }
    }));
}
