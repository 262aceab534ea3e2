//! The route table.

/// The base path of the API.
pub const BASE_PATH: &str = "/v1";
