//! Sending a request, and reading an answer that is one document.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_service::Service;
use towergate_core::{
    Body, BoxError,
    headers::{RETRY_AFTER_MS, X_REQUEST_ID},
};

use super::ClientError;
use crate::types::ApiError;

/// More of an error's body is not read.
const ERROR_LIMIT: usize = 256 * 1024;

/// Runs `work`, for no longer than `timeout`.
pub(super) async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout {
        None => work.await,
        Some(after) => tokio::time::timeout(after, work).await.unwrap_or(Err(ClientError::Timeout { after })),
    }
}

/// Sends a request; an answer whose status is an error is an error.
pub(super) async fn send<S, B>(mut service: S, request: Request<Body>) -> Result<Response<B>, ClientError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(transport)?;
    let response = service.call(request).await.map_err(transport)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    // The status alone says that it failed; a body that can't be had does not change that.
    let error = match read(body, ERROR_LIMIT).await {
        Ok(body) => ApiError::read(&body).unwrap_or_default(),
        Err(_) => ApiError::default(),
    };
    Err(api_error(parts.status, &parts.headers, error))
}

/// Reads an answer that is one JSON document.
pub(super) async fn read_json<T, B>(
    response: Response<B>,
    limit: usize,
    expected: &'static str,
) -> Result<T, ClientError>
where
    T: DeserializeOwned,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let body = read(body, limit).await?;
    serde_json::from_slice(&body).map_err(|fault| {
        error_inside(&body).map_or_else(
            || ClientError::Decode {
                expected,
                category: fault.classify(),
                line: fault.line(),
                column: fault.column(),
            },
            |error| api_error(parts.status, &parts.headers, error),
        )
    })
}

/// Reads a body that is no larger than `limit`.
pub(super) async fn read<B>(body: B, limit: usize) -> Result<Bytes, ClientError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge { limit }),
        Err(error) => Err(ClientError::Transport(error)),
    }
}

/// The error in a document that came with a status of success.
pub(super) fn error_inside(document: &[u8]) -> Option<ApiError> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let reported = document.get("error").is_some_and(|error| !error.is_null());
    reported.then(|| ApiError::from_value(document).unwrap_or_default())
}

pub(super) fn api_error(status: StatusCode, headers: &HeaderMap, error: ApiError) -> ClientError {
    let request_id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    ClientError::Api { status, error: Box::new(error), request_id, retry_after: retry_after(headers) }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name, unit: f64| {
        let value: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(value / unit).ok()
    };
    seconds(RETRY_AFTER_MS, 1000.0).or_else(|| seconds(RETRY_AFTER, 1.0))
}

fn transport(error: impl Into<BoxError>) -> ClientError {
    ClientError::Transport(error.into())
}
