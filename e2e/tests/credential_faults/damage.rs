//! What can be wrong with the Secrets and the ClusterTriggerAuthentication, done to them as a careless hand would.

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names::{self, CA_CRT, CA_KEY, CA_SECRET, CLIENT_SECRET, SERVER_SECRET, TLS_CRT, TLS_KEY};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::Kind;
use kube::api::{DeleteParams, PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use super::material::{SERVICE, certificates, secrets, value};

/// One damage, by the objects it is done to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    Deleted(&'static str),
    /// Half of a value is gone.
    Truncated(&'static str, &'static str),
    Emptied(&'static str),
    /// Server and client pair have changed places.
    SwappedPairs,
    /// Only the keys have.
    SwappedKeys,
    /// A certificate of our authority that has ended.
    Expired(&'static str),
    /// Certificate, key and bundle of somebody else's authority.
    Foreign(&'static str),
    ForeignRoot(&'static str),
    WrongType(&'static str),
    Immutable(&'static str),
    Unannotated(&'static str),
    /// The authority is somebody else's.
    ForeignAuthority,
    AuthenticationDeleted,
    AuthenticationEdited,
    EpochEdited,
}

impl Damage {
    /// Every one that is over with a write or two.
    pub(crate) const REPAIRED: [Self; 25] = [
        Self::Deleted(SERVER_SECRET),
        Self::Deleted(CLIENT_SECRET),
        Self::Truncated(SERVER_SECRET, TLS_CRT),
        Self::Truncated(SERVER_SECRET, TLS_KEY),
        Self::Truncated(SERVER_SECRET, CA_CRT),
        Self::Truncated(CLIENT_SECRET, TLS_CRT),
        Self::Truncated(CLIENT_SECRET, TLS_KEY),
        Self::Truncated(CLIENT_SECRET, CA_CRT),
        Self::Emptied(SERVER_SECRET),
        Self::Emptied(CLIENT_SECRET),
        Self::SwappedPairs,
        Self::SwappedKeys,
        Self::Expired(SERVER_SECRET),
        Self::Expired(CLIENT_SECRET),
        Self::Foreign(SERVER_SECRET),
        Self::Foreign(CLIENT_SECRET),
        Self::ForeignRoot(SERVER_SECRET),
        Self::ForeignRoot(CLIENT_SECRET),
        Self::WrongType(SERVER_SECRET),
        Self::WrongType(CLIENT_SECRET),
        Self::Immutable(SERVER_SECRET),
        Self::Unannotated(SERVER_SECRET),
        Self::AuthenticationDeleted,
        Self::AuthenticationEdited,
        Self::EpochEdited,
    ];

    /// The authority's own loss, which takes a rotation to put right.
    pub(crate) const ROTATED: [Self; 3] = [
        Self::Deleted(CA_SECRET),
        Self::Truncated(CA_SECRET, CA_KEY),
        Self::ForeignAuthority,
    ];

    /// Does it. certmgr must not be able to get in between, where it takes more than one write.
    pub(crate) async fn inflict(self, bed: &Bed) -> Result<()> {
        match self {
            Self::Deleted(name) => bed.delete(Kind::SECRET, "keda", name).await,
            Self::Truncated(name, key) => {
                change(bed, name, |secret| {
                    let whole = value(secret, key)?.to_vec();
                    put(secret, key, whole.get(..whole.len() / 2).unwrap_or_default());
                    Ok(())
                })
                .await
            }
            Self::Emptied(name) => {
                change(bed, name, |secret| {
                    secret.data = None;
                    Ok(())
                })
                .await
            }
            Self::SwappedPairs => exchange(bed, &[TLS_CRT, TLS_KEY]).await,
            Self::SwappedKeys => exchange(bed, &[TLS_KEY]).await,
            Self::Expired(name) => {
                let authority = secrets(bed).get(CA_SECRET).await?;
                let pair = expired(&authority, name)?;
                change(bed, name, |secret| {
                    put(secret, TLS_CRT, pair.0.as_bytes());
                    put(secret, TLS_KEY, pair.1.as_bytes());
                    Ok(())
                })
                .await
            }
            Self::Foreign(name) => {
                let stranger = stranger()?;
                let (certificate, key) = leaf(&stranger, name, 2049)?;
                change(bed, name, |secret| {
                    put(secret, TLS_CRT, certificate.as_bytes());
                    put(secret, TLS_KEY, key.as_bytes());
                    put(secret, CA_CRT, stranger.pem().as_bytes());
                    Ok(())
                })
                .await
            }
            Self::ForeignRoot(name) => {
                let stranger = stranger()?;
                change(bed, name, |secret| {
                    put(secret, CA_CRT, stranger.pem().as_bytes());
                    Ok(())
                })
                .await
            }
            Self::WrongType(name) => {
                let secret = secrets(bed).get(name).await?;
                secrets(bed).delete(name, &DeleteParams::default()).await?;
                let mut wrong = Secret {
                    type_: Some("example.com/other".to_owned()),
                    ..secret
                };
                (wrong.metadata.uid, wrong.metadata.resource_version) = (None, None);
                secrets(bed).create(&PostParams::default(), &wrong).await?;
                Ok(())
            }
            Self::Immutable(name) => {
                change(bed, name, |secret| {
                    secret.immutable = Some(true);
                    put(secret, TLS_KEY, b"");
                    Ok(())
                })
                .await
            }
            Self::Unannotated(name) => {
                change(bed, name, |secret| {
                    secret.metadata.annotations = None;
                    Ok(())
                })
                .await
            }
            Self::ForeignAuthority => {
                let stranger = stranger()?;
                change(bed, CA_SECRET, |secret| {
                    put(secret, CA_CRT, stranger.pem().as_bytes());
                    put(secret, CA_KEY, stranger.key().serialize_pem().as_bytes());
                    Ok(())
                })
                .await
            }
            Self::AuthenticationDeleted => {
                bed.delete(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
                    .await
            }
            Self::AuthenticationEdited => {
                let server = [("tlsClientCert", TLS_CRT), ("tlsClientKey", TLS_KEY), ("caCert", CA_CRT)];
                let references =
                    server.map(|(parameter, key)| json!({"parameter": parameter, "name": SERVER_SECRET, "key": key}));
                patch(bed, &json!({"spec": {"secretTargetRef": references}})).await
            }
            Self::EpochEdited => {
                patch(
                    bed,
                    &json!({"metadata": {"annotations": {names::CREDENTIAL_EPOCH_ANNOTATION: "7"}}}),
                )
                .await
            }
        }
    }
}

async fn patch(bed: &Bed, patch: &serde_json::Value) -> Result<()> {
    bed.patch(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION, patch)
        .await?;
    Ok(())
}

async fn change(bed: &Bed, name: &str, how: impl FnOnce(&mut Secret) -> Result<()>) -> Result<()> {
    let mut secret = secrets(bed).get(name).await?;
    how(&mut secret)?;
    secrets(bed)
        .replace(name, &PostParams::default(), &secret)
        .await
        .with_context(|| format!("damaging {name}"))?;
    Ok(())
}

fn put(secret: &mut Secret, key: &str, value: &[u8]) {
    let data = secret.data.get_or_insert_default();
    data.insert(key.to_owned(), ByteString(value.to_vec()));
}

async fn exchange(bed: &Bed, keys: &[&str]) -> Result<()> {
    let (server, client) = (secrets(bed).get(SERVER_SECRET).await?, secrets(bed).get(CLIENT_SECRET).await?);
    for (name, other) in [(SERVER_SECRET, &client), (CLIENT_SECRET, &server)] {
        change(bed, name, |secret| {
            for key in keys {
                put(secret, key, value(other, key)?);
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Somebody else's authority, with a name like one of ours.
pub(crate) fn stranger() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("{}stranger", names::AUTHORITY_NAME_PREFIX));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A leaf as the Secret `name` holds one, valid until the beginning of `end`; certificate and key in PEM.
pub(crate) fn leaf(issuer: &Issuer<'_, KeyPair>, name: &str, end: i32) -> Result<(String, String)> {
    let client = format!("spiffe://cluster.local/ns/keda/sa/{}", names::KEDA_SERVICE_ACCOUNT);
    let (usage, san) = if name == SERVER_SECRET {
        (ExtendedKeyUsagePurpose::ServerAuth, SanType::DnsName(SERVICE.try_into()?))
    } else {
        (ExtendedKeyUsagePurpose::ClientAuth, SanType::URI(client.as_str().try_into()?))
    };
    named_leaf(issuer, usage, san, end)
}

/// A leaf with this use and this name.
pub(crate) fn named_leaf(
    issuer: &Issuer<'_, KeyPair>,
    usage: ExtendedKeyUsagePurpose,
    san: SanType,
    end: i32,
) -> Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("leaf");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.subject_alt_names = vec![san];
    params.use_authority_key_identifier_extension = true;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(end, 1, 1);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// Our authority as whoever has stolen its Secret could use it.
pub(crate) fn ours(authority: &Secret) -> Result<Issuer<'static, KeyPair>> {
    let certificates = certificates(value(authority, CA_CRT)?)?;
    let key = KeyPair::from_pem(std::str::from_utf8(value(authority, CA_KEY)?)?)?;
    Ok(Issuer::from_ca_cert_der(certificates.first().context("no authority")?, key)?)
}

fn expired(authority: &Secret, name: &str) -> Result<(String, String)> {
    leaf(&ours(authority)?, name, 2021)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}
