//! The laws of what is signed, over random ids.

use proptest::prelude::*;

use super::super::token::verified;
use super::*;

/// With the same keys each time: making them costs more than what is tested.
fn minter(cluster: Uuid) -> Minter {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let dir = DIR.get_or_init(|| tempfile::tempdir().unwrap());
    Minter::new(Keys::open(dir.path(), 1000).unwrap(), cluster)
}

fn list(claims: &Value, way: &str) -> Vec<String> {
    let allow = &claims["nats"][way]["allow"];
    serde_json::from_value(allow.clone()).unwrap()
}

fn ids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// What a filter of ours matches has the shape of it, token by token.
fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

proptest! {
    #[test]
    fn a_worker_reaches_its_own_subjects_and_no_others(
        cluster in ids(), worker in ids(), other in ids(), session in ids(), issued in 0..i64::MAX / 2,
    ) {
        prop_assume!(worker != other && cluster != other);
        let minter = minter(cluster);
        let key = KeyPair::new_user().public_key();
        let token = minter.worker(worker, &key, issued, issued + 3600).unwrap();
        let claims = verified(&token, &minter.keys.signing).unwrap();
        prop_assert_eq!(&claims["sub"], &json!(key));
        prop_assert_eq!(&claims["exp"], &json!(issued + 3600));
        prop_assert_eq!(&claims["nats"]["issuer_account"], &json!(minter.keys.account_key()));
        let (publish, subscribe) = (list(&claims, "pub"), list(&claims, "sub"));
        prop_assert!(!publish.is_empty() && !subscribe.is_empty());
        prop_assert!(claims["nats"].get("resp").is_none());
        let up = |cluster, worker| [
            Subject::report(cluster, worker),
            Subject::telemetry(cluster, worker),
            Subject { cluster, worker, channel: edgeio_proto::subject::Channel::Stream { session, way: Way::Up } },
        ];
        let down = |cluster, worker| [
            Subject::control(cluster, worker),
            Subject { cluster, worker, channel: edgeio_proto::subject::Channel::Stream { session, way: Way::Down } },
        ];
        let may = |list: &[String], subject: &str| list.iter().any(|filter| matches(filter, subject));
        for subject in up(cluster, worker) {
            prop_assert!(may(&publish, &subject.to_string()) && !may(&subscribe, &subject.to_string()), "{}", subject);
        }
        for subject in down(cluster, worker) {
            prop_assert!(may(&subscribe, &subject.to_string()) && !may(&publish, &subject.to_string()), "{}", subject);
        }
        for (c, w) in [(cluster, other), (other, worker), (other, other)] {
            for subject in up(c, w).into_iter().chain(down(c, w)) {
                let subject = subject.to_string();
                prop_assert!(!may(&publish, &subject) && !may(&subscribe, &subject), "{}", subject);
            }
        }
        // Each has the worker's id in full, and a wildcard stands for a session or an answer only.
        for subject in publish.iter().chain(&subscribe) {
            prop_assert!(subject.contains(&worker.to_string()), "{}", subject);
            let bare = subject.replace(".stream.*.", ".").replace(&every_answer(worker), "");
            prop_assert!(!bare.contains(['*', '>', '$', ' ']), "{}", subject);
        }
    }

    #[test]
    fn a_bridge_reaches_its_cluster_and_a_revoker_one_subject(cluster in ids(), bridge in ids(), other in ids(), worker in ids()) {
        prop_assume!(cluster != other);
        let minter = minter(cluster);
        let key = KeyPair::new_user().public_key();
        let token = minter.bridge(bridge, &key, 5, 10).unwrap();
        let claims = verified(&token, &minter.keys.signing).unwrap();
        let (publish, subscribe) = (list(&claims, "pub"), list(&claims, "sub"));
        let may = |list: &[String], subject: Subject| list.iter().any(|filter| matches(filter, &subject.to_string()));
        prop_assert!(may(&publish, Subject::control(cluster, worker)) && may(&subscribe, Subject::report(cluster, worker)));
        prop_assert!(!may(&publish, Subject::report(cluster, worker)) && !may(&subscribe, Subject::control(cluster, worker)));
        for list in [&publish, &subscribe] {
            prop_assert!(!may(list, Subject::control(other, worker)) && !may(list, Subject::report(other, worker)));
        }
        let token = minter.revoker(bridge, &key, 5, 10).unwrap();
        let claims = verified(&token, &minter.keys.system).unwrap();
        prop_assert_eq!(list(&claims, "pub"), vec![CLAIMS_UPDATE.to_owned()]);
        prop_assert_eq!(list(&claims, "sub"), vec![every_answer(bridge)]);
    }

    #[test]
    fn a_key_that_is_no_users_gets_nothing(key in "\\PC{0,70}") {
        let minter = minter(Uuid::nil());
        let refused = matches!(minter.worker(Uuid::nil(), &key, 0, 1), Err(MintError::Key { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn an_account_names_who_is_revoked(revoked in proptest::collection::btree_map("U[A-Z2-7]{55}", 0..i64::MAX, 0..5)) {
        let minter = minter(Uuid::nil());
        let claims = verified(&minter.account(7, &revoked).unwrap(), &minter.keys.operator).unwrap();
        let said: Revocations = claims["nats"].get("revocations").map_or_else(Revocations::new, |said| {
            serde_json::from_value(said.clone()).unwrap()
        });
        prop_assert_eq!(said, revoked);
        prop_assert_eq!(&claims["nats"]["default_permissions"]["sub"]["deny"], &json!([">"]));
        prop_assert_eq!(&claims["nats"]["limits"]["leaf"], &json!(0));
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let minter = minter(Uuid::nil());
    for pair in [
        KeyPair::new_account(),
        KeyPair::new_operator(),
        KeyPair::new_server(),
    ] {
        for minted in [
            minter.worker(Uuid::nil(), &pair.public_key(), 0, 1),
            minter.bridge(Uuid::nil(), &pair.public_key(), 0, 1),
            minter.revoker(Uuid::nil(), &pair.public_key(), 0, 1),
        ] {
            assert!(matches!(minted, Err(MintError::Key { .. })), "{minted:?}");
        }
    }
}

#[test]
fn no_list_is_ever_empty_or_everything() {
    for bad in [
        vec![],
        vec![String::new()],
        vec!["a".to_owned(), ">".to_owned()],
        vec!["*".to_owned()],
        vec![" ".to_owned()],
    ] {
        assert!(matches!(Allowed::new(bad), Err(MintError::Open)));
    }
}
