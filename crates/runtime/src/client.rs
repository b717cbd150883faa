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
/// etcd's default request limit is 1.5 MiB; a page of 500 large objects stays far below this.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// Clients for the same cluster and the same user.
#[derive(Clone)]
pub struct Clients {
    /// For watches: responses may last. Callers bound every use themselves.
    pub watch: Client,
    /// For everything else: a call ends within [`CALL_DEADLINE`]; 429, 503 and 504 are retried within it.
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
    let service = ServiceBuilder::new()
        .timeout(CALL_DEADLINE)
        .retry(RetryPolicy::default())
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
