//! The programs live with the chart's rights and nothing else: installed, scaling, rotating, repairing, replaced. The API
//! server's audit log then shows no request that it denied, and every right that was granted in use or on a list of reasons.
//! This needs a bed of its own, with an audit log; `cargo xtask test` and `cargo xtask chart` give it one.

mod granted;
mod life;

use anyhow::{Result, ensure};
use keda_kaito_e2e::audit::{AuditLog, Request};
use keda_kaito_e2e::bed::Bed;

use granted::{Right, rights};

const COMPONENTS: [&str; 3] = ["provisioner", "scaler", "certmgr"];

/// Rights that a life of ours need not exercise, and why they are granted all the same.
const UNUSED: [(&str, &str, &str, &str); 2] = [
    (
        "provisioner",
        "inferencesets/finalizers",
        "update",
        "asked for by OwnerReferencesPermissionEnforcement, which this API server does not enforce",
    ),
    (
        "provisioner",
        "scaledobjects",
        "get",
        "reads again what somebody else changed between a judgement and its write, which nobody can time",
    ),
];

#[tokio::test]
async fn nothing_is_denied_in_a_whole_life_and_every_right_is_used() -> Result<()> {
    let bed = Bed::from_env().await?;
    let audit = AuditLog::of_this_bed()?;
    let begun = audit.mark()?;
    life::live(&bed).await?;
    let requests = audit.since(begun)?;
    let mut wrong = Vec::new();
    for component in COMPONENTS {
        let user = format!("system:serviceaccount:{}:keda-kaito-scaler-{component}", life::NAMESPACE);
        let own: Vec<&Request> = requests.iter().filter(|request| request.user == user).collect();
        ensure!(own.len() > 20, "the audit log knows {} requests of {user}", own.len());
        let denied = own.iter().filter(|request| matches!(request.code, 401 | 403 | 422));
        wrong.extend(denied.map(|request| format!("denied: {}", request.summary())));
        let unused = rights(&bed, component).await?.into_iter().filter(|right| {
            let used = own.iter().any(|request| right.is_used_by(request));
            !used && !has_a_reason(component, right)
        });
        wrong.extend(unused.map(|right| format!("never used by {component}: {right:?}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn has_a_reason(component: &str, right: &Right) -> bool {
    let listed = |(of, resource, verb, _why): &(&str, &str, &str, &str)| {
        *of == component && *resource == right.resource && *verb == right.verb
    };
    UNUSED.iter().any(listed)
}
