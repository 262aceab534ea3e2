//! Rust clients: async-openai over a socket, and our own typed client over the service itself.

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    types::{
        chat::{
            ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest,
            CreateChatCompletionRequestArgs,
        },
        embeddings::CreateEmbeddingRequestArgs,
    },
};
use futures_util::StreamExt as _;
use tower::ServiceBuilder;
use towergate::{
    core::{Error, ErrorKind, credentials::Credential},
    layers::auth::AuthLayer,
    openai::{
        client::{CallOptions, Client as Typed, ClientError},
        service::OpenAi,
        types::{ChatRequest, EmbeddingsRequest},
    },
};

use towergate_sim::{Fault, Gate};

use super::support::{PROVIDER_KEY, World};

fn request(model: &str) -> CreateChatCompletionRequest {
    let hello = ChatCompletionRequestUserMessageArgs::default().content("Hello!").build().unwrap();
    CreateChatCompletionRequestArgs::default().model(model).messages([hello.into()]).build().unwrap()
}

#[tokio::test]
async fn async_openai() {
    let world = World::start().await;
    let config = OpenAIConfig::new().with_api_base(format!("{}/v1", world.url())).with_api_key("any");
    let client = Client::with_config(config);

    let answer = client.chat().create(request("gpt-4o")).await.unwrap();
    assert!(answer.choices[0].message.content.as_ref().unwrap().starts_with("You said: Hello!"));

    let mut stream = client.chat().create_stream(request("gpt-4o")).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().choices[0].delta.content.as_deref().unwrap_or_default());
    }
    assert!(text.starts_with("You said: Hello!"));

    let mut cut = client.chat().create_stream(request("fault:truncate-after=3")).await.unwrap();
    let mut failed = false;
    while let Some(chunk) = cut.next().await {
        failed |= chunk.is_err();
    }
    assert!(failed, "a cut stream must not look whole");

    let wanted = CreateEmbeddingRequestArgs::default().model("text-embedding-3-small").input("one").build();
    assert!(!client.embeddings().create(wanted.unwrap()).await.unwrap().data[0].embedding.is_empty());
    assert!(!client.models().list().await.unwrap().data.is_empty());

    // Errors come as OpenAI's, typed: upstream's own, and the gateway's.
    let OpenAIError::ApiError(error) = client.chat().create(request("unknown-model")).await.unwrap_err()
    else {
        panic!("no API error");
    };
    assert_eq!((error.status_code.as_u16(), error.api_error.code.as_deref()), (404, Some("model_not_found")));

    let keys = towergate::parse_client_keys("right").unwrap();
    let guarded = World::builder().gateway(|gateway| gateway.client_keys(keys)).start().await;
    let config = OpenAIConfig::new().with_api_base(format!("{}/v1", guarded.url())).with_api_key("wrong");
    let OpenAIError::ApiError(error) = Client::with_config(config).models().list().await.unwrap_err() else {
        panic!("no API error");
    };
    assert_eq!((error.status_code.as_u16(), error.api_error.code.as_deref()), (401, Some("invalid_api_key")));
}

#[tokio::test]
async fn the_typed_client_over_the_gateway_itself() {
    let world = World::start().await;
    let client = Typed::new(world.gateway.clone());
    let hello = ChatRequest::new("gpt-4o").user("Hello!");

    let options = CallOptions::new().request_id("req-mine");
    let answer = client.chat_completion_with(&hello, &options).await.unwrap();
    assert!(answer.text().unwrap().starts_with("You said: Hello!"));

    let mut stream = client.chat_completion_stream(&hello).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().text().unwrap_or_default());
    }
    assert!(text.starts_with("You said: Hello!"));
    drop(stream);

    let embeddings =
        client.embeddings(&EmbeddingsRequest::new("text-embedding-3-small", "one")).await.unwrap();
    assert!(!embeddings.data[0].vector().unwrap().is_empty());
    assert!(!client.models().await.unwrap().data.is_empty());

    let health = client.health_check().await;
    assert!(health.healthy && health.models_seen > 0, "{health}");
    assert!(world.sim.requests().last().unwrap().uri.path().ends_with("/models"), "it costs no tokens");

    let error = client.chat_completion(&ChatRequest::new("unknown-model").user("Hello!")).await.unwrap_err();
    assert_eq!(error.status().map(|status| status.as_u16()), Some(404), "{error}");
    client.close().await;
    assert!(matches!(client.models().await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn the_typed_client_over_the_leaf_alone() {
    let world = World::start().await;
    let openai = OpenAi::builder().base_url(world.upstream.base_url()).build().unwrap();
    let key = Credential::new(&PROVIDER_KEY.into()).unwrap();
    let client = Typed::new(ServiceBuilder::new().layer(AuthLayer::new(key)).service(openai.clone()));
    let hello = ChatRequest::new("gpt-4o").user("Hello!");

    let answer = client.chat_completion(&hello).await.unwrap();
    assert!(answer.text().unwrap().starts_with("You said: Hello!"));
    let mut stream = client.chat_completion_stream(&hello.clone().include_usage()).await.unwrap();
    let (mut text, mut usage) = (String::new(), None);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        text.push_str(chunk.text().unwrap_or_default());
        usage = chunk.usage.or(usage);
    }
    assert!(text.starts_with("You said: Hello!"));
    assert!(usage.unwrap().total_tokens > Some(0));
    let embeddings = EmbeddingsRequest::new("text-embedding-3-small", "one");
    assert_eq!(client.embeddings(&embeddings).await.unwrap().data.len(), 1);
    assert!(!client.models().await.unwrap().data.is_empty());
    assert!(client.health_check().await.healthy);

    // Nothing stands between it and the upstream: an overloaded one is what it says.
    world.sim.script(["status=503;retry-after=2"]).unwrap();
    let error = client.chat_completion(&hello).await.unwrap_err();
    assert_eq!(error.status().map(|status| status.as_u16()), Some(503), "{error}");

    // Closing the client lets a stream that flows end; closing the leaf refuses what is new below.
    let gate = Gate::new();
    world.sim.script([Fault::new().hold_at(3, &gate)]).unwrap();
    let mut stream = client.chat_completion_stream(&hello).await.unwrap();
    let closed = tokio::spawn(client.close());
    assert!(matches!(client.models().await, Err(ClientError::Closed)));
    openai.close();
    gate.open();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().text().unwrap_or_default());
    }
    assert!(text.starts_with("You said: Hello!"));
    drop(stream);
    closed.await.unwrap();

    let health = Typed::new(openai).health_check().await;
    assert!(!health.healthy);
    let Some(ClientError::Transport(error)) = health.error else { panic!("{health}") };
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Draining);
}
