//! What helm makes of every values file: linted, compared with the renders that are kept, and refused where values are wrong.

use std::fs;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::chart::{folder, helm, object, objects, root, scenarios};
use serde_json::{Value, json};

/// `cargo xtask chart --update` sets it.
const UPDATE: &str = "UPDATE_RENDERS";

#[tokio::test]
async fn renders_of_every_values_file_are_those_that_are_kept() -> Result<()> {
    let update = std::env::var_os(UPDATE).is_some();
    let mut outdated = Vec::new();
    for scenario in scenarios()? {
        let file = root().join(&scenario.writes);
        let rendered = scenario.render().await?;
        if fs::read_to_string(&file).ok().as_ref() == Some(&rendered) {
            continue;
        }
        if update {
            fs::write(&file, rendered).with_context(|| file.display().to_string())?;
        } else {
            outdated.push(scenario.writes);
        }
    }
    ensure!(
        outdated.is_empty(),
        "not what the chart renders: {outdated:?}; look at what `cargo xtask chart --update` changes"
    );
    Ok(())
}

#[tokio::test]
async fn every_values_file_lints_without_a_warning() -> Result<()> {
    for scenario in scenarios()? {
        let mut arguments = vec![
            "lint".to_owned(),
            "--strict".to_owned(),
            format!("--namespace={}", scenario.namespace),
        ];
        arguments.push(folder().display().to_string());
        arguments.extend(scenario.values());
        let said = helm(&arguments).await.with_context(|| scenario.name.clone())?;
        ensure!(!said.contains("[WARNING]"), "{}: {said}", scenario.name);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_values_are_refused_by_name() -> Result<()> {
    for (value, named) in [
        ("provisoner.enabled=false", "provisoner"),
        ("scaler.replicas=two", "replicas"),
        ("scaler.replicas=-1", "replicas"),
        ("scaler.extraArgs={log-level=debug}", "extraArgs"),
        ("workingNamespace=Keda", "workingNamespace"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("certmgr.image.digest=latest", "digest"),
        ("logs.format=xml", "format"),
        ("logs.level=warning", "level"),
        ("provisioner.scalerAddress=scaler", "scalerAddress"),
        ("networkPolicy.scrapePorts={0}", "scrapePorts"),
    ] {
        let chart = folder().display().to_string();
        let refused = helm(&["template", "kks", &chart, &format!("--set={value}")]).await;
        let message = format!("{:#}", refused.err().with_context(|| format!("{value} was accepted"))?);
        ensure!(message.contains(named), "{value}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn versions_of_chart_and_programs_are_one() -> Result<()> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    let version = version.context("Cargo.toml has no version")?.trim_matches('"');
    let chart: Value = serde_yaml::from_str(&fs::read_to_string(folder().join("Chart.yaml"))?)?;
    for key in ["version", "appVersion"] {
        ensure!(
            chart[key] == version,
            "{key} of the chart is {}, the workspace's {version}",
            chart[key]
        );
    }
    Ok(())
}

#[tokio::test]
async fn names_that_others_rely_on_hold_under_any_release() -> Result<()> {
    for scenario in scenarios()?.iter().filter(|scenario| !scenario.name.ends_with("-alone")) {
        let objects = objects(&scenario.render().await?)?;
        let service = object(&objects, "Service", "keda-kaito-scaler-svc")?;
        ensure!(service["metadata"]["namespace"] == scenario.namespace.as_str(), "{service}");
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let ports: Vec<_> = ports
            .iter()
            .map(|port| (port["name"].clone(), port["port"].clone()))
            .collect();
        let expected = [("grpc", 10450), ("metrics", 10451), ("health", 10452)].map(|(name, port)| (json!(name), json!(port)));
        ensure!(ports == expected, "{ports:?}");
        // Deployments of the Go scaler's chart cannot be given another selector.
        let deployment = object(&objects, "Deployment", "keda-kaito-scaler")?;
        ensure!(
            deployment["spec"]["selector"]["matchLabels"]
                == json!({"app.kubernetes.io/name": "keda-kaito-scaler", "app.kubernetes.io/instance": scenario.release}),
            "{deployment}"
        );
        for object in &objects {
            let label = &object["metadata"]["labels"]["app.kubernetes.io/name"];
            ensure!(label == "keda-kaito-scaler", "{object}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn selectors_of_deployments_take_no_pods_of_others() -> Result<()> {
    for scenario in scenarios()? {
        let objects = objects(&scenario.render().await?)?;
        let pods = |object: &Value| match object["kind"].as_str() {
            Some("Deployment") => object["spec"]["template"]["metadata"]["labels"].as_object().cloned(),
            Some("Pod") => object["metadata"]["labels"].as_object().cloned(),
            _ => None,
        };
        for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
            let selector = deployment["spec"]["selector"]["matchLabels"]
                .as_object()
                .context("no selector")?;
            let taken = objects.iter().filter(|object| {
                let labels = pods(object);
                labels.is_some_and(|labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
            });
            ensure!(taken.count() == 1, "{}: {selector:?}", scenario.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_render_has_a_secret_or_rights_to_all_of_them() -> Result<()> {
    for scenario in scenarios()? {
        for object in objects(&scenario.render().await?)? {
            ensure!(object["kind"] != "Secret", "{}: {object}", scenario.name);
            let rules = object["rules"].as_array().cloned().unwrap_or_default();
            for rule in rules {
                let has = |key: &str, value: &str| rule[key].as_array().is_some_and(|list| list.contains(&json!(value)));
                ensure!(
                    !has("resources", "*") && !has("verbs", "*") && !has("apiGroups", "*"),
                    "{rule}"
                );
                let reads_any =
                    has("resources", "secrets") && rule["resourceNames"].is_null() && rule["verbs"] != json!(["create"]);
                ensure!(
                    !(reads_any || has("resources", "secrets") && object["kind"] == "ClusterRole"),
                    "{object}"
                );
            }
        }
    }
    Ok(())
}
