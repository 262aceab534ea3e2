//! The command line. A secret is never a flag: other users of the machine can read those.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{
    Args, CommandFactory as _, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue},
};

use towergate::{
    config::{parse_bytes, parse_duration},
    layers::guard::{HostPattern, InvalidHost, InvalidOrigin, OriginPattern},
    server::MIN_HEADER_BYTES,
};

const EXAMPLES: &str = "\
Examples:
  towergate demo                                  try it, without any key
  OPENAI_API_KEY=sk-... towergate serve           in front of OpenAI
  towergate serve --base-url http://localhost:11434/v1    in front of Ollama
  towergate serve --config towergate.yaml         in front of several providers
  towergate check towergate.yaml                  find everything that is wrong with a file
  towergate explain --config towergate.yaml --model gpt-4o    who would be asked, and why
  towergate import-litellm config.yaml > towergate.yaml       coming from LiteLLM
  curl http://127.0.0.1:8080/v1/models            what a client sees

Environment:
  OPENAI_API_KEY, OPENAI_API_KEY_FILE   the provider's key (the file may be a FIFO)
  OPENAI_BASE_URL                       the provider, https://api.openai.com/v1 unless set
  OPENAI_ORG_ID, OPENAI_PROJECT_ID      sent along with the key
  OPENAI_TIMEOUT, OPENAI_MAX_RETRIES    seconds; retries after the first attempt (3)
  TOWERGATE_CLIENT_KEYS                 keys that clients must present, comma-separated
Every flag has a variable too; the flag wins.";

/// An inference gateway for the OpenAI API.
#[derive(Debug, Parser)]
#[command(name = "towergate", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// `towergate` alone is `towergate serve`.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the gateway in front of a provider (what is done without a command, too)
    #[command(after_help = EXAMPLES)]
    Serve(ServeArgs),
    /// Serve it in front of a simulated OpenAI inside this process: no key needed
    Demo(DemoArgs),
    /// Ask each provider for its models, which costs no tokens, and say how it is
    Health(HealthArgs),
    /// Find everything that is wrong with a configuration file
    Check(CheckArgs),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print LiteLLM's config.yaml as a file of ours, and say what has no counterpart
    ImportLitellm(ImportArgs),
    /// Say who would be asked for a model, in which order, and the value of every setting with where it was said
    Explain(ExplainArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) client_auth: ClientAuthArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClientAuthArgs {
    /// A file of client keys, one a line: `key`, `name=key` or `name=sha256:hex`; `#` begins a comment
    #[arg(long, env = "TOWERGATE_CLIENT_KEYS_FILE", value_name = "FILE")]
    pub(crate) client_keys_file: Option<PathBuf>,
    /// Whether clients must present a key [default: where there are client keys]
    #[arg(long, env = "TOWERGATE_CLIENT_AUTH", value_enum)]
    pub(crate) client_auth: Option<ClientAuth>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// LiteLLM's config.yaml
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    /// The configuration file
    #[arg(long, env = "TOWERGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The model that a client asks for; without it, all settings
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// A header of the request, `name: value`; x-towergate-provider and x-towergate-fallback-models decide
    #[arg(long, value_name = "HEADER", requires = "model")]
    pub(crate) header: Vec<String>,
    /// What serve would be started with
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// A configuration file, for several providers
    #[arg(long, env = "TOWERGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HealthArgs {
    /// A gateway that runs, by the address that serves its /health: it is asked how its providers are, instead of
    /// asking them
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "base_url"])]
    pub(crate) gateway: Option<String>,
    /// A configuration file, for several providers
    #[arg(long, env = "TOWERGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpstreamArgs {
    /// The provider's base URL, with its path prefix [default: OPENAI_BASE_URL, else
    /// https://api.openai.com/v1]
    #[arg(long, env = "TOWERGATE_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Send the caller's own key upstream instead of the gateway's
    #[arg(long, env = "TOWERGATE_PASS_THROUGH_AUTH")]
    pub(crate) pass_through_auth: bool,
    /// Speak HTTP/2 with the provider
    #[arg(long, env = "TOWERGATE_UPSTREAM_HTTP2")]
    pub(crate) upstream_http2: bool,
    /// How long a WebSocket may be silent in both directions [default: 600s]
    #[arg(long, env = "TOWERGATE_TUNNEL_IDLE", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) tunnel_idle: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Where to listen; port 0 takes a free one, and the address is printed [default: 127.0.0.1:8080]
    #[arg(long, env = "TOWERGATE_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// A listener of its own for /healthz, /readyz, /health and /metrics
    #[arg(long, env = "TOWERGATE_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Speak TLS: a PEM file with the certificate chain; needs --tls-key. Both files are followed
    #[arg(long, env = "TOWERGATE_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's key
    #[arg(long, env = "TOWERGATE_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A PEM file with authorities: only clients with a certificate of one of them come in
    #[arg(long, env = "TOWERGATE_TLS_CLIENT_CA", value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client_auth: ClientAuthArgs,
    /// Connections at a time; those of clients that were never let in make way for others [default: half of what
    /// the limit of file descriptors leaves, and 10000 at most]
    #[arg(long, env = "TOWERGATE_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,
    /// How long a connection may go without a request that is let in [default: 10s]
    #[arg(long, env = "TOWERGATE_AUTHENTICATION_TIMEOUT", value_name = "TIME", value_parser = some_time)]
    pub(crate) authentication_timeout: Option<Duration>,
    /// The largest head of a request, 8KiB or more [default: 64KiB]
    #[arg(long, env = "TOWERGATE_MAX_HEADER_BYTES", value_name = "SIZE", value_parser = head_size)]
    pub(crate) max_header_bytes: Option<usize>,
    /// The most fields in the head of a request [default: 256]
    #[arg(long, env = "TOWERGATE_MAX_HEADERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_headers: Option<u32>,
    /// Requests at a time on one HTTP/2 connection [default: 256]
    #[arg(long, env = "TOWERGATE_MAX_STREAMS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_streams: Option<u32>,
    /// Hosts by which clients without keys may call, beside those that the listener accepts of itself, comma-separated:
    /// gateway.example.com, *.example.com, 10.0.0.5, or any
    #[arg(long, env = "TOWERGATE_ALLOWED_HOSTS", value_name = "HOSTS", value_delimiter = ',', value_parser = host)]
    pub(crate) allowed_hosts: Option<Vec<HostPattern>>,
    /// Web pages that may call, and open WebSockets, by their origin, comma-separated: https://app.example.com,
    /// http://localhost:*, or any
    #[arg(long, env = "TOWERGATE_ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub(crate) allowed_origins: Option<Vec<OriginPattern>>,
    /// Web pages that may call and read what comes back (CORS), by their origin, comma-separated; or any
    #[arg(long, env = "TOWERGATE_CORS", value_name = "ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub(crate) cors: Option<Vec<OriginPattern>>,
    /// The largest JSON body that is accepted [default: 64MiB]
    #[arg(long, env = "TOWERGATE_MAX_BODY", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_body: Option<usize>,
    /// The largest streamed upload that is accepted [default: 1GiB]
    #[arg(long, env = "TOWERGATE_MAX_UPLOAD", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_upload: Option<usize>,
    /// Requests under way at a time; more are answered with 503 at once [default: no limit]
    #[arg(long, env = "TOWERGATE_MAX_IN_FLIGHT", value_name = "N")]
    pub(crate) max_in_flight: Option<u32>,
    /// What the bodies of all requests under way may hold in memory [default: 1GiB]
    #[arg(long, env = "TOWERGATE_MEMORY", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<usize>,
    /// What those of one client may, by the name of its key [default: a quarter of it, and no less than --max-body]
    #[arg(long, env = "TOWERGATE_MEMORY_PER_CLIENT", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory_per_client: Option<usize>,
    /// How long what is under way may go on after SIGTERM [default: 30s]
    #[arg(long, env = "TOWERGATE_DRAIN_TIMEOUT", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How long connections are still accepted after SIGTERM, with /readyz already off [default: 0s]
    #[arg(long, env = "TOWERGATE_DRAIN_DELAY", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) drain_delay: Option<Duration>,
    /// The total timeout of a request [default: 600s]
    #[arg(long, env = "TOWERGATE_TOTAL_TIMEOUT", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) total_timeout: Option<Duration>,
    /// After how long a silence of the provider a stream's client gets the comment `: keep-alive`; 0s for never
    /// [default: 15s]
    #[arg(long, env = "TOWERGATE_STREAM_KEEP_ALIVE", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) stream_keep_alive: Option<Duration>,
    /// How log lines look [default: text]
    #[arg(long, env = "TOWERGATE_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: a level, or module=level pairs, as RUST_LOG has them elsewhere; that variable is not read
    /// [default: info]
    #[arg(long, env = "TOWERGATE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientAuth {
    /// They must: without any key it does not start
    Required,
    /// Everybody may come in
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A time that is not zero.
fn some_time(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .and_then(|time| if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(time) })
}

