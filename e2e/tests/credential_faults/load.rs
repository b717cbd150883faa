//! A client that calls each replica all the time, over a connection that lasts and over new ones, with the credentials KEDA
//! was last told of; and the HPA's own way to the metric. Every failure is kept: none may be.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look};
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::keda;
use keda_kaito_externalscaler::ScaledObjectRef;
use keda_kaito_externalscaler::external_scaler_client::ExternalScalerClient;
use rustls::ClientConfig;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::material::{Material, SERVICE, secrets};

/// Between two calls to one replica.
const PAUSE: Duration = Duration::from_millis(50);
/// Every so many calls one goes over a connection of its own.
const FRESH_EVERY: u64 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Longer than the machine may stand still: a call that fails has been answered so, or its connection ended.
const DEADLINE: Duration = Duration::from_secs(30);

/// Whose address the calls come from: nobody else's.
pub(crate) const CALLER: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 1);

/// What the load has met with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    pub(crate) calls: u64,
    pub(crate) handshakes: u64,
    pub(crate) metrics: u64,
    pub(crate) failures: Vec<String>,
}

type Shared = Arc<Mutex<Met>>;

/// Credentials, and the epoch with which KEDA was told of them.
#[derive(Clone)]
struct Told {
    epoch: String,
    config: Arc<ClientConfig>,
}

/// Calls until it is dropped.
pub(crate) struct Load {
    bed: Bed,
    met: Shared,
    request: ScaledObjectRef,
    credentials: watch::Receiver<Told>,
    callers: BTreeMap<SocketAddr, JoinSet<()>>,
    _others: JoinSet<()>,
}

impl Load {
    /// Follows KEDA's credentials, and asks for the metric of `request`'s ScaledObject as the HPA does.
    pub(crate) async fn start(bed: &Bed, request: ScaledObjectRef, metric: &str) -> Result<Self> {
        let met = Shared::default();
        let (publish, credentials) = watch::channel(current(bed).await?);
        let mut others = JoinSet::new();
        others.spawn(follow(bed.clone(), publish));
        others.spawn(ask(bed.clone(), request.clone(), metric.to_owned(), Arc::clone(&met)));
        Ok(Self {
            bed: bed.clone(),
            met,
            request,
            credentials,
            callers: BTreeMap::new(),
            _others: others,
        })
    }

    /// Calls this replica too, from now on.
    pub(crate) fn add(&mut self, replica: SocketAddr) {
        let mut task = JoinSet::new();
        let (met, request) = (Arc::clone(&self.met), self.request.clone());
        task.spawn(call_on(replica, request, self.credentials.clone(), met));
        self.callers.insert(replica, task);
    }

    /// Calls it no more.
    pub(crate) fn remove(&mut self, replica: SocketAddr) {
        self.callers.remove(&replica);
    }

    /// What was met so far.
    ///
    /// # Errors
    /// Something has failed.
    pub(crate) fn check(&self) -> Result<Met> {
        let met = lock(&self.met).clone();
        let few: Vec<_> = met.failures.iter().take(20).collect();
        ensure!(met.failures.is_empty(), "{} calls failed: {few:#?}", met.failures.len());
        Ok(met)
    }

    /// What calls are made about.
    pub(crate) fn request(&self) -> ScaledObjectRef {
        self.request.clone()
    }

    /// The credentials KEDA should have by now.
    pub(crate) async fn credentials(&self) -> Result<Arc<ClientConfig>> {
        Ok(current(&self.bed).await?.config)
    }

    /// Whether calls are made with what KEDA was last told of; the epochs of both.
    pub(crate) async fn follows(&self) -> Result<Look<(String, String)>> {
        let told = current(&self.bed).await?.epoch;
        let used = self.credentials.borrow().epoch.clone();
        Ok(Look::when(used == told, (used, told)))
    }
}

async fn current(bed: &Bed) -> Result<Told> {
    let told = bed
        .get(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
        .await?;
    let pointer = format!(
        "/metadata/annotations/{}",
        names::CREDENTIAL_EPOCH_ANNOTATION.replace('/', "~1")
    );
    let material = Material::of(&secrets(bed).get(names::CLIENT_SECRET).await?)?;
    Ok(Told {
        epoch: text(&told, &pointer).to_owned(),
        config: Arc::new(material.client()?),
    })
}

/// As KEDA does: the Secret is read when there is a new epoch, not when it changes.
async fn follow(bed: Bed, publish: watch::Sender<Told>) {
    loop {
        if let Ok(told) = current(&bed).await
            && told.epoch != publish.borrow().epoch
        {
            publish.send_replace(told);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn call_on(replica: SocketAddr, request: ScaledObjectRef, mut credentials: watch::Receiver<Told>, met: Shared) {
    let mut lasting = channel(Arc::clone(&credentials.borrow_and_update().config), CALLER, replica);
    for number in 1_u64.. {
        if credentials.has_changed().unwrap_or(false) {
            lasting = channel(Arc::clone(&credentials.borrow_and_update().config), CALLER, replica);
        }
        let fresh = number.is_multiple_of(FRESH_EVERY);
        let channel = if fresh {
            channel(Arc::clone(&credentials.borrow().config), CALLER, replica)
        } else {
            lasting.clone()
        };
        let outcome = call(channel, request.clone()).await;
        let kind = if fresh { "a new" } else { "the lasting" };
        note(
            &met,
            outcome.map_err(|why| format!("{replica} over {kind} connection: {why}")),
            |met| {
                met.calls += 1;
                met.handshakes += u64::from(fresh);
            },
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// One call; the whole of the error, if it fails.
pub(crate) async fn call(channel: Channel, request: ScaledObjectRef) -> Result<(), String> {
    let mut client = ExternalScalerClient::new(channel);
    match tokio::time::timeout(DEADLINE, client.is_active(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(format!("{status:?}")),
        Err(_elapsed) => Err(format!("no answer within {DEADLINE:?}")),
    }
}

/// A channel that dials when it is used, from an address of its own.
pub(crate) fn channel(config: Arc<ClientConfig>, from: Ipv4Addr, to: SocketAddr) -> Channel {
    let connector = TlsConnector::from(config);
    let endpoint = Endpoint::from_static("https://scaler");
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            let name = SERVICE.try_into().map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    }))
}

async fn ask(bed: Bed, request: ScaledObjectRef, metric: String, met: Shared) {
    loop {
        let asked = keda::external_metric(&bed.client, &request.namespace, &request.name, &metric).await;
        note(
            &met,
            asked.map(drop).map_err(|why| format!("the HPA's way: {why:#}")),
            |met| met.metrics += 1,
        );
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn note(met: &Shared, outcome: Result<(), String>, count: impl FnOnce(&mut Met)) {
    let mut met = lock(met);
    count(&mut met);
    if let Err(why) = outcome {
        met.failures.push(format!("{} {why}", Timestamp::now()));
    }
}

fn lock(met: &Shared) -> MutexGuard<'_, Met> {
    met.lock().unwrap_or_else(PoisonError::into_inner)
}
