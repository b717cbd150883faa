//! The calls of one watch: list, watch, reopen, and list again when the server says so or falls silent.

use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, StreamExt};
use kube::api::{ListParams, WatchParams};
use kube::core::{DeserializeGuard, Request, WatchEvent};
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use super::view::View;
use super::{WatchConfig, wire};
use crate::client::describe;

/// A watch that the server does not end in time is dead after this.
const IDLE_MARGIN: Duration = Duration::from_secs(5);
/// The answer to a watch begins at once, also when there is nothing to report.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A watch that lasted this long worked: the next pause is a short one.
const HEALTHY: Duration = Duration::from_secs(10);
const PAGE: u32 = 500;

pub(super) struct Session<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    client: Client,
    request: Request,
    config: WatchConfig,
    view: View<K>,
    pauses: ExponentialBackoff,
    interruptions: u32,
}

/// How one watch call ended.
enum Ended {
    /// As the server was asked to.
    InTime,
    /// Nothing came, not even the end.
    Silent,
    /// The version is too old, or the cluster's history went backwards.
    Gone,
    /// It is time to list again.
    Resync,
    /// The server refused; the version is still good.
    Refused(Error),
    /// The connection failed; a server restored from a backup looks like this too.
    Failed(String),
}

impl<K> Session<K>
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    pub(super) fn new(client: Client, path: &str, config: WatchConfig, view: View<K>) -> Self {
        Self {
            client,
            request: Request::new(path),
            config,
            view,
            pauses: pauses(),
            interruptions: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut report_all = true;
        loop {
            let listed = timeout(self.config.list_timeout, self.list()).await;
            let version = match listed {
                Ok(Ok((items, version))) => {
                    self.view.replace(items, report_all).await;
                    version
                }
                Ok(Err(error)) => {
                    self.view.meters.restarted("list_failed");
                    self.pause(&describe(&error), retry_after(&error)).await;
                    continue;
                }
                Err(_elapsed) => {
                    self.view.meters.restarted("list_timeout");
                    self.pause("a list took too long", None).await;
                    continue;
                }
            };
            report_all = self.follow(version).await;
        }
    }

    /// Watches from `version` on, call after call, until everything has to be listed again; true when only because it is
    /// time to.
    async fn follow(&mut self, mut version: String) -> bool {
        let resync = Instant::now() + self.config.resync.mul_f64(rand::random_range(0.9..=1.1));
        loop {
            let opened = Instant::now();
            let ended = self.watch(&mut version, resync).await;
            let healthy =
                opened.elapsed() >= HEALTHY.min(self.config.server_timeout) && !matches!(ended, Ended::Silent | Ended::Failed(_));
            if healthy {
                self.recovered();
            }
            match ended {
                Ended::InTime if healthy => {}
                Ended::InTime => self.pause("the server ends watches at once", None).await,
                Ended::Silent => {
                    self.view.meters.restarted("silent");
                    self.interrupted("a watch fell silent");
                }
                Ended::Refused(error) => {
                    self.view.meters.restarted("refused");
                    self.pause(&describe(&error), retry_after(&error)).await;
                }
                Ended::Failed(error) => {
                    self.view.meters.restarted("failed");
                    self.pause(&error, None).await;
                    return false;
                }
                Ended::Gone => {
                    self.view.meters.restarted("gone");
                    self.pause("the version is no longer known to the server", None).await;
                    return false;
                }
                Ended::Resync => {
                    self.view.meters.restarted("resync");
                    return true;
                }
            }
        }
    }

    async fn watch(&mut self, version: &mut String, resync: Instant) -> Ended {
        let events = match timeout(OPEN_TIMEOUT, self.open(version)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return refused(error),
            Err(_elapsed) => return Ended::Failed("a watch did not open in time".to_owned()),
        };
        self.view.confirm();
        let mut events = pin!(events);
        loop {
            let idle = Instant::now() + self.config.server_timeout + IDLE_MARGIN;
            let event = match timeout_at(idle.min(resync), events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return refused(error),
                Ok(None) => return Ended::InTime,
                Err(_elapsed) if Instant::now() >= resync => return Ended::Resync,
                Err(_elapsed) => return Ended::Silent,
            };
            let seen = match &event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    object.meta().resource_version.clone()
                }
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
                WatchEvent::Error(_) => None,
            };
            // Events come in the order of their versions; if not, nothing is known of what was overtaken.
            if seen.as_ref().is_some_and(|seen| older(seen, version)) {
                return Ended::Gone;
            }
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => self.view.apply(object).await,
                WatchEvent::Deleted(object) => self.view.delete(object).await,
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return refused(Error::Api(status)),
            }
            if let Some(seen) = seen {
                *version = seen;
            }
            self.view.confirm();
        }
    }

    fn open(
        &self,
        version: &str,
    ) -> impl Future<Output = Result<impl Stream<Item = Result<WatchEvent<DeserializeGuard<K>>, Error>> + use<K>, Error>> + use<K>
    {
        let seconds = u32::try_from(self.config.server_timeout.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams {
            label_selector: self.config.labels.clone(),
            field_selector: self.config.fields.clone(),
            timeout: Some(seconds.clamp(1, 290)),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = self.request.watch(&params, version).map_err(Error::BuildRequest);
        let client = self.client.clone();
        async move { wire::events(&client, request?).await }
    }

    /// Lists the most recent state, page by page: a cached one could be older than what was already seen, and comes whole.
    async fn list(&self) -> Result<(Vec<DeserializeGuard<K>>, String), Error> {
        let mut params = ListParams {
            label_selector: self.config.labels.clone(),
            field_selector: self.config.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut items = Vec::new();
        loop {
            let request = self.request.list(&params).map_err(Error::BuildRequest)?;
            let page = wire::page::<K>(&self.client, request).await?;
            // Page by page: with what is trimmed a long list would be several times as large.
            items.extend(page.items.into_iter().map(|item| self.view.trimmed(item)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((items, page.metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    async fn pause(&mut self, reason: &str, at_least: Option<Duration>) {
        self.interrupted(reason);
        let pause = self.pauses.next().unwrap_or(LONGEST_PAUSE);
        tokio::time::sleep(pause.max(at_least.unwrap_or_default())).await;
    }

    fn interrupted(&mut self, reason: &str) {
        let kind = &self.view.meters.kind;
        self.interruptions = self.interruptions.saturating_add(1);
        match self.interruptions {
            1 => tracing::info!(kind, reason, "a watch is interrupted, trying again"),
            LASTING => tracing::warn!(kind, reason, "a watch stays interrupted"),
            _ => tracing::debug!(kind, reason, "a watch is interrupted again"),
        }
    }

    fn recovered(&mut self) {
        self.pauses = pauses();
        if self.interruptions > 0 {
            self.interruptions = 0;
            tracing::info!(kind = self.view.meters.kind, "a watch works again");
        }
    }
}

/// Interruptions in a row, ten seconds and more of them, that someone should look at.
const LASTING: u32 = 5;
/// Doubled by the jitter at most. Twice that and a hung list in between are less than the minute within which a view is
/// to be current again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// However long the server asks us to wait.
const LONGEST_RETRY_AFTER: u64 = 30;

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(800))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

fn refused(error: Error) -> Ended {
    match code(&error) {
        Some(410 | 504) => Ended::Gone,
        Some(_) => Ended::Refused(error),
        None => Ended::Failed(describe(&error)),
    }
}

fn code(error: &Error) -> Option<u16> {
    let Error::Api(status) = error else {
        return None;
    };
    Some(status.code)
}

fn retry_after(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    Some(Duration::from_secs(u64::from(seconds).min(LONGEST_RETRY_AFTER)))
}

/// Whether a version lies before another; versions of one kind are integers that grow.
fn older(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}
