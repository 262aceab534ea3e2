//! `towergate demo`: the proxy in front of a simulated OpenAI, in one process.

use std::process::ExitCode;

use towergate::OpenAiProvider;
use towergate_sim::{Sim, SimServer};

use crate::{cli::DemoArgs, logging, serve, settings::Error};

pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode, Error> {
    logging::init(&args.server.log, args.server.log_format)?;
    // A real socket, so that what is tried is what runs in earnest.
    let sim = SimServer::start(Sim::new()).await?;
    let provider = OpenAiProvider::from_env().await?.name("simulated-openai").base_url(&sim.base_url());
    let provider = provider.api_key("demo-key")?;
    let code = serve::start(&args.server, provider, |address| {
        println!(
            "
In front of a simulated OpenAI: no key, no cost, always the same answers. Try it:

  curl http://{address}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\": \"gpt-4o\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'

  python3 -c 'from openai import OpenAI; print(OpenAI(base_url=\"http://{address}/v1\", api_key=\"any\").chat.completions.create(model=\"gpt-4o\", messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}]).choices[0].message.content)'

A bad day can be asked for by the model's name, such as \"fault:status=503;times=2\".
Ctrl-C ends it."
        );
    })
    .await;
    sim.shutdown().await;
    code
}
