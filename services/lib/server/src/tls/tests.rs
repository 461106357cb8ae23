//! One's own files while somebody else replaces them, and what the built-in authority is asked for.

use std::{fs, path::Path};

use super::*;

fn write(dir: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn serve(dir: &Path) -> ServeConfig {
    ServeConfig {
        tls: TlsMode::Files,
        tls_cert: Some(dir.join("cert.pem")),
        tls_key: Some(dir.join("key.pem")),
        ..ServeConfig::default()
    }
}

fn served(tls: &Tls) -> CertificateDer<'static> {
    tls.holder.current().certified.cert[0].clone()
}

#[test]
fn files_are_taken_up_when_they_change_and_only_when_they_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(dir.path(), "a.example");
    let tls = Tls::open(&serve(dir.path()), dir.path(), "root", &[])
        .unwrap()
        .unwrap();
    assert_eq!(served(&tls), first);
    assert_eq!(tls.ca_hash(), Some(crate::pki::hash(&first)));

    for (file, content, said) in [
        ("cert.pem", "", "no certificate in PEM form"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "no certificate in PEM form",
        ),
        ("key.pem", "", "no private key in PEM form"),
    ] {
        write(dir.path(), "b.example");
        fs::write(dir.path().join(file), content).unwrap();
        let error = chain(&tls.look().unwrap_err());
        assert!(error.contains(said) && error.contains(file), "{error}");
        assert_eq!(served(&tls), first, "the old one is served on");
    }
    let second = write(dir.path(), "b.example");
    let key = fs::read(dir.path().join("key.pem")).unwrap();
    write(dir.path(), "c.example");
    fs::write(dir.path().join("key.pem"), key).unwrap();
    let error = chain(&tls.look().unwrap_err());
    assert!(
        error.contains("is not the key of the first certificate"),
        "{error}"
    );
    fs::remove_file(dir.path().join("cert.pem")).unwrap();
    assert!(chain(&tls.look().unwrap_err()).contains("cert.pem"));

    let third = write(dir.path(), "c.example");
    tls.look().unwrap();
    assert_eq!(served(&tls), third);
    assert_ne!(second, third);
}

#[test]
fn files_that_are_not_there_end_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tls::open(&serve(dir.path()), dir.path(), "root", &[]).unwrap_err();
    assert!(chain(&error).contains("cert.pem"), "{error}");
    assert!(
        Tls::open(&ServeConfig::default(), dir.path(), "root", &[])
            .unwrap()
            .is_none()
    );
    assert!(
        !dir.path().join("pki").exists(),
        "without TLS nothing is made"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_said_once() {
    let capture = crate::telemetry::Capture::start()
        .expect("the certificate cannot be renewed; the old one is served on");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.example");
    let tls = Tls::open(&serve(dir.path()), dir.path(), "root", &[])
        .unwrap()
        .unwrap();
    fs::write(dir.path().join("key.pem"), "").unwrap();
    let (trigger, stop) = Shutdown::new();
    let keeping = tokio::spawn(tls.keep(stop));
    tokio::time::sleep(LOOK * 10).await;
    trigger.fire();
    keeping.await.unwrap();
    capture.finish().unwrap();
}

#[test]
fn a_server_knows_its_names() {
    let serve = ServeConfig {
        listen: "10.1.2.3:10000".parse().unwrap(),
        tls_names: vec!["Root.Example".to_owned(), "2001:DB8::1".to_owned()],
        ..ServeConfig::default()
    };
    let names = names(
        &serve,
        &[
            "cluster.example:10100",
            "[2001:db8::2]:1",
            "10.0.0.9",
            "https://x.example:1",
        ],
    );
    for name in [
        "root.example",
        "2001:db8::1",
        "cluster.example",
        "2001:db8::2",
        "10.0.0.9",
        "x.example",
        "10.1.2.3",
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        assert_eq!(
            names.iter().filter(|known| *known == name).count(),
            1,
            "{name}: {names:?}"
        );
    }
}
