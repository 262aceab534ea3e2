//! The names of the series, their descriptions, and buckets that fit them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Requests that are over; labels `route`, `model`, `outcome`.
pub const REQUESTS: &str = "towergate_requests_total";
/// Requests under way, the bodies of their answers included.
pub const REQUESTS_IN_FLIGHT: &str = "towergate_requests_in_flight";
/// From a request to the end of its answer; labels `route`, `outcome`.
pub const REQUEST_DURATION: &str = "towergate_request_duration_seconds";
/// From a request to the first byte of its answer's body; label `route`.
pub const REQUEST_FIRST_BYTE: &str = "towergate_request_ttfb_seconds";
/// Requests of clients with a key that are over; labels `client` (the name of the key), `outcome`.
pub const CLIENT_REQUESTS: &str = "towergate_client_requests_total";
/// Attempts that are over; labels `provider`, `outcome`.
pub const ATTEMPTS: &str = "towergate_attempts_total";
/// Attempts under way; label `provider`.
pub const ATTEMPTS_IN_FLIGHT: &str = "towergate_attempts_in_flight";
/// From an attempt to the end of its answer; labels `provider`, `outcome`.
pub const ATTEMPT_DURATION: &str = "towergate_attempt_duration_seconds";
/// From an attempt to the first byte of its answer's body; label `provider`.
pub const ATTEMPT_FIRST_BYTE: &str = "towergate_attempt_ttfb_seconds";
/// Events of streams whose JSON was malformed; label `provider`.
pub const MALFORMED_EVENTS: &str = "towergate_malformed_events_total";

/// Tokens, as providers counted them; labels `provider`, `model`, `kind` (`input`, `output`, and of these
/// `cached_input`, `audio_input`, `reasoning_output`, `audio_output`).
pub const TOKENS: &str = "towergate_tokens_total";

/// Upper bounds, in seconds, for the histograms: from a refusal to the longest answer of a model
/// that thinks. The usual defaults end at 10 s, where such an answer has hardly begun.
pub const SECONDS: [f64; 17] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Tells the installed recorder what the series mean. Call it once, after the recorder is installed;
/// the series work without it.
pub fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests that are over, by how they ended.");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests under way, streams included.");
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "From a request to the end of its answer.");
    describe_histogram!(REQUEST_FIRST_BYTE, Unit::Seconds, "From a request to the first byte of its answer.");
    describe_counter!(
        CLIENT_REQUESTS,
        Unit::Count,
        "Requests of each client that are over, by how they ended."
    );
    describe_counter!(ATTEMPTS, Unit::Count, "Attempts at a provider that are over, by how they ended.");
    describe_gauge!(ATTEMPTS_IN_FLIGHT, Unit::Count, "Attempts at a provider under way.");
    describe_histogram!(ATTEMPT_DURATION, Unit::Seconds, "From an attempt to the end of its answer.");
    describe_histogram!(
        ATTEMPT_FIRST_BYTE,
        Unit::Seconds,
        "From an attempt to the first byte of its answer."
    );
    describe_counter!(TOKENS, Unit::Count, "Tokens, as providers counted them.");
    describe_counter!(MALFORMED_EVENTS, Unit::Count, "Stream events whose JSON was malformed.");
}
