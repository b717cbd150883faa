//! `vllm`: one vLLM server of the test bed's node, in the place of KAITO's image. It is called as the image's `python3`:
//! with KAITO's start-up benchmark as script it only asks the server, otherwise it serves until a signal.
#![expect(
    clippy::print_stdout,
    reason = "KAITO reads the benchmark's result from the container's log"
)]

use std::process::ExitCode;

use keda_kaito_e2e::vllm;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument.ends_with("benchmark_entrypoint.py")) {
        let healthy = vllm::is_healthy().await;
        return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    for line in vllm::benchmark_lines() {
        println!("{line}");
    }
    vllm::serve(&vllm::served_model(&arguments)).await?;
    Ok(ExitCode::SUCCESS)
}
