//! `OPENAI_API_KEY=sk-... cargo run -p example-custom-stack -- "Say hello"`

use example_custom_stack::stack;
use towergate::{
    core::credentials::Credential,
    openai::{client::Client, service::OpenAi, types::ChatRequest},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = Credential::new(&std::env::var("OPENAI_API_KEY")?.into())?;
    let openai = OpenAi::builder().build()?;
    let client = Client::new(stack(openai, key));

    let question = std::env::args().nth(1).unwrap_or_else(|| "Say hello".to_owned());
    let answer = client.chat_completion(&ChatRequest::new("gpt-4o-mini").user(question)).await?;
    println!("{}", answer.text().unwrap_or_default());
    Ok(())
}
