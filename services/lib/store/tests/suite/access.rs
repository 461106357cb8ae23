//! Users, tokens, namespaces and the audit: they come back, wake nobody, and the audit goes with its change.

use edgeio_domain::time::Time;
use edgeio_store::{
    AuditEntry, AuditFilter, AuditHead, DEFAULT_NAMESPACE, Namespace, Quota, Write,
};
use uuid::Uuid;

use crate::{bed::Bed, make};

async fn audit(bed: &Bed, after: u64) -> Vec<AuditEntry> {
    let filter = AuditFilter {
        after: Some(after),
        limit: 10_000,
        ..AuditFilter::default()
    };
    bed.read().await.audit_entries(&filter).await.unwrap()
}

pub(crate) async fn users_and_tokens_come_back_and_wake_nobody(bed: Bed) {
    let watch = bed.store.watch();
    let users: Vec<_> = (0..6).map(|n| make::user(n, n)).collect();
    let tokens: Vec<_> = (0..6).map(|n| make::user_token(n, n)).collect();
    let put = users.iter().cloned().map(Write::PutUser);
    let put = put.chain(tokens.iter().cloned().map(Write::PutUserToken));
    assert_eq!(bed.put(put).await, 0);
    assert!(!watch.has_changed().unwrap());
    let bed = bed.reopen().await;
    let tx = bed.read().await;
    assert_eq!(tx.users().await.unwrap(), users);
    assert_eq!(
        tx.user(users[2].id).await.unwrap().as_ref(),
        Some(&users[2])
    );
    assert_eq!(tx.user(Uuid::from_u128(99)).await.unwrap(), None);
    assert_eq!(tx.user_tokens(None).await.unwrap(), tokens);
    let own: Vec<_> = tokens.iter().filter(|t| t.user == users[1].id).collect();
    let found = tx.user_tokens(Some(users[1].id)).await.unwrap();
    assert_eq!(found.iter().collect::<Vec<_>>(), own);
    assert!(!own.is_empty());
    let one = tx.user_token(&tokens[3].id).await.unwrap();
    assert_eq!(one.as_ref(), Some(&tokens[3]));
    assert_eq!(tx.user_token("another").await.unwrap(), None);
    drop(tx);

    let mut revoked = tokens[3].clone();
    revoked.revoked_at = Some(Time(9));
    bed.put([
        Write::PutUserToken(revoked.clone()),
        Write::DeleteUser(users[0].id),
        Write::DeleteUserToken(tokens[0].id.clone()),
        Write::DeleteUser(Uuid::from_u128(99)),
        Write::DeleteUserToken("another".to_owned()),
    ])
    .await;
    let tx = bed.read().await;
    assert_eq!(tx.users().await.unwrap(), users[1..]);
    assert_eq!(tx.user_tokens(None).await.unwrap().len(), 5);
    assert_eq!(
        tx.user_token(&revoked.id).await.unwrap().as_ref(),
        Some(&revoked)
    );
}

pub(crate) async fn namespaces_come_back_and_the_default_one_is_there(bed: Bed) {
    let names = |all: Vec<Namespace>| -> Vec<String> {
        all.into_iter().map(|one| one.name.to_string()).collect()
    };
    let all = bed.read().await.namespaces().await.unwrap();
    assert_eq!(names(all), [DEFAULT_NAMESPACE]);
    let shop = Namespace {
        name: make::name("shop"),
        quota: Quota {
            cpu_millis: Some(1500),
            memory_bytes: Some(u64::MAX),
            instances: Some(0),
            applications: None,
        },
        created_at: Time(7),
    };
    bed.put([Write::PutNamespace(shop.clone())]).await;
    let bed = bed.reopen().await;
    let found = bed.read().await.namespace("shop").await.unwrap();
    assert_eq!(found, Some(shop));
    let all = bed.read().await.namespaces().await.unwrap();
    assert_eq!(names(all), [DEFAULT_NAMESPACE, "shop"]);
    bed.put([Write::DeleteNamespace("shop".to_owned())]).await;
    assert_eq!(bed.read().await.namespace("shop").await.unwrap(), None);
}

pub(crate) async fn the_audit_is_one_chain_and_wakes_nobody(bed: Bed) {
    let watch = bed.store.watch();
    for n in 0..4 {
        let two = [0, 1].map(|k| Write::Audit(make::audit(2 * n + k)));
        assert_eq!(bed.put(two).await, 0);
    }
    assert!(!watch.has_changed().unwrap());
    let bed = bed.reopen().await;
    bed.put([Write::Audit(make::audit(8))]).await;
    let all = audit(&bed, 0).await;
    let records: Vec<_> = all.iter().map(|entry| entry.record.clone()).collect();
    assert_eq!(records, (0..9).map(make::audit).collect::<Vec<_>>());
    let head = AuditHead::default().verify(&all).unwrap();
    assert_eq!(head.seq, 9);
    assert_eq!(audit(&bed, 7).await, all[7..]);
    let filter = AuditFilter {
        before: Some(8),
        limit: 3,
        ..AuditFilter::default()
    };
    let found = bed.read().await.audit_entries(&filter).await.unwrap();
    let numbers: Vec<u64> = found.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, [7, 6, 5], "without a beginning the newest first");
}

pub(crate) async fn the_audit_is_there_if_and_only_if_its_change_is(bed: Bed) {
    let held = make::lease(1, 4, 1);
    bed.put([Write::PutLease(held.clone())]).await;
    let mut wrong = held.fence();
    wrong.epoch = 3;
    let writes = |n| {
        [
            Write::PutApplication(make::application(n, n)),
            Write::Audit(make::audit(n)),
        ]
    };
    assert!(bed.try_put_by(Some(wrong), writes(1)).await.is_err());
    let mut tx = bed.store.write().await.unwrap();
    tx.audit(make::audit(2));
    drop(tx);
    assert_eq!(audit(&bed, 0).await, []);
    // Two applications of one name: the second is refused, and so is its entry.
    bed.put(writes(1)).await;
    let mut taken = make::application(2, 2);
    taken.key = make::application(1, 1).key;
    let again = [Write::Audit(make::audit(3)), Write::PutApplication(taken)];
    assert!(bed.try_put(again).await.is_err());
    let all = audit(&bed, 0).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].record, make::audit(1));
    bed.put([Write::Compact(Time(i64::MAX))]).await;
    assert_eq!(audit(&bed, 0).await.len(), 1, "it is never compacted");
}
