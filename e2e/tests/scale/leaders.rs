//! Two provisioners and two certmgrs at once: who writes, and how soon the other takes over when the leader dies, stops
//! running, is cut off or is asked to go. That no write comes from anyone but the holder of the Lease is shown by the API
//! server's audit log over the whole time.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keda_kaito_core::names;
use keda_kaito_e2e::audit::{AuditLog, Mark, Request};
use keda_kaito_e2e::bed::{Bed, Look, eventually, never};
use keda_kaito_e2e::cases::documents::annotation;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::times;
use keda_kaito_e2e::programs::{Name, Program};
use rustix::process::Signal;
use serde_json::json;

use super::fleet::{self, Place};
use super::support::{self, HOME, is_of_lease, metric, metric_is, user};
use super::tunnel::Tunnel;

/// 15 s of lease and 2 s until the next look are promised; the rest is for a machine that stands still meanwhile.
const UNASKED: Duration = Duration::from_secs(40);
/// 3 s are promised; who waits for the lease to end takes longer than this.
const ASKED: Duration = Duration::from_secs(12);
/// Longer than the lease.
const PAUSE: Duration = Duration::from_secs(20);
/// Time for a leader that is none any more to do what it must not.
const SUSPICION: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn leaders_of_both_programs_change_as_promised_and_nobody_writes_beside_them() -> Result<()> {
    let (bed, log) = support::bed().await?;
    let places = fleet::create(&bed, "leaders", 20, 0).await?;
    let provisioners = Election::new(&bed, &log, Name::Provisioner, 30)?;
    let certmgrs = Election::new(&bed, &log, Name::Certmgr, 60)?;
    tokio::select! {
        result = async { tokio::try_join!(provisioners.run(), certmgrs.run()) } => drop(result?),
        result = edit_again_and_again(&bed, &places) => result?,
        result = delete_again_and_again(&bed) => result?,
    }
    for place in &places {
        bed.delete(Kind::INFERENCE_SET, &place.namespace, &place.name).await?;
    }
    provisioners.nobody_wrote_beside_the_holder()?;
    certmgrs.nobody_wrote_beside_the_holder()
}

/// Gives provisioners something to write.
async fn edit_again_and_again(bed: &Bed, places: &[Place]) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for (place, number) in places.iter().cycle().zip(0_u32..) {
        ticks.tick().await;
        let patch = json!({"metadata": {"annotations": {annotation("max-replicas"): (number % 50 + 2).to_string()}}});
        bed.patch(Kind::INFERENCE_SET, &place.namespace, &place.name, &patch).await?;
    }
    Ok(())
}

/// Gives certmgrs something to write.
async fn delete_again_and_again(bed: &Bed) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    for secret in [names::CLIENT_SECRET, names::SERVER_SECRET].iter().cycle() {
        ticks.tick().await;
        bed.delete(Kind::SECRET, HOME, secret).await?;
    }
    Ok(())
}

struct Election<'a> {
    bed: &'a Bed,
    log: &'a AuditLog,
    name: Name,
    first_host: u8,
    begun: Mark,
}

impl<'a> Election<'a> {
    fn new(bed: &'a Bed, log: &'a AuditLog, name: Name, first_host: u8) -> Result<Self> {
        Ok(Self {
            bed,
            log,
            name,
            first_host,
            begun: log.mark()?,
        })
    }

    async fn run(&self) -> Result<()> {
        let first = self.candidate(0, None).await?;
        self.leads(&first, Duration::from_secs(10)).await?;
        let tunnel = Tunnel::open().await?;
        let second = self.candidate(1, Some(&tunnel)).await?;
        let at = Timestamp::now();
        first.kill().await?;
        self.taken_over(&second, at, UNASKED, "kill -9").await?;

        let third = self.candidate(2, None).await?;
        let at = Timestamp::now();
        second.signal(Signal::STOP)?;
        self.taken_over(&third, at, UNASKED, "SIGSTOP").await?;
        let paused = Duration::try_from(at.duration_until(Timestamp::now()))?;
        tokio::time::sleep(PAUSE.saturating_sub(paused)).await;
        second.signal(Signal::CONT)?;
        self.knows_that_it_lost(&second).await?;
        let at = Timestamp::now();
        let status = third.stop().await?;
        ensure!(status.success(), "asked to stop, the leader ended with {status}");
        self.taken_over(&second, at, ASKED, "SIGTERM").await?;

        let fourth = self.candidate(3, None).await?;
        let at = Timestamp::now();
        tunnel.cut();
        self.taken_over(&fourth, at, UNASKED, "a cut network").await?;
        tunnel.restore();
        self.knows_that_it_lost(&second).await?;
        let at = Timestamp::now();
        fourth.stop().await?;
        self.taken_over(&second, at, ASKED, "SIGTERM, to one that had been cut off")
            .await?;
        second.stop().await.map(drop)
    }

