//! What helm makes of every values file: linted, compared with the renders that are kept, and refused where values are wrong.

use std::fs;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::chart::{Scenario, folder, helm, object, objects, root, scenarios};
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
            fs::create_dir_all(file.parent().context("a file without a folder")?)?;
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
        refused(&format!("--set={value}"), named).await?;
    }
    Ok(())
}

/// To Kubernetes a rule without peers or ports is one for all of them.
#[tokio::test]
async fn network_rules_without_peers_or_ports_are_refused() -> Result<()> {
    for (list, named) in [
        ("networkPolicy.keda", "keda"),
        ("networkPolicy.apiServer.cidrs", "cidrs"),
        ("networkPolicy.apiServer.ports", "ports"),
        ("networkPolicy.scrapePorts", "scrapePorts"),
    ] {
        for nothing in ["[]", "null"] {
            refused(&format!("--set-json={list}={nothing}"), named).await?;
        }
    }
    for (value, named) in [
        ("networkPolicy.keda=[{}]", "keda"),
        ("networkPolicy.metricsFrom=[{}]", "metricsFrom"),
        ("networkPolicy.apiServer=null", "apiServer"),
        ("networkPolicy.enabled=null", "enabled"),
        ("networkPolicy=null", "networkPolicy"),
        ("scaler.admissionPolicy.enabled=null", "enabled"),
        ("certmgr.admissionPolicy=null", "admissionPolicy"),
    ] {
        refused(&format!("--set-json={value}"), named).await?;
    }
    // Without peers there is no rule here, so nobody reads.
    let chart = folder().display().to_string();
    let rendered = helm(&["template", "kks", &chart, "--set-json=networkPolicy.metricsFrom=[]"]).await?;
    for policy in objects(&rendered)?.iter().filter(|object| object["kind"] == "NetworkPolicy") {
        let rules = policy["spec"]["ingress"].as_array().cloned().unwrap_or_default();
        ensure!(rules.iter().all(|rule| rule["ports"] == json!([{"port": 10450}])), "{policy}");
    }
    Ok(())
}

#[tokio::test]
async fn grace_period_too_short_to_drain_is_refused() -> Result<()> {
    let chart = folder().display().to_string();
    let render = async |values: &str| helm(&["template", "kks", &chart, &format!("--set={values}")]).await;
    render("scaler.preStopSeconds=20").await?;
    render("scaler.preStopSeconds=60,scaler.terminationGracePeriodSeconds=85").await?;
    for (values, needed) in [
        ("scaler.preStopSeconds=21", "45, and has to be 46"),
        ("scaler.preStopSeconds=60", "45, and has to be 85"),
        ("scaler.terminationGracePeriodSeconds=34", "34, and has to be 35"),
    ] {
        let refused = render(values).await.err();
        let message = format!("{:#}", refused.with_context(|| format!("{values} was accepted"))?);
        ensure!(message.contains(needed), "{values}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn notes_say_what_is_missing_where_programs_are() -> Result<()> {
    let chart = folder().display().to_string();
    let notes = async |disabled: &[&str]| {
        let values = disabled.iter().map(|program| format!("--set={program}.enabled=false"));
        let mut arguments = ["install", "kks", &chart, "--namespace=keda", "--dry-run=client"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(values);
        let said = helm(&arguments).await?;
        let (_, notes) = said.split_once("NOTES:").context("no notes")?;
        anyhow::Ok(notes.to_owned())
    };
    let all = notes(&[]).await?;
    ensure!(all.contains("in namespace keda: certmgr scaler provisioner."), "{all}");
    ensure!(!all.contains("is here"), "{all}");
    let without = notes(&["scaler"]).await?;
    ensure!(without.contains("provisioner.requireScaler=false"), "{without}");
    let without = notes(&["certmgr"]).await?;
    for secret in ["keda-kaito-scaler-server-certs", "keda-kaito-scaler-client-certs"] {
        ensure!(without.contains(secret), "{without}");
    }
    let without = notes(&["scaler", "provisioner"]).await?;
    ensure!(!without.contains("requireScaler"), "{without}");
    let nothing = notes(&["certmgr", "scaler", "provisioner"]).await?;
    ensure!(
        nothing.contains("runs nothing") && !nothing.contains("namespace"),
        "{nothing}"
    );
    Ok(())
}

#[tokio::test]
async fn every_program_may_reach_the_collectors_port_and_no_metadata_service() -> Result<()> {
    for (endpoint, port) in [
        ("", None),
        ("http://otel-collector.monitoring:4317", Some(4317)),
        ("http://[fd00::1]:14317/", Some(14317)),
        ("http://collector.example.com", Some(80)),
        ("http://[fd00::1]", Some(80)),
    ] {
        let chart = folder().display().to_string();
        let rendered = helm(&["template", "kks", &chart, &format!("--set-string=otlpEndpoint={endpoint}")]).await?;
        let rendered = objects(&rendered)?;
        let policies: Vec<_> = rendered.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
        ensure!(policies.len() == 3, "{} policies", policies.len());
        for policy in policies {
            let rules = policy["spec"]["egress"].as_array().context("no rules")?;
            let to_anywhere = rules
                .iter()
                .filter(|rule| rule["to"][0] == json!({"namespaceSelector": {}}))
                .collect::<Vec<_>>();
            let Some(port) = port else {
                ensure!(to_anywhere.is_empty(), "{policy}");
                continue;
            };
            let expected = json!({"ports": [{"port": port}], "to": [
                {"namespaceSelector": {}},
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
                {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}},
            ]});
            ensure!(to_anywhere == [&expected], "{endpoint}: {policy}");
        }
    }
    Ok(())
}

/// Helm refuses the value, given as JSON, and names what is wrong.
async fn refused(flag: &str, named: &str) -> Result<()> {
    let chart = folder().display().to_string();
    let rendered = helm(&["template", "kks", &chart, flag]).await;
    let message = format!("{:#}", rendered.err().with_context(|| format!("{flag} was accepted"))?);
    // The command is part of the message.
    let said = message.split_once("values don't meet").map_or("", |(_, said)| said);
    ensure!(said.contains(named), "{flag}: {message}");
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
    let whole = |scenario: &&Scenario| scenario.only.is_none() && !scenario.name.ends_with("-alone");
    for scenario in scenarios()?.iter().filter(whole) {
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
