//! `OPENAI_API_KEY=sk-... cargo run -p example-axum-app`, then point an SDK at
//! `http://127.0.0.1:3000/v1`.

use example_axum_app::beside;
use towergate::Gateway;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = beside(Gateway::from_env().await?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
