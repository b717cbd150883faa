//! Typed calls of the fleet's control API.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fleet::api::{AddressOrder, PodReport, Refusal, Selector, SetReport};
use crate::fleet::nodes::Labels;
use crate::fleet::settings::Settings;
use crate::http_get::{self, Reply};

/// Where the fleet takes orders in a test bed.
pub const DEFAULT_ADDRESS: &str = "10.244.255.1:9900";

/// A fleet that runs somewhere. Every call fails with the fleet's own words if it refuses.
#[derive(Clone, Copy, Debug)]
pub struct FleetClient {
    address: SocketAddr,
}

impl FleetClient {
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The fleet of the test bed we run in: `TESTBED_FLEET` (an `http://` URL), else its usual address.
    ///
    /// # Errors
    /// When the variable is no such URL.
    pub fn from_env() -> anyhow::Result<Self> {
        let url = std::env::var("TESTBED_FLEET").unwrap_or_else(|_| format!("http://{DEFAULT_ADDRESS}"));
        let address = url
            .strip_prefix("http://")
            .and_then(|address| address.trim_end_matches('/').parse().ok())
            .with_context(|| format!("TESTBED_FLEET {url:?} is not http://address:port"))?;
        Ok(Self::new(address))
    }

    /// Whether it is up.
    ///
    /// # Errors
    /// When it is not.
    pub async fn healthy(&self) -> anyhow::Result<()> {
        self.call(Method::GET, "/healthz", None::<&()>).await.map(|_| ())
    }

    /// # Errors
    /// When the fleet refuses or does not answer; so for every call below.
    pub async fn pods(&self) -> anyhow::Result<Vec<PodReport>> {
        self.read("/pods").await
    }

    /// # Errors
    /// As above.
    pub async fn pods_of(&self, namespace: &str, inferenceset: &str) -> anyhow::Result<Vec<PodReport>> {
        self.read(&format!("/pods?namespace={namespace}&inferenceset={inferenceset}"))
            .await
    }

    /// # Errors
    /// As above; also when there is no such pod.
    pub async fn pod(&self, namespace: &str, name: &str) -> anyhow::Result<PodReport> {
        self.read(&format!("/pods/{namespace}/{name}")).await
    }

    /// # Errors
    /// As above.
    pub async fn inferencesets(&self) -> anyhow::Result<Vec<SetReport>> {
        self.read("/inferencesets").await
    }

    /// Changes what an InferenceSet's pods do, present and future; `Settings` or any JSON object, whose `null`s take away.
    ///
    /// # Errors
    /// As above.
    pub async fn set(&self, namespace: &str, inferenceset: &str, settings: impl Serialize) -> anyhow::Result<Settings> {
        let path = format!("/inferencesets/{namespace}/{inferenceset}");
        parse(&self.call(Method::PUT, &path, Some(&settings)).await?)
    }

    /// Changes what one pod does.
    ///
    /// # Errors
    /// As above.
    pub async fn set_pod(&self, namespace: &str, name: &str, settings: impl Serialize) -> anyhow::Result<Settings> {
        let path = format!("/pods/{namespace}/{name}");
        parse(&self.call(Method::PUT, &path, Some(&settings)).await?)
    }

    /// Requests per second for an InferenceSet.
    ///
    /// # Errors
    /// As above.
    pub async fn rate(&self, namespace: &str, inferenceset: &str, per_second: f64) -> anyhow::Result<()> {
        let rate = serde_json::json!({"rate": per_second});
        self.set(namespace, inferenceset, rate).await.map(|_| ())
    }

    /// Ends the pod's container and starts another.
    ///
    /// # Errors
    /// As above.
    pub async fn restart(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let path = format!("/pods/{namespace}/{name}/restart");
        self.call(Method::POST, &path, None::<&()>).await.map(|_| ())
    }

    /// The next pod of this InferenceSet gets this address, whoever had it before.
    ///
    /// # Errors
    /// As above.
    pub async fn order_address(&self, address: Ipv4Addr, namespace: &str, inferenceset: &str) -> anyhow::Result<()> {
        let order = AddressOrder {
            address,
            namespace: Some(namespace.to_owned()),
            inferenceset: Some(inferenceset.to_owned()),
        };
        self.call(Method::POST, "/addresses", Some(&order)).await.map(|_| ())
    }

    /// Some node carries these labels when this returns.
    ///
    /// # Errors
    /// As above.
    pub async fn cover(&self, labels: Labels) -> anyhow::Result<()> {
        self.call(Method::POST, "/selectors", Some(&Selector { labels }))
            .await
            .map(|_| ())
    }

    /// Undoes every choice.
    ///
    /// # Errors
    /// As above.
    pub async fn reset(&self) -> anyhow::Result<()> {
        self.call(Method::POST, "/reset", None::<&()>).await.map(|_| ())
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        parse(&self.call(Method::GET, path, None::<&()>).await?)
    }

    async fn call<T: Serialize + ?Sized>(&self, method: Method, path: &str, body: Option<&T>) -> anyhow::Result<Reply> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let reply = http_get::send(self.address, method.clone(), path, body).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let said = serde_json::from_slice::<Refusal>(&reply.body).map_or_else(|_| reply.text(), |refusal| refusal.error);
        bail!("{method} {path}: {} {said}", reply.status);
    }
}

fn parse<T: DeserializeOwned>(reply: &Reply) -> anyhow::Result<T> {
    let value: Value = serde_json::from_slice(&reply.body)?;
    serde_json::from_value(value).context("the fleet's answer has another shape")
}
