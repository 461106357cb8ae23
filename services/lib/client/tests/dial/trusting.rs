//! Whom the dialer believes, and what it learns.

use std::fs;
use std::slice::from_ref;

use edgeio_client::Trust;
use rustls::pki_types::CertificateDer;

use crate::support::{ALWAYS, Authority, call, https, plain, secure, with_leaf};

fn by_hash(hash: &str) -> Trust {
    Trust::default().hash(Some(hash.parse().unwrap()))
}

#[tokio::test]
async fn an_authority_is_known_by_file_or_by_hash_or_not_at_all() {
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let server = https(secure(&one, from_ref(&one.own)).await);
    let dir = tempfile::tempdir().unwrap();
    let file = |authority: &Authority| {
        let path = dir.path().join("ca.pem");
        fs::write(&path, authority.pem()).unwrap();
        Trust::default().file(Some(path))
    };
    call(file(&one), "none", &server).await.unwrap();
    call(by_hash(&one.hash()), "none", &server).await.unwrap();

    let error = call(file(&other), "none", &server).await.unwrap_err();
    assert!(
        error.contains("signed by nobody who is trusted here") && error.contains("ca.pem"),
        "{error}"
    );
    let error = call(by_hash(&other.hash()), "none", &server)
        .await
        .unwrap_err();
    assert!(
        error.contains(&other.hash()) && error.contains("somebody stands between"),
        "{error}"
    );
    let error = call(Trust::default(), "none", &server).await.unwrap_err();
    assert!(
        error.contains("the authorities of this system") && error.contains("ca_hash"),
        "{error}"
    );
}

#[tokio::test]
async fn the_hash_of_another_certificate_in_the_chain_proves_nothing() {
    // Somebody between shows the real authority, but has no certificate that it signed.
    let (real, forger) = (Authority::new("real"), Authority::new("forger"));
    let server = https(secure(&forger, &[forger.own.clone(), real.own.clone()]).await);
    let error = call(by_hash(&real.hash()), "none", &server)
        .await
        .unwrap_err();
    assert!(error.contains("signed by nobody"), "{error}");
}

#[tokio::test]
async fn after_the_first_contact_nothing_has_to_be_given() {
    let one = Authority::new("one");
    let server = https(secure(&one, from_ref(&one.own)).await);
    let dir = tempfile::tempdir().unwrap();
    let kept = || Trust::default().kept_in(dir.path().join("kept.pem"));
    call(kept(), "none", &server).await.unwrap_err();
    assert!(
        !dir.path().join("kept.pem").exists(),
        "nothing is learned from a stranger"
    );
    call(
        kept().hash(Some(one.hash().parse().unwrap())),
        "none",
        &server,
    )
    .await
    .unwrap();
    call(kept(), "none", &server).await.unwrap();
    let other = Authority::new("other");
    let stranger = https(secure(&other, from_ref(&other.own)).await);
    let error = call(kept(), "none", &stranger).await.unwrap_err();
    assert!(error.contains("kept.pem"), "{error}");
}

#[tokio::test]
async fn a_new_authority_is_learned_from_an_old_one_and_the_old_one_forgotten() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let dir = tempfile::tempdir().unwrap();
    let kept = || Trust::default().kept_in(dir.path().join("kept.pem"));
    let count = || {
        fs::read_to_string(dir.path().join("kept.pem"))
            .unwrap()
            .matches("BEGIN")
            .count()
    };
    let before = https(secure(&old, from_ref(&old.own)).await);
    call(
        kept().hash(Some(old.hash().parse().unwrap())),
        "none",
        &before,
    )
    .await
    .unwrap();
    assert_eq!(count(), 1);
    let both = https(secure(&new, &[new.cross(&old), new.own.clone(), old.own.clone()]).await);
    call(kept(), "none", &both).await.unwrap();
    assert_eq!(count(), 2);
    let after = https(secure(&new, from_ref(&new.own)).await);
    call(kept(), "none", &after).await.unwrap();
    assert_eq!(count(), 1);
    call(kept(), "none", &before).await.unwrap_err();
}

#[tokio::test]
async fn an_authority_that_nobody_vouches_for_is_not_learned() {
    let (real, stowaway) = (Authority::new("real"), Authority::new("stowaway"));
    let dir = tempfile::tempdir().unwrap();
    let kept = || Trust::default().kept_in(dir.path().join("kept.pem"));
    // Who stole the server's key can show what it likes; so can one whose name is that of a real one.
    let twin = Authority::new("real");
    let shown = [real.own.clone(), stowaway.own.clone(), twin.own.clone()];
    let server = https(secure(&real, &shown).await);
    call(
        kept().hash(Some(real.hash().parse().unwrap())),
        "none",
        &server,
    )
    .await
    .unwrap();
    for forger in [&stowaway, &twin] {
        let server = https(secure(forger, from_ref(&forger.own)).await);
        call(kept(), "none", &server).await.unwrap_err();
    }
    call(kept(), "none", &server).await.unwrap();
}

#[tokio::test]
async fn errors_name_the_remedy() {
    let one = Authority::new("one");
    let shown: [CertificateDer<'static>; 1] = [one.own.clone()];
    let serve = |name, years| with_leaf(one.leaf(name, years), &shown);
    for (name, years, said) in [
        ("other.example", ALWAYS, "not for `localhost`"),
        ("other.example", ALWAYS, "tls_names"),
        ("localhost", (2000, 2001), "has ended"),
        (
            "localhost",
            (3000, 4000),
            "is the clock of this machine right?",
        ),
    ] {
        let server = https(serve(name, years).await);
        let error = call(by_hash(&one.hash()), "none", &server)
            .await
            .unwrap_err();
        assert!(error.contains(said), "{name} {years:?}: {error}");
    }
    let error = call(by_hash(&one.hash()), "none", &https(plain().await))
        .await
        .unwrap_err();
    assert!(
        error.contains("does not speak TLS: write http://"),
        "{error}"
    );
    let server = secure(&one, &shown).await;
    let error = call(Trust::default(), "none", &server.to_string())
        .await
        .unwrap_err();
    assert!(error.contains("it speaks TLS: write https://"), "{error}");
    let missing = Trust::default().file(Some("/nowhere/ca.pem".into()));
    let error = call(missing, "none", &https(server)).await.unwrap_err();
    assert!(
        error.contains("`/nowhere/ca.pem` cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_is_a_name_too() {
    let one = Authority::new("one");
    let server = with_leaf(one.leaf("127.0.0.1", ALWAYS), from_ref(&one.own)).await;
    call(by_hash(&one.hash()), "none", &format!("https://{server}"))
        .await
        .unwrap();
}
