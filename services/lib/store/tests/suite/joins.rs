//! Join tokens and bridges: they come back, and no token lets more in than it allows.

use edgeio_domain::time::Time;
use edgeio_store::{Bridge, JoinKind, JoinToken, StoreError, Write};
use uuid::Uuid;

use crate::{bed::Bed, make};

fn token(n: u64, max_uses: u32) -> JoinToken {
    JoinToken {
        id: format!("token-{n}"),
        secret_hash: [u8::try_from(n).unwrap(); 32],
        kind: [JoinKind::Cluster, JoinKind::Worker, JoinKind::Bridge][n as usize % 3],
        names: "site-*".to_owned(),
        max_uses,
        uses: 0,
        creator: "ann".to_owned(),
        created_at: Time(1),
        expires_at: Time(1000),
        revoked_at: None,
    }
}

fn use_at(id: &str, now: i64) -> Write {
    Write::UseJoinToken {
        id: id.to_owned(),
        now: Time(now),
    }
}

async fn uses(bed: &Bed, id: &str) -> u32 {
    let token = bed.read().await.join_token(id).await.unwrap();
    token.unwrap().uses
}

fn is_spent(answer: &Result<u64, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Spent { .. }))
}

pub(crate) async fn tokens_and_bridges_come_back_and_wake_nobody(bed: Bed) {
    let watch = bed.store.watch();
    let mut tokens: Vec<JoinToken> = (0..6).map(|n| token(n, u32::MAX)).collect();
    let bridge = |n: u128| Bridge {
        id: Uuid::from_u128(n),
        name: format!("bridge {n}"),
        public_key: format!("key {n}"),
        created_at: Time(3),
    };
    let bridges: Vec<Bridge> = (0..3).map(bridge).collect();
    let put = tokens.iter().cloned().map(Write::PutJoinToken);
    let put = put.chain(bridges.iter().cloned().map(Write::PutBridge));
    assert_eq!(bed.put(put).await, 0);
    assert!(!watch.has_changed().unwrap());
    let revoke = |at| Write::RevokeJoinToken {
        id: tokens[2].id.clone(),
        at: Time(at),
    };
    bed.put([revoke(7)]).await;
    bed.put([revoke(9), Write::DeleteBridge(bridges[0].id)])
        .await;
    tokens[2].revoked_at = Some(Time(7));
    let bed = bed.reopen().await;
    let tx = bed.read().await;
    assert_eq!(tx.join_tokens().await.unwrap(), tokens);
    let one = tx.join_token("token-2").await.unwrap();
    assert_eq!(one.as_ref(), Some(&tokens[2]));
    assert_eq!(tx.join_token("another").await.unwrap(), None);
    assert_eq!(tx.bridges().await.unwrap(), bridges[1..]);
    let by_key = async |key: &str| tx.bridge_by_key(key).await.unwrap();
    assert_eq!(by_key("key 1").await.as_ref(), Some(&bridges[1]));
    assert_eq!(by_key("key 0").await, None);
    assert_eq!(by_key("").await, None);
}

pub(crate) async fn a_child_is_found_by_its_key(bed: Bed) {
    let with_key = |n: u64, key: &str| edgeio_domain::child::Child {
        public_key: key.to_owned(),
        ..make::child(n, n)
    };
    let children = [with_key(1, ""), with_key(2, "UA"), with_key(3, "UB")];
    bed.put(children.iter().cloned().map(Write::PutChild)).await;
    let bed = bed.reopen().await;
    let tx = bed.read().await;
    let by_key = async |key: &str| tx.child_by_key(key).await.unwrap().map(|c| c.id);
    assert_eq!(by_key("UA").await, Some(children[1].id));
    assert_eq!(by_key("UB").await, Some(children[2].id));
    for nobodys in ["", "U", "ua", "UC", "%"] {
        assert_eq!(by_key(nobodys).await, None, "{nobodys}");
    }
}

pub(crate) async fn a_use_is_taken_with_the_rest_or_not_at_all(bed: Bed) {
    bed.put([Write::PutJoinToken(token(1, 1))]).await;
    let join = |n| [use_at("token-1", 5), Write::PutChild(make::child(n, n))];
    bed.put(join(1)).await;
    assert_eq!(uses(&bed, "token-1").await, 1);
    assert!(is_spent(&bed.try_put(join(2)).await));
    assert_eq!(uses(&bed, "token-1").await, 1);
    assert_eq!(bed.read().await.children().await.unwrap().len(), 1);
    // Twice in one commit is twice.
    bed.put([Write::PutJoinToken(token(2, 1))]).await;
    let twice = [use_at("token-2", 5), use_at("token-2", 5)];
    assert!(is_spent(&bed.try_put(twice).await));
    assert_eq!(uses(&bed, "token-2").await, 0);
}

pub(crate) async fn a_token_that_is_not_good_has_no_use(bed: Bed) {
    bed.put([
        Write::PutJoinToken(token(1, 5)),
        Write::PutJoinToken(token(2, 0)),
    ])
    .await;
    assert!(is_spent(&bed.try_put([use_at("token-1", 1000)]).await));
    assert!(is_spent(&bed.try_put([use_at("token-2", 5)]).await));
    assert!(is_spent(&bed.try_put([use_at("another", 5)]).await));
    bed.put([use_at("token-1", 999)]).await;
    let revoke = Write::RevokeJoinToken {
        id: "token-1".to_owned(),
        at: Time(6),
    };
    bed.put([revoke]).await;
    assert!(is_spent(&bed.try_put([use_at("token-1", 5)]).await));
    assert_eq!(uses(&bed, "token-1").await, 1);
}

pub(crate) async fn of_many_at_once_as_many_join_as_the_token_allows(bed: Bed) {
    const ROUNDS: u64 = 20;
    const AT_ONCE: u64 = 64;
    for round in 0..ROUNDS {
        let allowed = if round % 2 == 0 { 1 } else { 5 };
        let id = format!("token-{round}");
        bed.put([Write::PutJoinToken(token(round, allowed))]).await;
        let join = |n: u64| {
            let child = edgeio_domain::child::Child {
                name: None,
                ..make::child(round * AT_ONCE + n, n)
            };
            bed.try_put([use_at(&id, 5), Write::PutChild(child)])
        };
        let all = futures::future::join_all((0..AT_ONCE).map(join)).await;
        let joined = all.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(joined, allowed as usize, "round {round}");
        let refused = all.iter().filter(|answer| is_spent(answer)).count();
        assert_eq!(joined + refused, AT_ONCE as usize);
        assert_eq!(uses(&bed, &id).await, allowed);
    }
    let expected = ROUNDS / 2 * (1 + 5);
    let children = bed.read().await.children().await.unwrap().len();
    assert_eq!(children, expected as usize);
}

pub(crate) async fn old_tokens_go(bed: Bed) {
    bed.put([Write::PutJoinToken(token(1, 5))]).await;
    bed.put([Write::Compact(Time(1000))]).await;
    assert_eq!(bed.read().await.join_tokens().await.unwrap().len(), 1);
    bed.put([Write::Compact(Time(1001))]).await;
    assert!(bed.read().await.join_tokens().await.unwrap().is_empty());
}
