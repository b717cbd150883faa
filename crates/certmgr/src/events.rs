//! Every Event of certmgr: the reasons, and what each says. All are about one of our Secrets or the
//! ClusterTriggerAuthentication, and none carries key material.

use k8s_openapi::api::core::v1::ObjectReference;
use keda_kaito_core::credentials::{AuthorityWrite, Cause, LeafSource, Phase, Publication, Step, Wait};
use keda_kaito_core::names;
use keda_kaito_runtime::events::{Notice, Severity};

/// A certificate was issued.
pub const CERTIFICATE_ISSUED: &str = "CertificateIssued";
/// A rotation of the authority has reached a phase.
pub const CERTIFICATE_AUTHORITY_ROTATED: &str = "CertificateAuthorityRotated";
/// Something was wrong with an object and was put right.
pub const CREDENTIALS_REPAIRED: &str = "CredentialsRepaired";

/// A rotation waits for longer than is usual.
pub const ROTATION_WAITS: &str = "RotationWaits";

/// Every reason, for the documentation to be checked against.
pub fn reasons() -> Vec<&'static str> {
    vec![
        CERTIFICATE_ISSUED,
        CERTIFICATE_AUTHORITY_ROTATED,
        CREDENTIALS_REPAIRED,
        ROTATION_WAITS,
    ]
}

/// What to say about a step that was carried out.
pub(crate) fn told(step: &Step, regarding: ObjectReference) -> Notice {
    let (severity, reason, action) = match step.cause() {
        Cause::Repair(_) => (Severity::Warning, CREDENTIALS_REPAIRED, "Repair"),
        Cause::Rotation(phase) => (Severity::Normal, CERTIFICATE_AUTHORITY_ROTATED, action(*phase)),
        Cause::First | Cause::Renewal => (Severity::Normal, CERTIFICATE_ISSUED, "Issue"),
    };
    Notice {
        severity,
        reason,
        action,
        note: format!("{}: {}", step.cause(), what(step)),
        regarding,
    }
}

/// What to say about a wait that lasts.
pub(crate) fn waits(phase: Phase, wait: &Wait, regarding: ObjectReference) -> Notice {
    Notice {
        severity: Severity::Warning,
        reason: ROTATION_WAITS,
        action: "Wait",
        note: format!("phase {phase}: waiting for {wait}"),
        regarding,
    }
}

/// Which object a step writes.
pub(crate) fn object(step: &Step) -> &'static str {
    match step {
        Step::Authority { .. } => names::CA_SECRET,
        Step::Server(_) => names::SERVER_SECRET,
        Step::Client(_) => names::CLIENT_SECRET,
        Step::Authentication { .. } => names::TRIGGER_AUTHENTICATION,
    }
}

fn action(phase: Phase) -> &'static str {
    match phase {
        Phase::Stable => "Complete",
        Phase::Prepare => "Prepare",
        Phase::Trust => "Trust",
        Phase::Serve => "Serve",
        Phase::Identify => "Identify",
        Phase::Retire => "Retire",
        Phase::Clean => "Clean",
    }
}

fn what(step: &Step) -> String {
    match step {
        Step::Authority { write, .. } => authority(write),
        Step::Server(publication) => published("server", publication),
        Step::Client(publication) => published("client", publication),
        Step::Authentication { epoch, .. } => {
            format!("ClusterTriggerAuthentication names our Secrets, credential epoch {epoch}")
        }
    }
}

fn authority(write: &AuthorityWrite) -> String {
    match write {
        AuthorityWrite::Create { validity } => format!("issued an authority, valid until {}", validity.not_after),
        AuthorityWrite::Prepare { reason, cross, .. } => {
            let reason = reason
                .as_ref()
                .map(|reason| format!(", asked for: {reason:?}"))
                .unwrap_or_default();
            let cross = if cross.is_some() {
                "cross-signed by the present one"
            } else {
                "which the present one cannot cross-sign"
            };
            format!("prepared the next authority, {cross}{reason}")
        }
        AuthorityWrite::Cross { .. } => "issued the cross certificate again".to_owned(),
        AuthorityWrite::EraseKey => "erased the former authority's private key".to_owned(),
        AuthorityWrite::Promote => "the next authority is the only one now".to_owned(),
        AuthorityWrite::Rewrite { .. } => "removed what was unusable".to_owned(),
    }
}

fn published(which: &str, publication: &Publication) -> String {
    let roots = publication.bundle.len();
    let generation = publication.generation;
    match &publication.leaf {
        LeafSource::Issue(issue) => format!(
            "published generation {generation} with a new {which} certificate of {}, valid until {}, and {roots} trusted roots",
            issue.issuer, issue.validity.not_after
        ),
        LeafSource::Keep => {
            format!("published generation {generation} with the same {which} certificate and {roots} trusted roots")
        }
    }
}
