//! One vLLM server in a pod of its own: the answers of `fleet::answer` on port 5000, and `PUT /bed/waiting` with a number as
//! body, by which a test sets the length of its queue.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::put;
use http::{StatusCode, header};
use tokio::net::{TcpListener, TcpStream};

use crate::fleet::answer::{Mode, Page, answer};
use crate::fleet::exposition::{Template, View};
use crate::fleet::listener::PORT;
use crate::fleet::settings::Fault;
use crate::fleet::values::Values;

const HEALTHY_WITHIN: Duration = Duration::from_secs(5);

struct Server {
    model: String,
    template: Template,
    started: f64,
    /// Requests waiting; whole ones.
    waiting: AtomicU64,
}

/// The model's name in the metrics: what `--served-model-name` says, in whichever of KAITO's two spellings.
#[must_use]
pub fn served_model(arguments: &[String]) -> String {
    const FLAG: &str = "--served-model-name";
    let mut words = arguments.iter().flat_map(|argument| argument.split_whitespace());
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix(FLAG) {
            return value.strip_prefix('=').or_else(|| words.next()).unwrap_or("model").to_owned();
        }
    }
    "model".to_owned()
}

/// What KAITO looks for in the log once the pod is Ready.
#[must_use]
pub fn benchmark_lines() -> [String; 2] {
    let settings = r#"{"duration_sec":60,"input_tokens":2048,"output_tokens":256,"max_concurrency":215}"#;
    let result = r#"{"vllm_total_tpm":61234.56,"ttft_avg_ms":812.4,"tpot_avg_ms":23.1}"#;
    [
        format!("KAITO_BENCHMARK_CONFIG start {settings}"),
        format!("KAITO_BENCHMARK_RESULT start {result}"),
    ]
}

/// Whether the server in this pod answers.
pub async fn is_healthy() -> bool {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT));
    matches!(tokio::time::timeout(HEALTHY_WITHIN, connected).await, Ok(Ok(_)))
}

/// Serves until SIGTERM.
///
/// # Errors
/// The port is taken.
pub async fn serve(model: &str) -> anyhow::Result<()> {
    let server = Arc::new(Server {
        model: model.to_owned(),
        template: Template::recorded(),
        started: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64(),
        waiting: AtomicU64::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await.context("port 5000")?;
    let router = Router::new()
        .route("/bed/waiting", put(set_waiting))
        .fallback(metrics)
        .with_state(server);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}

async fn set_waiting(State(server): State<Arc<Server>>, body: String) -> StatusCode {
    let Ok(waiting) = body.trim().parse() else {
        return StatusCode::BAD_REQUEST;
    };
    server.waiting.store(waiting, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

async fn metrics(State(server): State<Arc<Server>>, request: Request) -> Response {
    let mut values = Values::new(server.started, |latency| server.template.ladder(latency));
    values.waiting = server.waiting.load(Ordering::Relaxed) as f64;
    let none = BTreeMap::new();
    let page = Page {
        mode: Mode::Vllm,
        fault: &Fault::None,
        template: &server.template,
        view: View {
            model: &server.model,
            values: &values,
            samples: &none,
            missing: &[],
        },
        reversed: false,
    };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let answer = answer(page, request.method().as_str(), target);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(kind) = answer.content_type {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_served_name_is_found_in_a_shell_s_command_and_as_arguments_of_their_own() {
        let spellings: [&[&str]; 3] = [
            &["/workspace/vllm/inference_api.py --model=m --served-model-name=phi-4-mini --port=5000"],
            &["inference_api.py", "--served-model-name", "phi-4-mini"],
            &["inference_api.py", "--served-model-name=phi-4-mini"],
        ];
        for words in spellings {
            let arguments: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(served_model(&arguments), "phi-4-mini", "{words:?}");
        }
    }
}
