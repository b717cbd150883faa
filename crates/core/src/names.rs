//! Every string that crosses a process boundary: annotations, metadata keys, object names, field managers.
//! Nothing here has behaviour; other modules and programs spell none of these themselves.

/// Prefix of every annotation users put on an InferenceSet.
pub const ANNOTATION_PREFIX: &str = "scaledobject.kaito.sh/";
/// `"true"` turns provisioning on.
pub const AUTO_PROVISION: &str = "scaledobject.kaito.sh/auto-provision";
/// Lower bound of replicas.
pub const MIN_REPLICAS: &str = "scaledobject.kaito.sh/min-replicas";
/// Upper bound of replicas; wins over `spec.nodeCountLimit`.
pub const MAX_REPLICAS: &str = "scaledobject.kaito.sh/max-replicas";
/// Simple dialect: target average per replica.
pub const THRESHOLD: &str = "scaledobject.kaito.sh/threshold";
/// Simple dialect: metric family.
pub const METRIC_NAME: &str = "scaledobject.kaito.sh/metricName";
/// Policy dialect: YAML or JSON list of metrics; its presence chooses the dialect.
pub const METRICS: &str = "scaledobject.kaito.sh/metrics";
/// Policy dialect: `AND` or `OR`.
pub const COMBINE_POLICY: &str = "scaledobject.kaito.sh/combinepolicy";
/// Policy dialect: scale-up stabilization in seconds.
pub const EVALUATION_WINDOW: &str = "scaledobject.kaito.sh/evaluationwindow";
/// Policy dialect: seconds between two steps up.
pub const SCALE_UP_COOLDOWN: &str = "scaledobject.kaito.sh/scaleupcooldown";
/// Policy dialect: seconds between two steps down, and scale-down stabilization.
pub const SCALE_DOWN_COOLDOWN: &str = "scaledobject.kaito.sh/scaledowncooldown";
/// On a ScaledObject: says that it is ours, whoever wrote it.
pub const MANAGED_BY: &str = "scaledobject.kaito.sh/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "keda-kaito-scaler";
/// On a ScaledObject we wrote: what its maximum was computed from.
pub const MAX_BASIS: &str = "keda-kaito-scaler.kaito.sh/max-replicas-from";
/// Annotations that users may set, in the order of the documentation.
pub const USER_ANNOTATIONS: [&str; 10] = [
    AUTO_PROVISION,
    MIN_REPLICAS,
    MAX_REPLICAS,
    THRESHOLD,
    METRIC_NAME,
    METRICS,
    COMBINE_POLICY,
    EVALUATION_WINDOW,
    SCALE_UP_COOLDOWN,
    SCALE_DOWN_COOLDOWN,
];

/// The metric of the simple dialect when none is named.
pub const DEFAULT_METRIC: &str = "vllm:num_requests_waiting";
/// The trigger's name in the simple dialect (the policy dialect uses it too).
pub const TRIGGER_NAME: &str = "keda-kaito-scaler";
/// Metric name published for a decided replica count.
pub const DESIRED_REPLICAS_METRIC: &str = "desired-replicas";

/// Value of the label `app.kubernetes.io/name`, and the common stem of object names.
pub const APP_NAME: &str = "keda-kaito-scaler";
/// Service in front of the scaler.
pub const SERVICE: &str = "keda-kaito-scaler-svc";
/// Port of the gRPC service.
pub const GRPC_PORT: u16 = 10450;
/// Port of `/metrics` on every program.
pub const METRICS_PORT: u16 = 10451;
/// Port of `/livez` and `/readyz` on every program.
pub const HEALTH_PORT: u16 = 10452;
/// CA keys and certificates with the rotation's state; read by certmgr alone.
pub const CA_SECRET: &str = "keda-kaito-scaler-ca";
/// What the scaler serves with, and the bundle it trusts callers by.
pub const SERVER_SECRET: &str = "keda-kaito-scaler-server-certs";
/// What KEDA calls with, and the bundle it trusts the scaler by.
pub const CLIENT_SECRET: &str = "keda-kaito-scaler-client-certs";
/// Service account of KEDA's operator, for which the client certificate is made out.
pub const KEDA_SERVICE_ACCOUNT: &str = "keda-operator";
/// ClusterTriggerAuthentication that points KEDA at the Secrets.
pub const TRIGGER_AUTHENTICATION: &str = "keda-kaito-scaler-creds";
/// Key of a trust bundle (PEM) in our Secrets.
pub const CA_CRT: &str = "ca.crt";
/// Key of a certificate chain (PEM) in our Secrets.
pub const TLS_CRT: &str = "tls.crt";
/// Key of a private key (PKCS#8 PEM) in our Secrets.
pub const TLS_KEY: &str = "tls.key";
/// Key of the issuing authority's private key (PKCS#8 PEM) in [`CA_SECRET`]; absent once it may no longer issue.
pub const CA_KEY: &str = "ca.key";
/// Key of the next authority's certificate in [`CA_SECRET`], during a rotation.
pub const NEXT_CRT: &str = "next.crt";
/// Key of the next authority's private key in [`CA_SECRET`], during a rotation.
pub const NEXT_KEY: &str = "next.key";
/// Key of the next authority's certificate signed by the present one, in [`CA_SECRET`].
pub const CROSS_CRT: &str = "cross.crt";
/// Key of the last client certificate issued under the authority that is being replaced, in [`CA_SECRET`].
pub const RETIRING_CRT: &str = "retiring.crt";
/// Where the Go reference keeps the scaler's certificate in [`SERVER_SECRET`].
pub const REFERENCE_SERVER_CRT: &str = "server.crt";
/// Where the Go reference keeps the scaler's private key in [`SERVER_SECRET`].
pub const REFERENCE_SERVER_KEY: &str = "server.key";
/// Stem of our authorities' common names; the Go reference's name is the stem without the hyphen at the end.
pub const AUTHORITY_NAME_PREFIX: &str = "keda-kaito-scaler-ca-";
/// Annotation on the server and client Secrets: RFC 3339 time of their last change.
pub const PUBLISHED_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/published-at";
/// Annotation on the server Secret late in a rotation: RFC 3339 `notBefore` of the last client certificate under the
/// old authority. The scaler answers a caller with such a certificate, or an older one, `Unavailable` once.
pub const RETIRING_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/retiring-client-certificate";
/// Annotation on [`CA_SECRET`]: why its authority shall be replaced now. Each new reason is acted on once.
pub const ROTATE_REASON_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/rotate-reason";
/// Annotation on [`CA_SECRET`]: the reason acted on last.
pub const ROTATED_REASON_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/rotated-reason";
/// Annotation on the server and client Secrets: a decimal generation that grows with each change.
pub const GENERATION_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/generation";
/// Annotation on the ClusterTriggerAuthentication: a decimal number; a new one makes KEDA re-read its credentials.
pub const CREDENTIAL_EPOCH_ANNOTATION: &str = "keda-kaito-scaler.kaito.sh/credential-epoch";

