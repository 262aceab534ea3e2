//! A gateway that runs, asked from outside.

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tower::ServiceExt as _;
use towergate::{Body, openai::service::OpenAi};

use crate::settings::Error;

/// A report has a few hundred bytes for each provider.
const MAX_REPORT: usize = 16 * 1024 * 1024;

/// What `/health` of a gateway says.
pub(crate) async fn health(url: &str) -> Result<Value, Error> {
    let base = url.trim_end_matches('/').trim_end_matches("/health");
    let service = OpenAi::builder().name("the gateway").base_url(base).build()?;
    let request = Request::get("/v1/health").body(Body::empty())?;
    let response = service.oneshot(request).await.map_err(|error| format!("{base}/health: {error}"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_REPORT).collect().await?.to_bytes();
    let said = serde_json::from_slice::<Value>(&body).ok();
    if let (StatusCode::FORBIDDEN, Some(why)) =
        (status, said.as_ref().and_then(|said| said["error"]["message"].as_str()))
    {
        return Err(format!("{base}/health answered {status}: {why}").into());
    }
    said.filter(|report: &Value| report["providers"].is_array()).ok_or_else(|| {
        format!(
            "{base}/health answered {status}, and no report: with client keys, or on an address that is not \
             loopback, it is on the operators' listener (--admin-listen)"
        )
        .into()
    })
}
