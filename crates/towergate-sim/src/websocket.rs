//! WebSockets: `realtime`, `responses`, and `echo`, each with `GET` and an upgrade.

use futures_util::{SinkExt as _, StreamExt as _};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    request::Parts,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use towergate_core::{
    Body, BoxError,
    body::{End, Guard},
};

use crate::{
    api,
    fault::{Ending, Fault},
    io::Connection,
    log::{Event, Follow, SharedLog},
    plan::BrokenByFault,
    text,
};

/// What is spoken on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Realtime,
    Responses,
    /// Every message goes back as it came.
    Echo,
}

/// A handshake that can be answered.
pub(crate) struct Handshake {
    dialect: Dialect,
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    model: String,
    upgrade: OnUpgrade,
}

struct Conversation {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    dialect: Dialect,
    model: String,
    fault: Fault,
    /// Events sent so far: what faults count.
    sent: u64,
    log: SharedLog,
    number: u64,
}

/// How a conversation ends.
enum Over {
    /// With a close frame.
    Closed,
    /// The peer went away.
    Gone,
    /// As the fault says.
    Broken(Ending),
}

// === impl Handshake ===

impl Handshake {
    /// Nothing where the request is no handshake, or nothing listens there.
    pub(crate) fn read(parts: &mut Parts) -> Option<Self> {
        let lists = |name, token| towergate_core::headers::lists(&parts.headers, name, token);
        if parts.method != Method::GET || !lists(&UPGRADE, "websocket") || !lists(&CONNECTION, "upgrade") {
            return None;
        }
        let dialect = match api::below_base(parts.uri.path()) {
            "/realtime" => Dialect::Realtime,
            "/responses" => Dialect::Responses,
            "/echo" => Dialect::Echo,
            _ => return None,
        };
        let key = parts.headers.get(SEC_WEBSOCKET_KEY)?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
        let protocol = protocol(&parts.headers);
        let query = parts.uri.query().unwrap_or_default();
        let model = query.split('&').find_map(|field| field.strip_prefix("model=")).unwrap_or_default();
        let model = model.to_owned();
        let upgrade = parts.extensions.remove::<OnUpgrade>()?;
        Some(Self { dialect, accept, protocol, model, upgrade })
    }

    /// Answers; what follows runs on the connection, once that has been switched.
    pub(crate) fn answer(
        self,
        fault: Fault,
        connection: &Connection,
        log: SharedLog,
        number: u64,
        mut guard: Guard<Follow>,
    ) -> Response<Body> {
        let Self { dialect, accept, protocol, model, upgrade } = self;
        if let Some(follow) = guard.observer_mut() {
            follow.answered(None);
        }
        let switched = connection.clone();
        connection.switch_to(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let conversation = Conversation { socket, dialect, model, fault, sent: 0, log, number };
            conversation.run(&switched, guard).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// The first one offered that is no credential and no switch.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    offered.find(|one| !one.starts_with("openai-")).and_then(|one| HeaderValue::from_str(one).ok())
}

// === impl Conversation ===

impl Conversation {
    async fn run(mut self, connection: &Connection, mut guard: Guard<Follow>) {
        match self.converse().await {
            Over::Closed => guard.finish(End::Complete),
            // Dropped, as it is.
            Over::Gone => {}
            Over::Broken(ending) => {
                if ending == Ending::Reset {
                    connection.reset();
                }
                let error: BoxError = BrokenByFault.into();
                guard.finish(End::Error(&error));
            }
        }
    }

    async fn converse(&mut self) -> Over {
        if self.dialect == Dialect::Realtime {
            let id = text::id("sess_", text::hash(self.model.as_bytes()), 24);
            let session = json!({"id": id, "object": "realtime.session", "model": self.model});
            if let Err(over) = self.send(json!({"type": "session.created", "session": session})).await {
                return over;
            }
        }
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                _ => return Over::Gone,
            };
            let answered = match message {
                Message::Close(frame) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    let event = Event::WebSocketClosed { request: self.number, code };
                    self.log.send_modify(|log| log.add(event));
                    // The answer to it goes out with the end of the stream.
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return Over::Closed;
                }
                message if self.dialect == Dialect::Echo && (message.is_text() || message.is_binary()) => {
                    self.send_message(message).await
                }
                Message::Text(text) => self.answer(&text).await,
                _ => Ok(()),
            };
            if let Err(over) = answered {
                return over;
            }
        }
    }

    async fn answer(&mut self, message: &str) -> Result<(), Over> {
        let request: Value = serde_json::from_str(message).unwrap_or_default();
        match request["type"].as_str() {
            Some("response.create") => self.respond(&request, message).await,
            Some("session.update") if self.dialect == Dialect::Realtime => {
                self.send(json!({"type": "session.updated", "session": request["session"]})).await
            }
            Some("conversation.item.create") if self.dialect == Dialect::Realtime => {
                self.send(json!({"type": "conversation.item.created", "item": request["item"]})).await
            }
            _ => {
                let error = json!({
                    "type": "invalid_request_error",
                    "code": "invalid_value",
                    "message": "Invalid value for 'type'.",
                    "param": "type",
                });
                self.send(json!({"type": "error", "error": error})).await
            }
        }
    }

    async fn respond(&mut self, request: &Value, message: &str) -> Result<(), Over> {
        let seed = text::hash(message.as_bytes());
        let id = text::id("resp_", seed, 48);
        let asked = request["input"].as_str().or_else(|| request["response"]["instructions"].as_str());
        let reply = text::reply(asked.unwrap_or_default(), seed, self.fault.tokens);
        let response = |status: &str| json!({"id": id, "object": "response", "status": status});
        self.send(json!({"type": "response.created", "response": response("in_progress")})).await?;
        for delta in reply {
            self.send(json!({"type": "response.output_text.delta", "delta": delta})).await?;
        }
        let end = match self.dialect {
            Dialect::Realtime => "response.done",
            Dialect::Responses | Dialect::Echo => "response.completed",
        };
        self.send(json!({"type": end, "response": response("completed")})).await
    }

    async fn send(&mut self, event: Value) -> Result<(), Over> {
        self.send_message(Message::text(event.to_string())).await
    }

    /// Counts an event, and ends in its place where the fault says so.
    async fn send_message(&mut self, message: Message) -> Result<(), Over> {
        match self.fault.end {
            Some((after, Ending::Stall)) if self.sent >= after => std::future::pending().await,
            Some((after, Ending::Truncate)) if self.sent >= after => {
                let _ = self.socket.close(None).await;
                while let Some(Ok(_)) = self.socket.next().await {}
                return Err(Over::Broken(Ending::Truncate));
            }
            Some((after, ending)) if self.sent >= after => return Err(Over::Broken(ending)),
            _ => {}
        }
        self.sent += 1;
        self.socket.send(message).await.map_err(|_| Over::Gone)
    }
}
