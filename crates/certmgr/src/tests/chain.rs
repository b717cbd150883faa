//! What is in the certificates.

use keda_kaito_core::credentials::BACKDATE;
use keda_kaito_core::names::{self, CA_CRT, TLS_CRT};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use super::handshake::handshake;
use super::memory::{DAY, Memory, start};
use crate::pem;
use crate::stored::Stored;

fn with_first<T>(secret: &Stored, key: &str, read: impl Fn(&X509Certificate<'_>) -> T) -> T {
    let all = pem::certificates(secret.value(key).unwrap()).unwrap();
    read(&pem::parse(&all[0]).unwrap())
}

fn identifiers(certificate: &X509Certificate<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut subject, mut authority) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            subject = id.0.to_vec();
        }
        if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
            authority = id.key_identifier.as_ref().unwrap().0.to_vec();
        }
    }
    (subject, authority)
}

fn critical(certificate: &X509Certificate<'_>) {
    assert!(certificate.basic_constraints().unwrap().unwrap().critical);
    assert!(certificate.key_usage().unwrap().unwrap().critical);
    // 20 bytes at most, positive, and 64 random bits at the very least.
    let serial = certificate.raw_serial();
    assert!((9..=20).contains(&serial.len()) && serial[0] < 0x80, "{serial:?}");
}

#[test]
fn certificates_are_as_the_design_says() {
    let memory = Memory::issued();
    let (authority, server, client) = (memory.authority.unwrap(), memory.server.unwrap(), memory.client.unwrap());
    let root_id = with_first(&authority, CA_CRT, |root| {
        critical(root);
        assert!(root.is_ca());
        assert!(root.key_usage().unwrap().unwrap().value.key_cert_sign());
        assert!(pem::common_name(root).starts_with(names::AUTHORITY_NAME_PREFIX));
        let (subject, issuer) = identifiers(root);
        assert_eq!(subject, issuer);
        assert_eq!(pem::validity(root).unwrap().not_after, start() + 730 * DAY);
        subject
    });
    for (secret, serves) in [(&server, true), (&client, false)] {
        with_first(secret, TLS_CRT, |leaf| {
            critical(leaf);
            assert!(!leaf.is_ca());
            let usage = leaf.extended_key_usage().unwrap().unwrap().value;
            assert_eq!((usage.server_auth, usage.client_auth), (serves, !serves));
            let usage = leaf.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature() && !usage.key_cert_sign());
            let (subject, issuer) = identifiers(leaf);
            assert!(!subject.is_empty());
            assert_eq!(issuer, root_id);
            let validity = pem::validity(leaf).unwrap();
            assert_eq!(validity.not_before, start() - BACKDATE);
            assert_eq!(validity.not_after, start() + 90 * DAY);
        });
    }
    let names = with_first(&server, TLS_CRT, |leaf| {
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        names.value.general_names.iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    assert_eq!(names.len(), 3, "{names:?}");
    with_first(&client, TLS_CRT, |leaf| {
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let uri = GeneralName::URI("spiffe://cluster.local/ns/keda/sa/keda-operator");
        assert_eq!(names.value.general_names, [uri]);
    });
    for (name, works) in [
        ("keda-kaito-scaler-svc", true),
        ("keda-kaito-scaler-svc.keda.svc", true),
        ("127.0.0.1", true),
        ("keda-kaito-scaler-svc.other.svc", false),
    ] {
        assert_eq!(handshake(&server, &client, name, start()).is_ok(), works, "{name}");
    }
    assert!(handshake(&server, &client, "keda-kaito-scaler-svc", start() + 91 * DAY).is_err());
}

#[test]
fn no_two_certificates_share_a_serial_or_an_authority_a_name() {
    let (one, other) = (Memory::issued(), Memory::issued());
    let authorities = [one.authority.as_ref().unwrap(), other.authority.as_ref().unwrap()];
    let names = authorities.map(|secret| with_first(secret, CA_CRT, pem::common_name));
    assert_ne!(names[0], names[1]);
    let serial = |secret: &Stored, key: &str| with_first(secret, key, |leaf| leaf.raw_serial().to_vec());
    let mut serials: Vec<_> = [&one, &other]
        .into_iter()
        .flat_map(|memory| {
            [
                serial(memory.authority.as_ref().unwrap(), CA_CRT),
                serial(memory.server.as_ref().unwrap(), TLS_CRT),
                serial(memory.client.as_ref().unwrap(), TLS_CRT),
            ]
        })
        .collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 6);
}
