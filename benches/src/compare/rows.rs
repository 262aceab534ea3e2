//! The work that is compared.

use std::time::Duration;

use crate::{
    load::Load,
    upstream::{Behaviour, Content, Pace},
};

/// One kind of work.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// Whether the memory that is resident afterwards is a figure of its own.
    pub(super) shows_memory: bool,
    pub(super) behaviour: Behaviour,
    /// Bytes of the request's body.
    pub(super) request: usize,
    /// Its time is that of the command line.
    pub(super) load: Load,
}

/// What processor time is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Request,
    Event,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const CLOSED: Load = Load {
    connections: 64,
    rate: None,
    ramp: Duration::ZERO,
    warm_up: Duration::from_millis(300),
    time: Duration::ZERO,
};

const JSON: Row = Row {
    name: "",
    unit: Unit::Request,
    shows_memory: false,
    behaviour: Behaviour { delay: Duration::ZERO, content: Content::Json { size: KIB } },
    request: KIB,
    load: CLOSED,
};

pub(super) const ROWS: &[Row] = &[
    Row { name: "JSON 1 KiB, 1 connection", load: Load { connections: 1, ..CLOSED }, ..JSON },
    Row { name: "JSON 1 KiB, 64 connections", ..JSON },
    Row { name: "JSON 32 KiB, 64 connections", request: 32 * KIB, ..JSON },
    Row {
        name: "JSON 1 MiB request, 16 connections",
        request: MIB,
        load: Load { connections: 16, ..CLOSED },
        ..JSON
    },
    Row {
        name: "stream of 100 events, 32 connections, an event",
        unit: Unit::Event,
        behaviour: Behaviour {
            delay: Duration::ZERO,
            content: Content::Events { count: 100, pace: Pace::AtOnce },
        },
        load: Load { connections: 32, ..CLOSED },
        ..JSON
    },
    Row {
        name: "1,000 slow streams, an event",
        unit: Unit::Event,
        shows_memory: true,
        behaviour: Behaviour {
            delay: Duration::ZERO,
            // More of them than there is time for.
            content: Content::Events { count: 1_000_000, pace: Pace::Every(Duration::from_millis(200)) },
        },
        load: Load { connections: 1000, ramp: Duration::from_secs(1), ..CLOSED },
        ..JSON
    },
    Row {
        name: "open loop 1,000 requests/s, 50 ms upstream",
        behaviour: Behaviour { delay: Duration::from_millis(50), content: Content::Json { size: KIB } },
        load: Load { connections: 128, rate: Some(1000.0), ..CLOSED },
        ..JSON
    },
];

// === impl Row ===

impl Row {
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.behaviour.content, Content::Events { .. })
    }
}
