//! `OPENAI_API_KEY=sk-... cargo run -p example-custom-stack -- "Say hello"`

use example_custom_stack::stack;
use towergate::openai::{client::Client, env::OpenAiEnv, types::ChatRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // OPENAI_API_KEY, or OPENAI_API_KEY_FILE; OPENAI_BASE_URL for another server than OpenAI's.
    let env = OpenAiEnv::from_env()?;
    let key = env.open_key().await?.ok_or("OPENAI_API_KEY is not set")?;
    let client = Client::new(stack(env.service().build()?, key));

    let question = std::env::args().nth(1).unwrap_or_else(|| "Say hello".to_owned());
    let answer = client.chat_completion(&ChatRequest::new("gpt-4o-mini").user(question)).await?;
    println!("{}", answer.text().unwrap_or_default());
    Ok(())
}
