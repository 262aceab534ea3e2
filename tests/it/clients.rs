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
use towergate::openai::{
    client::{CallOptions, Client as Typed, ClientError},
    types::{ChatRequest, EmbeddingsRequest},
};

use super::support::World;

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

    let error = client.chat().create(request("unknown-model")).await.unwrap_err();
    assert!(matches!(error, OpenAIError::ApiError(_)), "{error:?}");
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
