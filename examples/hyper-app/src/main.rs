//! `OPENAI_API_KEY=sk-... cargo run -p example-hyper-app`, then point an SDK at
//! `http://127.0.0.1:3000/v1`. Another address to listen on may follow.

use tokio::net::TcpListener;
use towergate::Gateway;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::from_env().await?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    example_hyper_app::serve(listener, gateway).await?;
    Ok(())
}
