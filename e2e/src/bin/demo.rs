//! `cargo xtask demo` runs this inside a test bed. Everything is in the library's `demo`.
#![expect(clippy::print_stderr, reason = "a command line tool: the terminal is its output")]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match keda_kaito_e2e::demo::run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
