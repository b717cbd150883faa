//! The bed's certificates: one CA for the API server and its clients, one for the aggregation layer, the key pair of
//! ServiceAccount tokens. The certificates under test are not made here: certmgr makes them.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::node;
use super::plan::{KEDA_NAMESPACES, Plan};

use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const API_SERVER_NAMES: [&str; 9] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "127.0.0.1",
    "10.0.0.1",
    "kubernetes.default.svc.cluster.local",
    node::API_SERVER_CLUSTER_IP,
    node::ADDRESS,
];
const KEDA_SERVICES: [&str; 3] = ["keda-operator", "keda-metrics-apiserver", "keda-admission-webhooks"];

/// Organisations (groups, for a client of the API server) and common name (its user).
struct Subject<'a> {
    organisations: &'a [&'a str],
    name: &'a str,
}

/// Writes `pki/*.crt`, `pki/*.key` and the folder `pki/keda` in the layout KEDA's `--cert-dir` wants.
pub(crate) fn write(plan: &Plan) -> Result<()> {
    let dir = plan.path("pki");
    let keda_dir = dir.join("keda");
    fs::create_dir_all(&keda_dir)?;

    let ca = authority(&dir, "ca")?;
    let server = |name| Subject {
        organisations: &[],
        name,
    };
    leaf(
        &dir,
        "apiserver",
        &ca,
        &server("kube-apiserver"),
        &API_SERVER_NAMES,
        &[ServerAuth],
    )?;
    leaf(
        &dir,
        "kcm-server",
        &ca,
        &server("kube-controller-manager"),
        &["127.0.0.1"],
        &[ServerAuth],
    )?;
    leaf(
        &dir,
        "kubelet-server",
        &ca,
        &server(node::NAME),
        &[node::NAME, node::ADDRESS],
        &[ServerAuth],
    )?;
    for (file, subject) in users() {
        leaf(&dir, file, &ca, &subject, &[], &[ClientAuth])?;
    }
    let mut keda_names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    for namespace in KEDA_NAMESPACES {
        let user = keda_user(namespace);
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
        let subject = Subject {
            organisations: &groups,
            name: &format!("system:serviceaccount:{namespace}:keda-operator"),
        };
        leaf(&dir, &user, &ca, &subject, &[], &[ClientAuth])?;
        keda_names.extend(KEDA_SERVICES.map(|service| format!("{service}.{namespace}.svc")));
    }
    let keda_names: Vec<&str> = keda_names.iter().map(String::as_str).collect();
    leaf(&keda_dir, "tls", &ca, &server("keda"), &keda_names, &[ServerAuth, ClientAuth])?;
    fs::copy(dir.join("ca.crt"), keda_dir.join("ca.crt"))?;

    let front_proxy = authority(&dir, "front-proxy-ca")?;
    leaf(
        &dir,
        "front-proxy-client",
        &front_proxy,
        &server("front-proxy-client"),
        &[],
        &[ClientAuth],
    )?;

    let tokens = KeyPair::generate()?;
    fs::write(dir.join("sa.key"), tokens.serialize_pem())?;
    fs::write(dir.join("sa.pub"), tokens.public_key_pem())?;
    Ok(())
}

/// What KEDA in this namespace is called below `pki` and `kubeconfig`. It is its ServiceAccount, so that its real RBAC applies.
pub(crate) fn keda_user(namespace: &str) -> String {
    if namespace == "keda" {
        return "keda".to_owned();
    }
    format!("keda-in-{namespace}")
}

/// Every user that gets a kubeconfig, but for KEDA.
fn users() -> [(&'static str, Subject<'static>); 7] {
    let user = |file, organisations, name| (file, Subject { organisations, name });
    [
        user("admin", &["system:masters"], "admin"),
        user("kcm", &[], "system:kube-controller-manager"),
        user("kaito", &["system:masters"], "kaito"),
        // The API server towards the kubelet: logs, exec, port-forward.
        user("kubelet-client", &["system:masters"], "kube-apiserver-kubelet-client"),
        user("kubelet", &["system:nodes"], "system:node:bed-node"),
        user("scheduler", &[], "system:kube-scheduler"),
        user("proxy", &[], "system:kube-proxy"),
    ]
}

/// File names below `pki` of the users that get a kubeconfig.
pub(crate) fn user_names() -> impl Iterator<Item = String> {
    let others = users().into_iter().map(|(file, _)| file.to_owned());
    others.chain(KEDA_NAMESPACES.into_iter().map(keda_user))
}

fn authority(dir: &Path, name: &str) -> Result<Issuer> {
    let mut params = parameters(
        &Subject {
            organisations: &[],
            name,
        },
        &[],
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = Issuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(dir.join(format!("{name}.crt")), issuer.pem())?;
    Ok(issuer)
}

fn leaf(
    dir: &Path,
    file: &str,
    issuer: &Issuer,
    subject: &Subject<'_>,
    names: &[&str],
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<()> {
    let mut params = parameters(subject, names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    let key = KeyPair::generate()?;
    fs::write(dir.join(format!("{file}.crt")), params.signed_by(&key, issuer)?.pem())?;
    fs::write(dir.join(format!("{file}.key")), key.serialize_pem())?;
    Ok(())
}

fn parameters(subject: &Subject<'_>, names: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    // Valid on every clock a test may set.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    // rcgen keeps one value per attribute type: a second organisation goes in under its number.
    let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    for (kind, organisation) in types.into_iter().zip(subject.organisations) {
        params.distinguished_name.push(kind, *organisation);
    }
    params.distinguished_name.push(DnType::CommonName, subject.name);
    Ok(params)
}
