//! The authority over years that pass in a moment: what it serves is verified as a client would.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustls::pki_types::{ServerName, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::*;

const DAY: Seconds = 24 * 3600;
const START: Seconds = 1_800_000_000;

fn lives() -> Lives {
    Lives {
        ca: Duration::from_secs(1000 * 24 * 3600),
        rotate_at: 80,
        leaf: Duration::from_secs(30 * 24 * 3600),
    }
}

fn names() -> Vec<String> {
    ["edge.example", "10.0.0.7", "::1"]
        .map(str::to_owned)
        .to_vec()
}

struct Place {
    dir: tempfile::TempDir,
    pki: Pki,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path(), "root", lives());
        Self { dir, pki }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("pki").join(name)
    }

    fn at(&self, now: Seconds) -> Served {
        self.pki.tend(&names(), now).unwrap()
    }
}

/// The self-signed ones of a chain, newest first.
fn authorities(served: &Served) -> Vec<CertificateDer<'static>> {
    let facts = |der: &CertificateDer<'_>| authority::Facts::of(der).unwrap();
    let own = |der: &&CertificateDer<'_>| facts(der).subject == facts(der).issuer;
    served.chain.iter().filter(own).cloned().collect()
}

/// Whether a client that trusts only `root` believes the chain at that time, for that name.
fn believes(root: &CertificateDer<'_>, served: &Served, name: &str, now: Seconds) -> bool {
    let anchors = [anchor_from_trusted_cert(root).unwrap()];
    let leaf = EndEntityCert::try_from(&served.chain[0]).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap()));
    let verified = leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        &served.chain[1..],
        at,
        KeyUsage::server_auth(),
        None,
        None,
    );
    let name = ServerName::try_from(name).unwrap();
    verified.is_ok() && leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

#[test]
fn what_is_made_is_kept_and_believed() {
    let place = Place::new();
    let first = place.at(START);
    let root = &authorities(&first)[0];
    assert_eq!(first.ca_hash, hash(root));
    for name in ["edge.example", "10.0.0.7", "::1"] {
        assert!(believes(root, &first, name, START), "{name}");
    }
    assert!(!believes(root, &first, "other.example", START));
    assert!(
        believes(root, &first, "10.0.0.7", START - 600),
        "a clock that is late by ten minutes"
    );
    let again = place.at(START + DAY);
    assert_eq!(first.chain, again.chain);
    let other = Place::new().at(START);
    assert!(
        !believes(root, &other, "10.0.0.7", START),
        "another server's"
    );
}

#[test]
fn keys_are_for_their_owner_only() {
    let place = Place::new();
    place.at(START);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.file("")), 0o700);
    for entry in fs::read_dir(place.file("")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn the_leaf_is_renewed_after_two_thirds_and_when_names_change() {
    let place = Place::new();
    let first = place.at(START);
    let root = &authorities(&first)[0];
    assert_eq!(place.at(START + 19 * DAY).chain, first.chain);
    let renewed = place.at(START + 20 * DAY + 3600);
    assert_ne!(renewed.chain[0], first.chain[0]);
    assert_eq!(renewed.chain[1..], first.chain[1..]);
    assert!(believes(root, &renewed, "10.0.0.7", START + 45 * DAY));

    let names = vec!["new.example".to_owned()];
    let moved = place.pki.tend(&names, START + 21 * DAY).unwrap();
    assert!(believes(root, &moved, "new.example", START + 21 * DAY));
    assert!(!believes(root, &moved, "10.0.0.7", START + 21 * DAY));
}

#[test]
fn a_lost_or_foreign_leaf_key_makes_a_new_leaf() {
    let place = Place::new();
    let first = place.at(START);
    let other = Place::new();
    other.at(START);
    fs::copy(other.file("server.key"), place.file("server.key")).unwrap();
    let second = place.at(START);
    assert_ne!(second.chain[0], first.chain[0]);
    fs::write(place.file("server.pem"), "nothing").unwrap();
    let third = place.at(START);
    assert_ne!(third.chain[0], second.chain[0]);
    assert!(believes(&authorities(&first)[0], &third, "10.0.0.7", START));
}

#[test]
fn who_trusts_any_authority_that_is_valid_gets_in() {
    let place = Place::new();
    let first = place.at(now());
    let one = authorities(&first)[0].clone();
    let two_hash = place.pki.rotate().unwrap().hash;
    let second = place.at(now());
    let two = authorities(&second)[0].clone();
    assert_eq!((hash(&two), &second.ca_hash), (two_hash.clone(), &two_hash));
    place.pki.rotate().unwrap();
    let third = place.at(now());
    let three = authorities(&third)[0].clone();
    assert_eq!(
        authorities(&third),
        [three.clone(), two.clone(), one.clone()]
    );
    for root in [&one, &two, &three] {
        assert!(believes(root, &third, "10.0.0.7", now()));
    }
    assert!(
        !believes(&three, &first, "10.0.0.7", now()),
        "the new one vouches for nothing old"
    );
    let bundle = fs::read_to_string(place.file("ca.pem")).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 3);

    place.pki.drop(&hash(&one)[..16]).unwrap();
    let after = place.at(now());
    assert!(!believes(&one, &after, "10.0.0.7", now()));
    assert!(believes(&two, &after, "10.0.0.7", now()));
    assert!(believes(&three, &after, "10.0.0.7", now()));
}

