//! `OPENAI_API_KEY=sk-... cargo run -p example-own-provider`

use towergate::server::{Server, signal::Signals};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3003".to_owned()).parse()?;
    let gateway = example_own_provider::gateway().await?;
    let server = Server::builder().listen(listen).health(gateway.clone()).bind(gateway).await?;
    let mut signals = Signals::listen()?;
    println!("listening on http://{}", server.local_addr());
    let report = server.serve(async move { signals.next().await }).await;
    println!("{report}");
    Ok(())
}
