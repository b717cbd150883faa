//! What can happen to writes, and to every call: cases 14 to 17.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::fault_proxy::{Fault, Rule, Scope, Verb};
use keda_kaito_e2e::programs::Name;
use tokio::time::Instant;

use crate::stage::{self, HEALED, Stage, allow, forbid, secret_is_there};

/// Long enough for every Lease to be given up that cannot be renewed.
const STORM: Duration = Duration::from_secs(13);
/// Calls to an API server that refuses them, by one program. The first are those that were under way.
const CALLS_PER_SECOND: f64 = 5.0;
/// Twice what the conflicts alone would take: KEDA writes these objects too.
const TRIES: usize = 10;
const SETTLING: Duration = Duration::from_secs(5);

#[tokio::test]
async fn writes_that_fail_conflict_or_lose_their_answer_are_made_once() -> Result<()> {
    stage::with("writes", async |stage| {
        conflicts(stage).await?;
        lost_replies(stage).await?;
        storm(stage, "429", Fault::too_many_requests(1), 4).await?;
        storm(stage, "503", Fault::status(503, "ServiceUnavailable"), 6).await?;
        forbidden(stage).await?;
        stage.rests(Duration::from_secs(10)).await
    })
    .await
}

/// Case 15: every second write conflicts, Leases and Secrets included.
async fn conflicts(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    // Counted apart, so that no other write decides which of these conflict.
    let writes = Scope::all().verbs(&Verb::WRITES);
    let scopes = [
        writes.clone().resources(&["scaledobjects"]),
        writes.except(&["scaledobjects"]),
    ];
    let faults = scopes.map(|scope| stage.proxy.inject(Rule::new(scope, Fault::status(409, "Conflict")).every(2)));
    let ours = Scope::all()
        .caller("provisioner")
        .verbs(&Verb::WRITES)
        .resources(&["scaledobjects"]);
    for maximum in 4..7 {
        let begun = Instant::now();
        let took = stage.edit(maximum, HEALED).await?;
        let tries = stage
            .proxy
            .calls(begun)
            .iter()
            .filter(|call| ours.covers(&call.request))
            .count();
        stage.note(&format!("an edit arrives after {tries} tries beside conflicts"), took)?;
        ensure!(tries <= TRIES, "{tries} tries");
    }
    stage.bed.delete(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
    secret_is_there(&stage.bed, HEALED).await?;
    for fault in &faults {
        ensure!(fault.hits() > 0, "no conflict");
    }
    drop((faults, trouble));
    stage.metric().await
}

/// Case 16: applied, and the answer is lost. Neither a second object nor a complaint about one's own comes of it.
async fn lost_replies(stage: &Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let lose = |scope: Scope, times: u32| {
        stage
            .proxy
            .inject(Rule::new(scope.verbs(&Verb::WRITES), Fault::LoseReply).times(times))
    };
    let of = |caller: &str, resource: &str| Scope::all().caller(caller).resources(&[resource]);
    let objects = lose(of("provisioner", "scaledobjects"), 2);
    let leases = [
        lose(of("provisioner", "leases"), 2),
        lose(of("certmgr", "leases"), 2),
        lose(of("scaler", "leases"), 2),
    ];
    let secrets = lose(of("certmgr", "secrets"), 1);
    stage.note("an edit arrives though the answer is lost", stage.edit(7, HEALED).await?)?;
    let set = InferenceSet::new(&stage.namespace, "second").annotated(&[
        ("auto-provision", "true"),
        ("threshold", "10"),
        ("max-replicas", "3"),
    ]);
    set.create(&stage.bed).await?;
    stage.provisioned("second", 3, HEALED).await?;
    stage.bed.delete(Kind::SECRET, "keda", names::CLIENT_SECRET).await?;
    secret_is_there(&stage.bed, HEALED).await?;
    eventually(HEALED, "every answer that was to be lost is", async || {
        let hits = [objects.hits(), secrets.hits(), leases.iter().map(|lost| lost.hits()).sum()];
        Ok(Look::when(hits == [2, 1, 6], hits))
    })
    .await?;
    drop(trouble);
    let events = stage.bed.list(Kind::EVENT, &stage.namespace).await?;
    let conflict = events.iter().find(|event| text(event, "/reason") == "ScaledObjectConflict");
    ensure!(conflict.is_none(), "it took its own object for another's: {conflict:?}");
    stage.metric().await
}

/// Case 14: the API server refuses everything. It is asked seldom, and what KEDA asks is answered meanwhile.
async fn storm(stage: &Stage, name: &str, fault: Fault, maximum: i64) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    let fault = stage.proxy.inject(Rule::new(Scope::all(), fault));
    stage.change(maximum).await?;
    let metric = stage.metric();
    let rates = async {
        tokio::time::sleep(SETTLING).await;
        let since = Instant::now();
        tokio::time::sleep(STORM).await;
        for program in [Name::Provisioner, Name::Scaler, Name::Certmgr] {
            let program = program.as_str();
            let rate = stage.proxy.rate(&Scope::all().caller(program), since);
            stage.note(
                &format!("calls a second of {program} in a storm of {name}"),
                Duration::from_secs_f64(rate),
            )?;
            ensure!(
                rate <= CALLS_PER_SECOND,
                "{program} sends {rate:.1} calls a second in a storm of {name}"
            );
        }
        anyhow::Ok(())
    };
    let (metric, rates) = tokio::join!(metric, rates);
    metric?;
    rates?;
    drop((fault, trouble));
    let ended = Instant::now();
    stage.provisioned("managed", maximum, HEALED).await?;
    stage.note(&format!("an edit arrives after a storm of {name} has ended"), ended.elapsed())?;
    stage.metric().await
}

/// Case 17: every right is taken away, and given back. Nothing ends, and everything is made up for.
async fn forbidden(stage: &mut Stage) -> Result<()> {
    let trouble = stage.chronicle.trouble();
    for name in [Name::Provisioner, Name::Scaler, Name::Certmgr] {
        forbid(&stage.bed, name.as_str()).await?;
    }
    let since = Instant::now();
    stage.change(5).await?;
    eventually(HEALED, "every program is refused", async || {
        let calls = stage.proxy.calls(since);
        let refused = ["provisioner", "scaler", "certmgr"].map(|name| {
            calls
                .iter()
                .any(|call| call.request.caller == name && call.status == Some(403))
        });
        Ok(Look::when(refused == [true; 3], refused))
    })
    .await?;
    stage.note("every program is refused", since.elapsed())?;
    // Until a Lease that cannot be renewed has been given up. The scaler answers while its counts are a minute old at most.
    let (metric, ()) = tokio::join!(stage.metric(), tokio::time::sleep(STORM));
    metric?;
    for program in [&stage.certmgr, &stage.scaler, &stage.provisioner] {
        ensure!(
            program.get_health("/livez").await?.status.is_success(),
            "{} has ended",
            program.start.pod
        );
        allow(&stage.bed, program.start.name.as_str()).await?;
    }
    drop(trouble);
    let ended = Instant::now();
    stage.provisioned("managed", 5, HEALED).await?;
    stage.note("an edit arrives after rights are back", ended.elapsed())?;
    for program in [&mut stage.certmgr, &mut stage.scaler, &mut stage.provisioner] {
        program.ready(HEALED).await?;
    }
    stage.metric().await
}
