//! Whoever changes something is remembered in the transaction of the change.

use edgeio_proto::api::v1;
use edgeio_store::{AuditFilter, AuditHead, Decision, Store as _};

use crate::support::{Bed, web};

#[tokio::test]
async fn each_change_has_its_entry_and_a_refused_one_has_none() {
    let bed = Bed::root();
    bed.applied(web(1)).await;
    let scale = |replicas| v1::ScaleRequest {
        name: "web".into(),
        replicas,
        ..Default::default()
    };
    bed.scale(scale(3)).await.unwrap();
    let missing = v1::ScaleRequest {
        name: "none".into(),
        ..scale(3)
    };
    bed.scale(missing).await.unwrap_err();
    let dry = v1::ApplyRequest {
        validate_only: true,
        ..web(2)
    };
    bed.apply(dry).await.unwrap();
    let tx = bed.store.read().await.unwrap();
    let filter = AuditFilter {
        after: Some(0),
        limit: 99,
        ..AuditFilter::default()
    };
    let entries = tx.audit_entries(&filter).await.unwrap();
    AuditHead::default().verify(&entries).unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let of = &entry.record;
            assert_eq!(of.decision, Decision::Allowed);
            assert_eq!((of.kind.as_str(), of.name.as_str()), ("user", "ann"));
            (of.verb.as_str(), of.object.as_str(), of.detail.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Apply", "application/web", "version 1"),
            ("Scale", "application/web", "3 replicas"),
        ]
    );
}