/// The size of a request's head.
fn head_size(text: &str) -> Result<usize, String> {
    parse_bytes(text).and_then(|bytes| {
        if bytes < MIN_HEADER_BYTES { Err("must be 8KiB or more".to_owned()) } else { Ok(bytes) }
    })
}

fn host(text: &str) -> Result<HostPattern, InvalidHost> {
    text.trim().parse()
}

fn origin(text: &str) -> Result<OriginPattern, InvalidOrigin> {
    text.trim().parse()
}

/// Says what is wrong with the command line. clap names the flag alone, also where the value came from its variable.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    // Where not even this can be written, nobody reads it.
    let _ = error.print();
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && let Some(variable) = variable_of(argument.split_whitespace().next().unwrap_or_default())
    {
        eprintln!("\nThe value is that of the variable {variable}.");
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The variable that a flag's value came from; `None` where the flag itself was given.
fn variable_of(flag: &str) -> Option<String> {
    let is_given = |given: OsString| {
        given.to_str().is_some_and(|given| given.split_once('=').map_or(given, |(name, _)| name) == flag)
    };
    if std::env::args_os().any(is_given) {
        return None;
    }
    let cli = Cli::command();
    let commands = std::iter::once(&cli).chain(cli.get_subcommands());
    let variable = commands
        .flat_map(clap::Command::get_arguments)
        .find(|argument| argument.get_long().is_some_and(|name| flag.strip_prefix("--") == Some(name)))?
        .get_env()?;
    std::env::var_os(variable).is_some().then(|| variable.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