#[test]
fn an_authority_is_replaced_in_time_and_then_forgotten() {
    let place = Place::new();
    let first = place.at(START);
    let one = authorities(&first)[0].clone();
    assert_eq!(authorities(&place.at(START + 799 * DAY)).len(), 1);
    let both = place.at(START + 801 * DAY);
    assert_eq!(authorities(&both).len(), 2);
    let late = place.at(START + 990 * DAY);
    assert!(
        believes(&one, &late, "10.0.0.7", START + 999 * DAY),
        "to its last day"
    );
    let two = authorities(&late)[0].clone();
    let after = place.at(START + 1000 * DAY);
    assert_eq!(authorities(&after).as_slice(), std::slice::from_ref(&two));
    assert!(believes(&two, &after, "10.0.0.7", START + 1000 * DAY));
    assert!(!place.file("ca-1.key").exists());
    // Nobody looked for years: everything has ended, and a new beginning is made.
    let reborn = place.at(START + 9000 * DAY);
    assert_eq!(authorities(&reborn).len(), 1);
    assert_ne!(authorities(&reborn)[0], two);
}

#[test]
fn what_is_damaged_is_named_and_not_written_over() {
    let place = Place::new();
    place.at(START);
    fs::write(place.file("ca-1.pem"), "nothing").unwrap();
    let error = place.pki.tend(&names(), START).unwrap_err();
    assert!(matches!(error, PkiError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("ca-1.pem"), "{error}");
    assert_eq!(
        fs::read_to_string(place.file("ca-1.pem")).unwrap(),
        "nothing"
    );

    let (place, other) = (Place::new(), Place::new());
    place.at(START);
    other.at(START);
    fs::copy(other.file("ca-1.key"), place.file("ca-1.key")).unwrap();
    let error = place.pki.tend(&names(), START).unwrap_err().to_string();
    assert!(error.contains("not the key of ca-1.pem"), "{error}");
}

#[test]
fn commands_refuse_what_would_shut_out_everybody() {
    let place = Place::new();
    assert!(matches!(place.pki.show(), Err(PkiError::None(_))));
    assert!(matches!(place.pki.rotate(), Err(PkiError::None(_))));
    let hash = place.at(now()).ca_hash;
    assert!(matches!(place.pki.drop(&hash), Err(PkiError::Signs)));
    assert!(matches!(
        place.pki.drop(&hash[..7]),
        Err(PkiError::NoSuch(_))
    ));
    let known = place.pki.show().unwrap();
    assert_eq!(known[0].hash, hash);
    assert!(
        known[0].subject.starts_with("edgeIO root CA 1 "),
        "{known:?}"
    );
}

#[test]
fn a_name_that_cannot_stand_in_a_certificate_is_named() {
    let place = Place::new();
    let names = vec!["good.example".to_owned(), "bäd.example".to_owned()];
    let error = place.pki.tend(&names, START).unwrap_err().to_string();
    assert!(
        error.contains("`bäd.example`") && error.contains("tls_names"),
        "{error}"
    );
}
