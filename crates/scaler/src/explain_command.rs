//! `scaler explain`: asks a running scaler, by its loopback listener, why an InferenceSet did (not) scale, and prints it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keda_kaito_core::explain::{Explanation, Overview, svg, text};
use tokio::net::TcpStream;

/// Over everything.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most that is read.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// What to ask and how to print it.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// InferenceSet to explain, as NAMESPACE/NAME; all of them, a line each, when left out
    #[arg(value_name = "NAMESPACE/NAME", value_parser = name)]
    pub inference_set: Option<String>,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Where the scaler's --explain-address is
    #[arg(long, env = "EXPLAIN_ADDRESS", default_value = "127.0.0.1:10453")]
    pub address: SocketAddr,
}

/// How an explanation is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For a terminal
    Text,
    /// As the listener gives it; docs/explain.md has the fields
    Json,
    /// A picture of metrics and replicas over time
    Svg,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no scaler listens on {address}; is it started with --explain-address?")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("the scaler on {0} did not answer within {limit} s", limit = DEADLINE.as_secs())]
    Deadline(SocketAddr),
    #[error("the connection to the scaler failed")]
    Exchange(#[from] hyper::Error),
    #[error("the scaler says: {0}")]
    Refused(String),
    #[error("the scaler's answer cannot be read: {0}")]
    Body(String),
    #[error("there is no picture of all InferenceSets; name one")]
    NoPicture,
    #[error("failed to print")]
    Print(#[from] io::Error),
}

/// Prints the explanation on `writer`. Exit code 1: there is none, and `errors` has the reason.
pub fn run(args: &ExplainArgs, mut writer: impl Write, mut errors: impl Write) -> ExitCode {
    match explain(args, &mut writer) {
        Ok(()) => ExitCode::SUCCESS,
        // `head` on the other end has seen enough.
        Err(Error::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            // Nothing is left to tell if this fails too.
            writeln!(errors, "{error}{cause}").ok();
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &ExplainArgs, writer: &mut impl Write) -> Result<(), Error> {
    let path = match (&args.inference_set, args.output) {
        (Some(name), _) => format!("/explain/{name}"),
        (None, Output::Svg) => return Err(Error::NoPicture),
        (None, _) => "/explain".to_owned(),
    };
    let body = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let asked = tokio::time::timeout(DEADLINE, ask(args.address, &path));
            asked.await.map_err(|_elapsed| Error::Deadline(args.address))?
        })?;
    let bad = |error: serde_json::Error| Error::Body(error.to_string());
    let told = match (args.output, &args.inference_set) {
        (Output::Json, _) => {
            let value: serde_json::Value = serde_json::from_slice(&body).map_err(bad)?;
            format!("{value:#}\n")
        }
        (Output::Text, None) => text::table(&serde_json::from_slice::<Overview>(&body).map_err(bad)?),
        (Output::Text, Some(_)) => text::page(&serde_json::from_slice::<Explanation>(&body).map_err(bad)?),
        (Output::Svg, _) => svg::picture(&serde_json::from_slice::<Explanation>(&body).map_err(bad)?),
    };
    writer.write_all(told.as_bytes())?;
    Ok(writer.flush()?)
}

async fn ask(address: SocketAddr, path: &str) -> Result<Bytes, Error> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| Error::Connect { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path)
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Body(error.to_string()))?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| Error::Body(error.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(Error::Refused(String::from_utf8_lossy(&body).trim().to_owned()))
    };
    let (answer, _ended) = tokio::join!(exchange, connection);
    answer
}

fn name(text: &str) -> Result<String, String> {
    match crate::explain::key(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("is not NAMESPACE/NAME".to_owned()),
    }
}
