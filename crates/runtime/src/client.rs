//! Kubernetes clients: one for long watches, one whose calls all end within a deadline.
//! It finds the cluster; it sends no request itself.

use std::error::Error as _;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::error::ConfigError;

/// The longest any call of [`Clients::api`] takes, retries and body included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Far above any answer to a single call; a bound on memory.
const MAX_BODY: usize = 64 * 1024 * 1024;
const RETRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Clients for the same cluster and the same user.
#[derive(Clone)]
pub struct Clients {
    /// For watches: responses may last. Callers bound every use themselves.
    pub watch: Client,
    /// For everything else: a call ends within [`CALL_DEADLINE`]; 429, 503 and 504 are retried within it, so a create can
    /// meet the object it made itself.
    pub api: Client,
}

/// Finds the cluster through `KUBECONFIG`, `~/.kube/config` or the pod's service account. Sends nothing, so an API
/// server that is down does not matter here. Needs a tokio runtime.
///
/// # Errors
/// No usable configuration, or one the TLS library refuses.
pub async fn connect(user_agent: &str) -> Result<Clients, ConfigError> {
    let config = Config::infer().await.map_err(|error| {
        ConfigError::caused_by(
            "no usable Kubernetes configuration: neither KUBECONFIG (or ~/.kube/config) nor a service account",
            error,
        )
    })?;
    with_config(config, user_agent)
}

fn with_config(mut config: Config, user_agent: &str) -> Result<Clients, ConfigError> {
    let agent = user_agent
        .parse()
        .map_err(|error| ConfigError::caused_by(format!("the user agent {user_agent:?} is not a header value"), error))?;
    config.headers.push((http::header::USER_AGENT, agent));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(CALL_DEADLINE);
    config.default_retry = false;
    let watch = build(config.clone())?;

    config.read_timeout = Some(CALL_DEADLINE);
    config.reset_reader_on_write = true;
    let api = bounded(build(config)?);
    Ok(Clients { watch, api })
}

fn build(config: Config) -> Result<Client, ConfigError> {
    ClientBuilder::try_from(config)
        .map(ClientBuilder::build)
        .map_err(|error| ConfigError::caused_by("the Kubernetes configuration cannot be used", error))
}

/// Puts every call of `client` under [`CALL_DEADLINE`] with retries inside. Not for watches: bodies are read whole.
#[must_use]
pub fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let retry = RetryPolicy::new(FIRST_PAUSE, LONGEST_PAUSE, RETRIES, true).unwrap_or_default();
    let service = ServiceBuilder::new()
        .timeout(CALL_DEADLINE)
        .retry(retry)
        .service_fn(move |request| whole(client.clone(), request));
    Client::new(service, namespace)
}

/// An error of a call in one line, with its causes and without kube's debug dump of the answer.
#[must_use]
pub fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} {}: {}", status.code, status.reason, status.message);
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}

async fn whole(client: Client, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = client.send(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, Config};
    use serde_json::json;
    use tokio::time::Instant;

    use super::{CALL_DEADLINE, bounded, describe, with_config};
    use crate::fake_api::{Answer, Scenario};

    const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

    #[tokio::test(start_paused = true)]
    async fn call_that_is_never_answered_ends_at_the_deadline() {
        let (client, server) = Scenario::new("hung").step("get", Method::GET, MAP, Answer::hang()).start();
        let maps: Api<ConfigMap> = Api::default_namespaced(bounded(client));
        let started = Instant::now();
        assert!(maps.get("a").await.is_err());
        assert_eq!(started.elapsed(), CALL_DEADLINE);
        server.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn busy_server_is_asked_again_within_the_deadline() {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
        let (client, server) = Scenario::new("busy")
            .step("busy", Method::GET, MAP, Answer::status(429, "TooManyRequests"))
            .step("down", Method::GET, MAP, Answer::status(503, "ServiceUnavailable"))
            .step("up", Method::GET, MAP, Answer::json(200, &map))
            .start();
        let maps: Api<ConfigMap> = Api::default_namespaced(bounded(client));
        assert_eq!(maps.get("a").await.unwrap().metadata.name.as_deref(), Some("a"));
        server.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_stays_busy_is_asked_a_few_times_only() {
        let mut scenario = Scenario::new("busy");
        for _ in 0..4 {
            scenario = scenario.step("busy", Method::GET, MAP, Answer::status(503, "ServiceUnavailable"));
        }
        let (client, server) = scenario.start();
        let maps: Api<ConfigMap> = Api::default_namespaced(bounded(client));
        let error = maps.get("a").await.unwrap_err();
        assert_eq!(describe(&error), "503 ServiceUnavailable: fake ServiceUnavailable");
        server.finish().await;
    }

    #[tokio::test]
    async fn unreachable_server_does_not_matter_for_connecting_and_is_described_with_its_cause() {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let clients = with_config(config, "till/1").unwrap();
        let maps: Api<ConfigMap> = Api::default_namespaced(clients.api);
        let described = describe(&maps.get("a").await.unwrap_err());
        assert!(described.to_lowercase().contains("refused"), "{described}");
    }

    #[tokio::test]
    async fn user_agent_that_is_no_header_value_is_refused() {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let error = with_config(config, "till\n").err().unwrap();
        assert!(error.to_string().contains("\"till\\n\""), "{error}");
    }
}