/// Lease of the provisioner's leader, in the release namespace.
pub const PROVISIONER_LEASE: &str = "keda-kaito-scaler-provisioner";
/// Lease of the certmgr's leader, in the release namespace.
pub const CERTMGR_LEASE: &str = "keda-kaito-scaler-certmgr";
/// Label on a scaler replica's Lease, so that others list only those; value [`SCALER_LEASE_COMPONENT`].
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT_LABEL`] on a scaler replica's Lease.
pub const SCALER_LEASE_COMPONENT: &str = "scaler";
/// Value of [`COMPONENT_LABEL`] on what certmgr writes.
pub const CERTMGR_COMPONENT: &str = "certmgr";
/// Label with the application's name.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Lease annotation: `"true"` once the replica listens with valid credentials.
pub const LEASE_SERVING: &str = "keda-kaito-scaler.kaito.sh/serving";
/// Lease annotation: generation of the server Secret whose bundle the replica trusts.
pub const LEASE_TRUSTED_GENERATION: &str = "keda-kaito-scaler.kaito.sh/trusted-generation";
/// Lease annotation: generation of the server Secret whose leaf the replica serves.
pub const LEASE_SERVED_GENERATION: &str = "keda-kaito-scaler.kaito.sh/served-generation";
/// Lease annotation: lowest credential epoch among active callers; absent when none is known.
pub const LEASE_LOWEST_CALLER_EPOCH: &str = "keda-kaito-scaler.kaito.sh/lowest-caller-epoch";
/// Lease annotation: RFC 3339 `notBefore` of the oldest client certificate that an active caller used last.
pub const LEASE_OLDEST_CLIENT: &str = "keda-kaito-scaler.kaito.sh/oldest-client-certificate";
/// Lease annotation: RFC 3339 time since which callers have been recorded.
pub const LEASE_CALLERS_SINCE: &str = "keda-kaito-scaler.kaito.sh/callers-known-since";
/// Lease annotation: how many open connections have a client certificate that is trusted no more; they are being drained.
pub const LEASE_RETIRED_CONNECTIONS: &str = "keda-kaito-scaler.kaito.sh/retired-connections";
/// Lease annotation: how many targets have a fresh sample.
pub const LEASE_FRESH_TARGETS: &str = "keda-kaito-scaler.kaito.sh/fresh-targets";

/// Field manager of the provisioner's server-side apply.
pub const PROVISIONER_FIELD_MANAGER: &str = "keda-kaito-provisioner";
/// Field manager of certmgr's server-side apply.
pub const CERTMGR_FIELD_MANAGER: &str = "keda-kaito-certmgr";
/// Field manager with which every version of the Go reference wrote (operation Update).
pub const REFERENCE_FIELD_MANAGER: &str = "keda-kaito-scaler";

/// API group of KAITO's kinds.
pub const KAITO_GROUP: &str = "kaito.sh";
/// Versions of KAITO's kinds that we speak, the most wanted first.
pub const KAITO_VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Kind of what is scaled.
pub const INFERENCE_SET_KIND: &str = "InferenceSet";
/// Kind of one replica.
pub const WORKSPACE_KIND: &str = "Workspace";

/// Label on KAITO's Workspaces and pods: the InferenceSet's name.
pub const CREATED_BY_LABEL: &str = "inferenceset.kaito.sh/created-by";
/// Label on KAITO's pods: the Workspace's name.
pub const WORKSPACE_LABEL: &str = "kaito.sh/workspace";
