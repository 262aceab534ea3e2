//! The example, as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tokio::process::Command;
use towergate_sim::{Sim, SimServer};

fn example() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-custom-stack"));
    command.arg("Hello!").env_remove("OPENAI_API_KEY").env_remove("OPENAI_API_KEY_FILE");
    command
}

#[tokio::test]
async fn it_answers() {
    let upstream = SimServer::start(Sim::new().require_key("sk-example")).await.unwrap();
    let mut command = example();
    command.env("OPENAI_API_KEY", "sk-example").env("OPENAI_BASE_URL", upstream.base_url());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("You said: Hello!"), "{output:?}");
}

#[tokio::test]
async fn without_a_key_it_says_so() {
    let output = example().output().await.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("OPENAI_API_KEY"), "{output:?}");
}