    async fn candidate(&self, number: u8, tunnel: Option<&Tunnel>) -> Result<Program> {
        let host = self.first_host + number;
        let mut start = support::start(self.bed, self.name, host)?;
        if let Some(tunnel) = tunnel {
            let server = format!("https://{}", tunnel.address);
            start.kubeconfig = Some(support::kubeconfig(self.bed, &user(self.name, host), Some(&server))?);
        }
        if self.name == Name::Provisioner {
            start = start.argument("--require-scaler=false");
        }
        support::run(self.bed, start).await
    }

    fn leader_metric(&self) -> String {
        format!("keda_kaito_{}_leader", self.name.as_str())
    }

    async fn leads(&self, program: &Program, within: Duration) -> Result<()> {
        metric_is(program, &self.leader_metric(), 1.0, within).await
    }

    /// Waits until `program` writes as the leader, and notes how long after `at` it took the Lease.
    async fn taken_over(&self, program: &Program, at: Timestamp, within: Duration, after: &str) -> Result<()> {
        self.leads(program, within).await?;
        let user = user_of(program);
        let what = format!("{user} writes after {after}");
        let taken = eventually(Duration::from_secs(15), &what, async || {
            let requests = self.log.since(self.begun)?;
            let mut own = requests
                .iter()
                .filter(|request| request.user == user && request.received >= at && request.has_written());
            let taken = own
                .clone()
                .find(|request| is_of_lease(request))
                .map(|request| request.received);
            let works = own.any(|request| !is_of_lease(request));
            Ok(match taken {
                Some(taken) if works => Look::Met(taken),
                seen => Look::NotYet(format!("the Lease taken at {seen:?}, nothing written")),
            })
        })
        .await?;
        let took = Duration::try_from(at.duration_until(taken))?;
        times::note(self.bed, &format!("{}: take-over after {after}", self.name.as_str()), took)?;
        ensure!(took < within, "{user} took over {took:?} after {after}");
        Ok(())
    }

    /// A former leader lives on, knows that it leads no more, and does not do otherwise a little later.
    async fn knows_that_it_lost(&self, program: &Program) -> Result<()> {
        metric_is(program, &self.leader_metric(), 0.0, Duration::from_secs(10)).await?;
        never(SUSPICION, "a former leader leads", async || {
            let shown = metric(program, &self.leader_metric()).await?;
            Ok(Look::when(shown != Some(0.0), shown))
        })
        .await
    }

    /// Every write, granted or refused, but for the election itself, came from whoever had last written the Lease.
    fn nobody_wrote_beside_the_holder(&self) -> Result<()> {
        let requests = self.log.since(self.begun)?;
        let candidates: Vec<String> = (0..4).map(|number| user(self.name, self.first_host + number)).collect();
        let mut holder = None;
        let mut writes = 0;
        for request in requests.iter().filter(|request| candidates.contains(&request.user)) {
            if is_of_lease(request) {
                if request.has_written() {
                    holder = Some(&request.user);
                }
            } else if request.is_write() {
                writes += 1;
                ensure!(
                    holder == Some(&request.user),
                    "{holder:?} holds the Lease: {}\n{}",
                    request.summary(),
                    around(&requests, request)
                );
            }
        }
        ensure!(writes > 50, "only {writes} writes: this shows nothing");
        Ok(())
    }
}

/// Who the program is in the audit log.
fn user_of(program: &Program) -> String {
    let kubeconfig = program.start.kubeconfig.as_ref().and_then(|file| file.file_name());
    kubeconfig.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What happened shortly before and after, for a human.
fn around(requests: &[Request], request: &Request) -> String {
    let second = jiff::SignedDuration::from_secs(1);
    let near = requests.iter().filter(|other| {
        other.is_write() && other.received > request.received - second && other.received < request.received + second
    });
    let lines: Vec<String> = near.map(Request::summary).collect();
    lines.join("\n")
}
