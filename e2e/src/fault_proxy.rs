//! A reverse proxy in front of the API server that misbehaves on demand: TLS on both sides, a kubeconfig per program
//! under test, faults injected and withdrawn while they run, every call written down. It invents no answer it was not
//! told to, and judges nothing.

mod book;
mod certificate;
mod events;
mod forward;
mod request;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use book::Book;
pub use book::{Answer, Fault, Rule, Then, WatchFault};
pub use request::{Request, Scope, Verb};

/// One request that came through, and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub request: Request,
    /// The API server's answer; absent while there is none, and when it never saw the request.
    pub status: Option<u16>,
    /// What was done to it.
    pub fault: Option<&'static str>,
}

/// The running proxy; it ends when dropped, and with it every connection.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: String,
    directory: PathBuf,
    _stop: tokio_util::sync::DropGuard,
}

/// What every connection sees.
struct Shared {
    upstream: Client,
    book: Mutex<Book>,
    /// Moves with every change of the book.
    version: watch::Sender<u64>,
    /// By the caller's name: as whom the API server sees it.
    users: Mutex<BTreeMap<String, String>>,
    calls: Mutex<Vec<Call>>,
}

/// An injected fault; withdrawn when dropped.
#[derive(Debug)]
pub struct Injected {
    shared: Arc<Shared>,
    id: u64,
}

impl FaultProxy {
    /// A proxy in front of the cluster `KUBECONFIG` names, with that file's rights. Kubeconfigs for callers go into
    /// `directory`.
    ///
    /// # Errors
    /// When there is no usable configuration, or no port is to be had.
    pub async fn start(directory: &Path) -> Result<Self> {
        let mut config = Config::infer().await.context("reading KUBECONFIG")?;
        // A proxy that tries again by itself would hide what the caller does.
        config.default_retry = false;
        config.read_timeout = None;
        config.write_timeout = None;
        Self::before(ClientBuilder::try_from(config)?.build(), directory).await
    }

    /// A proxy in front of whatever `upstream` reaches.
    ///
    /// # Errors
    /// When no port or certificate is to be had.
    pub async fn before(upstream: Client, directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("binding the fault proxy")?;
        let address = listener.local_addr()?;
        let made = certificate::make(address.ip())?;
        let shared = Arc::new(Shared {
            upstream,
            book: Mutex::default(),
            version: watch::Sender::new(0),
            users: Mutex::default(),
            calls: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve::serve(
            Arc::clone(&shared),
            listener,
            made.acceptor,
            stop.clone(),
        )));
        Ok(Self {
            shared,
            address,
            authority: made.authority,
            directory: directory.to_owned(),
            _stop: stop.drop_guard(),
        })
    }

    /// A kubeconfig for a program that will be known as `caller`. The API server sees it as `user`, whom RBAC may refuse,
    /// or with the proxy's own rights.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, caller: &str, user: Option<&str>) -> Result<PathBuf> {
        let mut users = lock(&self.shared.users);
        match user {
            Some(user) => users.insert(caller.to_owned(), user.to_owned()),
            None => users.remove(caller),
        };
        drop(users);
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority-data": self.authority,
            }}],
            // The token only names the caller; it opens nothing.
            "users": [{"name": caller, "user": {"token": caller}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": caller}}],
            "current-context": "proxy",
        });
        let file = self.directory.join(format!("{caller}.kubeconfig"));
        fs::write(&file, serde_json::to_vec_pretty(&config)?).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }

    /// Puts a fault into force, also for watches that are open already, until it is dropped or used up.
    #[must_use = "a fault ends when it is dropped"]
    pub fn inject(&self, rule: Rule) -> Injected {
        let id = lock(&self.shared.book).add(rule);
        self.shared.version.send_modify(|version| *version += 1);
        Injected {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// Every call since `since`, in the order in which they came.
    #[must_use]
    pub fn calls(&self, since: Instant) -> Vec<Call> {
        let calls = lock(&self.shared.calls);
        calls.iter().filter(|call| call.at >= since).cloned().collect()
    }

    /// Calls of `scope` per second, from `since` until now.
    #[must_use]
    pub fn rate(&self, scope: &Scope, since: Instant) -> f64 {
        let calls = self.calls(since);
        let count = calls.iter().filter(|call| scope.covers(&call.request)).count();
        let seconds = since.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        u32::try_from(count).map_or(f64::INFINITY, f64::from) / seconds
    }
}

impl Injected {
    /// How often it has struck.
    #[must_use]
    pub fn hits(&self) -> u32 {
        lock(&self.shared.book).hits(self.id)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        lock(&self.shared.book).remove(self.id);
        self.shared.version.send_modify(|version| *version += 1);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("book", &self.book).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
