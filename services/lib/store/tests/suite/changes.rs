//! The log of changes.

use edgeio_store::{Change, ChangeKind, Write};
use uuid::Uuid;

use crate::{bed::Bed, make};

fn change(revision: u64, kind: ChangeKind, id: Uuid, namespace: &str, name: &str) -> Change {
    Change {
        revision,
        kind,
        id,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn named_child(n: u64, name: Option<&str>) -> Write {
    let mut child = make::child(n, n);
    child.name = name.map(make::name);
    Write::PutChild(child)
}

fn slot(n: u64) -> Write {
    let mut slot = make::slot(n, n);
    slot.app.namespace = make::name("default");
    slot.app.name = make::name("web");
    Write::PutSlot(slot)
}

fn assignment(n: u64, of_slot: u64) -> Write {
    let mut assignment = make::assignment(n, n);
    assignment.slot = make::slot_id(of_slot);
    assignment.app.namespace = make::name("default");
    assignment.app.name = make::name("web");
    Write::PutAssignment {
        assignment,
        ordered: true,
    }
}

pub(crate) async fn changes_name_what_was_touched_once_a_commit(bed: Bed) {
    let mut application = make::application(1, 1);
    application.key.namespace = make::name("default");
    application.key.name = make::name("web");
    bed.put([
        named_child(1, Some("a1")),
        named_child(2, None),
        assignment(1, 5),
        assignment(2, 5),
        slot(6),
        slot(6),
        assignment(3, 6),
        Write::PutApplication(application),
        // These are not things that anybody watches.
        Write::PutEvent(make::event(1, 1)),
        Write::PutMeta(make::meta(1)),
    ])
    .await;
    let (kind_app, kind_slot, kind_child) =
        (ChangeKind::Application, ChangeKind::Slot, ChangeKind::Child);
    let expected = [
        change(1, kind_app, make::app_uid(1).0, "default", "web"),
        change(1, kind_slot, make::slot_id(5).0, "default", "web"),
        change(1, kind_slot, make::slot_id(6).0, "default", "web"),
        change(1, kind_child, make::child_id(1).0, "", "a1"),
        change(1, kind_child, make::child_id(2).0, "", ""),
    ];
    assert_eq!(bed.read().await.changes(0, 10).await.unwrap(), expected);

    bed.put([Write::PutTombstone(
        Uuid::from_u128(1),
        edgeio_domain::time::Time(1),
    )])
    .await;
    bed.put([named_child(1, Some("a1"))]).await;
    let read = bed.read().await;
    let later = [change(3, kind_child, make::child_id(1).0, "", "a1")];
    assert_eq!(read.changes(1, 10).await.unwrap(), later);
    assert_eq!(read.changes(2, 10).await.unwrap(), later);
    assert_eq!(read.changes(3, 10).await.unwrap(), []);
    assert_eq!(read.changes(u64::MAX, 10).await.unwrap(), []);
}

pub(crate) async fn changes_name_what_is_gone(bed: Bed) {
    let mut application = make::application(1, 1);
    application.key.namespace = make::name("default");
    application.key.name = make::name("web");
    bed.put([
        Write::PutApplication(application),
        slot(1),
        slot(2),
        assignment(1, 2),
        assignment(2, 3),
        named_child(1, Some("a1")),
    ])
    .await;
    bed.put([
        Write::DeleteApplication(make::app_uid(1)),
        Write::DeleteSlot(make::slot_id(1)),
        Write::DeleteAssignment(make::assignment_id(1)),
        Write::DeleteAssignment(make::assignment_id(2)),
        Write::DeleteChild(make::child_id(1)),
        // Never there, or never there for anybody to see.
        Write::DeleteSlot(make::slot_id(9)),
        slot(8),
        Write::DeleteSlot(make::slot_id(8)),
    ])
    .await;
    let expected = [
        change(
            2,
            ChangeKind::Application,
            make::app_uid(1).0,
            "default",
            "web",
        ),
        change(2, ChangeKind::Slot, make::slot_id(1).0, "default", "web"),
        change(2, ChangeKind::Slot, make::slot_id(2).0, "default", "web"),
        change(2, ChangeKind::Slot, make::slot_id(3).0, "default", "web"),
        change(2, ChangeKind::Child, make::child_id(1).0, "", "a1"),
    ];
    assert_eq!(bed.read().await.changes(1, 10).await.unwrap(), expected);
}

pub(crate) async fn changes_are_limited_by_commits(bed: Bed) {
    for n in 0..5 {
        bed.put([slot(n), slot(n + 1), Write::PutEvent(make::event(1, n))])
            .await;
        bed.put([Write::PutEvent(make::event(1, n))]).await;
    }
    let read = bed.read().await;
    let revisions = async |since, limit| -> Vec<u64> {
        let changes = read.changes(since, limit).await.unwrap();
        changes.into_iter().map(|change| change.revision).collect()
    };
    assert_eq!(revisions(0, 2).await, [1, 1, 3, 3]);
    assert_eq!(revisions(3, 1).await, [5, 5]);
    assert_eq!(revisions(5, u64::MAX).await, [7, 7, 9, 9]);
    assert_eq!(revisions(0, 0).await, [0; 0]);
}
