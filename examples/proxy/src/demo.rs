//! `towergate demo`: the proxy in front of a simulated OpenAI, in one process.

use std::process::ExitCode;

use clap::ArgMatches;
use towergate::{Gateway, OpenAiProvider};
use towergate_sim::{Sim, SimServer};

use crate::{
    cli::DemoArgs,
    client_keys::GivenKeys,
    logging, out, serve,
    settings::{self, Error},
};

pub(crate) async fn run(args: DemoArgs, matches: &ArgMatches) -> Result<ExitCode, Error> {
    let plan = settings::plan(&args.server, matches, None);
    logging::init(&plan.log.value, plan.log_format.value)?;
    // A real socket, so that what is tried is what runs in earnest.
    let sim = SimServer::start(Sim::new()).await?;
    let provider = OpenAiProvider::from_env().await?.name("simulated-openai").base_url(&sim.base_url());
    let gateway = Gateway::builder().provider(provider.api_key("demo-key")?.build()?);
    let gateway =
        settings::limited(&GivenKeys::read(&args.server.client_auth).await?, &plan, gateway)?.build()?;
    let code = serve::start(&plan, gateway, |url| {
        out::print(format_args!(
            "
In front of a simulated OpenAI: no key, no cost, always the same answers. Try it:

  curl {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\": \"gpt-4o\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'

  python3 -c 'from openai import OpenAI; print(OpenAI(base_url=\"{url}/v1\", api_key=\"any\").chat.completions.create(model=\"gpt-4o\", messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}]).choices[0].message.content)'

A bad day can be asked for by the model's name, such as \"fault:status=503;times=2\".
Ctrl-C ends it.
"
        ))
    })
    .await;
    sim.shutdown().await;
    code
}
