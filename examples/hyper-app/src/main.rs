//! `OPENAI_API_KEY=sk-... cargo run -p example-hyper-app`, then point an SDK at
//! `http://127.0.0.1:3000/v1`.

use tokio::net::TcpListener;
use towergate::Gateway;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::from_env().await?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    example_hyper_app::serve(listener, gateway).await?;
    Ok(())
}
