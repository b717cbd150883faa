use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;

use super::*;

pub(crate) const OPERATOR: &str = "spiffe://cluster.local/ns/keda/sa/keda-operator";

/// An authority of tests and what it issues.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate chain with its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// `name` follows the stem of our authorities' names.
    pub(crate) fn ours(name: &str) -> Self {
        Self::named(&format!("{}{name}", names::AUTHORITY_NAME_PREFIX), 1)
    }

    pub(crate) fn named(common_name: &str, days_left: i64) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        valid(&mut params, days_left);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn server(&self) -> Pair {
        self.issue(
            ExtendedKeyUsagePurpose::ServerAuth,
            SanType::DnsName("localhost".try_into().unwrap()),
            1,
        )
    }

    pub(crate) fn client(&self, uri: &str) -> Pair {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, SanType::URI(uri.try_into().unwrap()), 1)
    }

    /// Like the Go reference's: no URI.
    pub(crate) fn nameless_client(&self) -> Pair {
        self.issue(
            ExtendedKeyUsagePurpose::ClientAuth,
            SanType::DnsName("client".try_into().unwrap()),
            1,
        )
    }

    pub(crate) fn issue(&self, usage: ExtendedKeyUsagePurpose, name: SanType, days_left: i64) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("leaf");
        params.extended_key_usages = vec![usage];
        params.subject_alt_names = vec![name];
        valid(&mut params, days_left);
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(params: &mut CertificateParams, days_left: i64) {
    let day = Duration::from_secs(86_400);
    let now = std::time::SystemTime::now();
    let end = if days_left < 0 { now - day } else { now + day };
    params.not_before = (now - 30 * day).into();
    params.not_after = end.into();
}

/// The Secret that certmgr would write.
pub(crate) fn secret(generation: u64, pair: &Pair, bundle: &[&Authority]) -> Secret {
    let bundle: String = bundle.iter().map(|authority| authority.pem.as_str()).collect();
    let mut secret = Secret {
        data: Some(BTreeMap::from([
            (names::CA_CRT.to_owned(), ByteString(bundle.into_bytes())),
            (names::TLS_CRT.to_owned(), ByteString(pair.certificate.clone().into_bytes())),
            (names::TLS_KEY.to_owned(), ByteString(pair.key.clone().into_bytes())),
        ])),
        ..Secret::default()
    };
    secret.metadata.name = Some(names::SERVER_SECRET.to_owned());
    secret.metadata.annotations = Some(BTreeMap::from([(
        names::GENERATION_ANNOTATION.to_owned(),
        generation.to_string(),
    )]));
    secret
}

fn put(secret: &mut Secret, key: &str, value: &[u8]) {
    secret
        .data
        .as_mut()
        .unwrap()
        .insert(key.to_owned(), ByteString(value.to_vec()));
}

#[test]
fn good_secret_becomes_credentials_without_resumption() {
    let authority = Authority::ours("a");
    let credentials = load(&secret(7, &authority.server(), &[&authority]), &ClusterTime::default()).unwrap();
    assert_eq!(credentials.generation, 7);
    assert_eq!(credentials.retiring, None);
    assert_eq!(credentials.config.alpn_protocols, [b"h2"]);
    assert_eq!(credentials.config.send_tls13_tickets, 0);
    assert!(!credentials.config.session_storage.can_cache());
}

