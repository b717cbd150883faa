//! From the Go reference to our provisioner and back, with everything the reference recorded alive in KEDA: HPAs keep
//! their identity and nothing moves. This needs a bed of its own: it decides who runs when.

mod outage;
mod recorded;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, condition, number, spec_of_scaled_object, text};
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{expect, running};
use keda_kaito_e2e::programs::{Name, Program};
use recorded::Recorded;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// Several rounds of the HPA, in which it would act on anything that an upgrade made of its object.
const STILL: Duration = Duration::from_secs(15);
const REPLICAS: u32 = 2;

async fn begin(bed: &Bed, name: Name) -> Result<Program> {
    let mut program = Program::spawn(&bed.directory.join("logs"), running::start(name))?;
    program.ready(SOON).await?;
    Ok(program)
}

/// One recorded object in a namespace of this bed.
struct Case {
    recorded: Recorded,
    hpa: String,
    observer: Observer,
}

#[tokio::test]
async fn objects_of_the_reference_are_upgraded_in_place_rolled_back_and_upgraded_again() -> Result<()> {
    let bed = Bed::from_env().await?;
    let _certmgr = begin(&bed, Name::Certmgr).await?;
    let _scaler = begin(&bed, Name::Scaler).await?;
    bed.with_namespace("upgrade", async |namespace| {
        let mut cases = Vec::new();
        for recorded in Recorded::all()? {
            cases.push(under_the_reference(&bed, &namespace, recorded).await?);
        }
        let begun = Timestamp::now();
        for upgrade in ["first", "second"] {
            let provisioner = begin(&bed, Name::Provisioner).await?;
            for case in &cases {
                is_ours(&bed, &namespace, case).await.context(upgrade)?;
            }
            nothing_moves(&bed, &namespace, &cases, begun).await.context(upgrade)?;
            provisioner.stop().await?;
            // What is left behind needs no provisioner.
            for case in &cases {
                case.recorded.write_back(&bed, &namespace).await?;
                is_theirs(&bed, &namespace, case).await.context(upgrade)?;
            }
            nothing_moves(&bed, &namespace, &cases, begun).await.context("rolled back")?;
        }
        Ok(())
    })
    .await
}

/// The InferenceSet as its user annotated it, the ScaledObject as the reference wrote it, and KEDA's HPA of both.
async fn under_the_reference(bed: &Bed, namespace: &str, recorded: Recorded) -> Result<Case> {
    let name = recorded.name.clone();
    let mut set = InferenceSet::new(namespace, &name).replicas(REPLICAS);
    set.node_count_limit = recorded.node_count_limit;
    set.annotations = recorded.annotations.clone();
    let set = set.create(bed).await?;
    // At target in the simple dialect, between the thresholds in the other: nobody wants to move.
    bed.fleet.set(namespace, &name, json!({"waiting": recorded.at_rest})).await?;
    expect::serving(bed, namespace, &name, REPLICAS.into()).await?;
    recorded.create(bed, namespace, text(&set, "/metadata/uid")).await?;
    let hpa = hpa_of(bed, namespace, &recorded).await?;
    Ok(Case {
        hpa: text(&hpa, "/metadata/uid").to_owned(),
        observer: Observer::start(bed, namespace, &name).await?,
        recorded,
    })
}

/// The HPA, active if there can be values.
async fn hpa_of(bed: &Bed, namespace: &str, recorded: &Recorded) -> Result<Value> {
    let name = &recorded.name;
    eventually(SOON, &format!("the HPA of {name} is active"), async || {
        let hpa = bed.get(Kind::HPA, namespace, &format!("keda-hpa-{name}")).await?;
        let active = condition(&hpa, "ScalingActive") == "True";
        Ok(Look::when(active || !recorded.answered, hpa))
    })
    .await
}

async fn is_ours(bed: &Bed, namespace: &str, case: &Case) -> Result<()> {
    let name = &case.recorded.name;
    let object = eventually(SOON, &format!("ScaledObject {name} is ours"), async || {
        let object = bed.get(Kind::SCALED_OBJECT, namespace, name).await?;
        let owners = recorded::managers_of_spec(&object);
        let tls = text(&object, "/spec/triggers/0/metadata/enableTLS") == "true";
        Ok(Look::when(
            tls && owners.contains(names::PROVISIONER_FIELD_MANAGER) && !owners.contains(names::REFERENCE_FIELD_MANAGER),
            object,
        ))
    })
    .await?;
    let triggers = object.pointer("/spec/triggers").and_then(Value::as_array).map(Vec::len);
    ensure!(triggers == Some(1), "old triggers survive: {object:#}");
    ensure!(
        object.pointer("/spec/advanced/scalingModifiers/formula").is_none(),
        "the old formula survives: {object:#}"
    );
    for field in ["/spec/minReplicaCount", "/spec/maxReplicaCount"] {
        ensure!(
            number(&object, field) == number(&case.recorded.object, field),
            "{field}: {object:#}"
        );
    }
    shows_metrics_of(bed, namespace, &object, case.recorded.answered).await
}

/// Every field of the spec is the reference's again, and KEDA goes by it.
async fn is_theirs(bed: &Bed, namespace: &str, case: &Case) -> Result<()> {
    let object = bed.get(Kind::SCALED_OBJECT, namespace, &case.recorded.name).await?;
    let then = json!({ "spec": case.recorded.spec(namespace)? });
    let (now, then) = (spec_of_scaled_object(&object), spec_of_scaled_object(&then));
    ensure!(now == then, "{now:#} is not what the reference wrote: {then:#}");
    shows_metrics_of(bed, namespace, &object, case.recorded.answered).await
}

/// The HPA has as many metrics as the object asks for, under their names, and they have values.
async fn shows_metrics_of(bed: &Bed, namespace: &str, object: &Value, answered: bool) -> Result<()> {
    let name = text(object, "/metadata/name");
    let composite = object.pointer("/spec/advanced/scalingModifiers/formula").is_some();
    let metric = text(object, "/spec/triggers/0/metadata/metricName");
    let wanted = match (composite, metric) {
        (true, _) => "composite-metric".to_owned(),
        (false, "") => format!("s0-{}", names::DESIRED_REPLICAS_METRIC),
        (false, metric) => format!("s0-{metric}"),
    };
    eventually(SOON, &format!("the HPA of {name} goes by {wanted} alone"), async || {
        let hpa = bed.get(Kind::HPA, namespace, &format!("keda-hpa-{name}")).await?;
        let metrics = hpa.pointer("/spec/metrics").and_then(Value::as_array);
        let shown: Vec<&str> = metrics
            .into_iter()
            .flatten()
            .map(|metric| text(metric, "/external/metric/name"))
            .collect();
        let active = condition(&hpa, "ScalingActive") == "True" || !answered;
        Ok(Look::when(shown == [wanted.as_str()] && active, (shown.join(" "), active)))
    })
    .await?;
    Ok(())
}

async fn nothing_moves(bed: &Bed, namespace: &str, cases: &[Case], since: Timestamp) -> Result<()> {
    let mut identities = BTreeMap::new();
    for case in cases {
        expect::holds(&case.observer, since, STILL / u32::try_from(cases.len())?).await?;
        let hpa = hpa_of(bed, namespace, &case.recorded).await?;
        identities.insert(
            case.recorded.name.clone(),
            (text(&hpa, "/metadata/uid").to_owned(), case.hpa.clone()),
        );
    }
    ensure!(
        identities.values().all(|(now, then)| now == then),
        "HPAs were replaced: {identities:?}"
    );
    Ok(())
}
