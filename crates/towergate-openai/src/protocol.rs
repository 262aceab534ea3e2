//! tmp
#![allow(missing_docs)]
use bytes::Bytes;
use http::*;
use towergate_core::{*, protocol::*, label::*};
#[derive(Debug, Clone, Default)]
pub struct OpenAiProtocol { labels: Labels }
impl Routes for OpenAiProtocol {
    fn route(&self, _: &Method, path: &str) -> &'static Route { crate::routes::find(path) }
    fn base_path(&self) -> &str { "/v1" }
}
impl ReadRequest for OpenAiProtocol {
    fn facts(&self, route: &'static Route) -> Facts { Facts::of_route(route, self.labels.other().clone()) }
    fn read(&self, route: &'static Route, body: &Bytes) -> Result<Facts, Error> {
        let mut f = self.facts(route);
        let v: serde_json::Value = serde_json::from_slice(body).map_err(|_| Error::new(ErrorKind::BadRequest, "not json"))?;
        f.model = v["model"].as_str().map(Into::into);
        f.stream = v["stream"].as_bool().unwrap_or(false);
        f.silent_head = route.generates && !f.stream;
        Ok(f)
    }
}
impl RenderError for OpenAiProtocol {
    fn body(&self, _: StatusCode, e: &Error) -> Bytes { serde_json::json!({"error": {"message": e.to_string(), "type": "gateway_error", "param": e.param(), "code": e.code()}}).to_string().into() }
    fn content_type(&self) -> HeaderValue { HeaderValue::from_static("application/json") }
    fn event(&self, _: Option<&'static Route>, e: &Error) -> Bytes { format!("data: {}\n\n", serde_json::json!({"error": {"message": e.to_string(), "type": "gateway_error", "param": e.param(), "code": e.code()}})).into() }
}
impl Classify for OpenAiProtocol {
    fn classify(&self, s: StatusCode, h: &HeaderMap, b: Option<&[u8]>) -> Class { ByStatus.classify(s, h, b) }
}