#[test]
fn anything_wrong_refuses_the_whole_secret() {
    let (a, b) = (Authority::ours("a"), Authority::ours("b"));
    let expired_authority = Authority::named("old", -1);
    let expired = a.issue(
        ExtendedKeyUsagePurpose::ServerAuth,
        SanType::DnsName("localhost".try_into().unwrap()),
        -1,
    );
    let pair = a.server();
    let good = || secret(1, &pair, &[&a]);
    let with = |key: &str, value: &[u8]| {
        let mut secret = good();
        put(&mut secret, key, value);
        secret
    };
    let truncated = pair.certificate.as_bytes().split_at(200).0;
    for (secret, message) in [
        (Secret::default(), "ca.crt is missing"),
        (with(names::CA_CRT, b""), "ca.crt is missing"),
        (with(names::CA_CRT, b"junk"), "ca.crt holds no authority that is valid now"),
        (
            with(names::CA_CRT, expired_authority.pem.as_bytes()),
            "ca.crt holds no authority that is valid now",
        ),
        (
            with(names::CA_CRT, a.pem.repeat(17).as_bytes()),
            "ca.crt holds 17 certificates; at most 16 are accepted",
        ),
        (
            with(names::CA_CRT, &[b'x'; 70_000]),
            "ca.crt is 70000 bytes long; at most 65536 are accepted",
        ),
        (with(names::TLS_CRT, truncated), "tls.crt cannot be read as PEM"),
        (
            with(
                names::TLS_KEY,
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            ),
            "tls.key is not the key of tls.crt, or of a kind that is not supported",
        ),
        (
            with(names::TLS_KEY, b.server().key.as_bytes()),
            "tls.key is not the key of tls.crt, or of a kind that is not supported",
        ),
    ] {
        assert_eq!(load(&secret, &ClusterTime::default()).unwrap_err().to_string(), message);
    }
    let error = load(&self::secret(1, &expired, &[&a]), &ClusterTime::default()).unwrap_err();
    assert!(error.to_string().ends_with("which is not now"), "{error}");

    let mut secret = good();
    secret
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(names::GENERATION_ANNOTATION.to_owned(), "many".to_owned());
    let error = load(&secret, &ClusterTime::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "annotation keda-kaito-scaler.kaito.sh/generation: \"many\" cannot be read"
    );
}

#[test]
fn expired_root_is_dropped_beside_a_valid_one() {
    let (old, new) = (Authority::named("old", -1), Authority::ours("b"));
    let credentials = load(&secret(1, &new.server(), &[&old, &new]), &ClusterTime::default()).unwrap();
    let chain = |pair: &Pair| vec![rustls_pki_types::pem::PemObject::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    assert!(credentials.trusts(&chain(&new.client(OPERATOR)), Timestamp::now()));
    assert!(!credentials.trusts(&chain(&old.client(OPERATOR)), Timestamp::now()));
    assert!(!credentials.trusts(&[], Timestamp::now()));
}

#[test]
fn private_key_is_not_in_debug_output() {
    let authority = Authority::ours("a");
    let credentials = load(&secret(7, &authority.server(), &[&authority]), &ClusterTime::default()).unwrap();
    let text = format!("{credentials:?}");
    assert!(text.starts_with("Credentials { generation: 7,"), "{text}");
    assert!(!text.to_lowercase().contains("key"), "{text}");
}

#[test]
fn callers_of_ours_need_an_allowed_uri_and_foreign_ones_none() {
    let rules = CallerRules {
        uris: vec![OPERATOR.to_owned()],
    };
    let admit = |pair: &Pair| {
        let leaf = rustls_pki_types::pem::PemObject::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        rules.admit(&[leaf])
    };
    let ours = Authority::ours("a");
    let reference = Authority::named("keda-kaito-scaler-ca", 1);
    let caller = admit(&ours.client(OPERATOR)).unwrap();
    assert_eq!(caller.issuer, "keda-kaito-scaler-ca-a");
    assert!(caller.not_before < Timestamp::now());
    assert!(admit(&reference.nameless_client()).is_ok());
    assert_eq!(
        admit(&ours.nameless_client()).unwrap_err().to_string(),
        "the client certificate carries none of the allowed URIs, but []"
    );
    assert!(admit(&ours.client("spiffe://cluster.local/ns/other/sa/keda-operator")).is_err());
    assert!(matches!(rules.admit(&[]), Err(CallerError::None)));
}

#[test]
fn certificates_are_judged_by_the_clusters_clock_and_not_by_ours() {
    let authority = Authority::named("keda-kaito-scaler-ca-a", -1);
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let server = authority.issue(usage, SanType::DnsName("localhost".try_into().unwrap()), -1);
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let client = authority.issue(usage, SanType::URI(OPERATOR.try_into().unwrap()), -1);
    let chain = [CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap()];
    let secret = secret(1, &server, &[&authority]);
    let time = ClusterTime::default();
    assert!(load(&secret, &time).is_err(), "by our clock all have expired");
    let before = Timestamp::now() - Duration::from_secs(10 * 86_400);
    time.set(before, tokio::time::Instant::now());
    let credentials = load(&secret, &time).unwrap();
    assert!(credentials.trusts(&chain, credentials.now()));
    let handshakes = credentials.config.time_provider.current_time().unwrap().as_secs();
    assert_eq!(i64::try_from(handshakes).unwrap().abs_diff(before.as_second()) / 60, 0);
    time.set(Timestamp::now(), tokio::time::Instant::now());
    assert!(!credentials.trusts(&chain, credentials.now()));
}
