//! What a transaction is: unseen until it commits, whole or not at all, one after the other, and everyone is woken.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use edgeio_store::{AssignmentFilter, SlotFilter, Write};

use crate::{bed::Bed, make};

pub(crate) async fn staged_writes_are_not_seen_before_the_commit(bed: Bed) {
    let mut tx = bed.store.write().await.unwrap();
    assert!(tx.is_empty());
    tx.stage(Write::PutSlot(make::slot(1, 1)));
    assert!(!tx.is_empty());
    let all = SlotFilter::default();
    assert_eq!(tx.slots(&all).await.unwrap(), []);
    assert_eq!(bed.slots(all.clone()).await, []);
    tx.commit().await.unwrap();
    assert_eq!(bed.slots(all).await.len(), 1);
}

pub(crate) async fn a_dropped_transaction_changes_nothing(bed: Bed) {
    bed.put([Write::PutSlot(make::slot(1, 1))]).await;
    let before = bed.slots(SlotFilter::default()).await;
    let mut tx = bed.store.write().await.unwrap();
    tx.stage(Write::PutSlot(make::slot(2, 2)));
    tx.stage(Write::DeleteSlot(make::slot_id(1)));
    assert_eq!(tx.slots(&SlotFilter::default()).await.unwrap(), before);
    drop(tx);
    assert_eq!(bed.slots(SlotFilter::default()).await, before);
    // And the next one is not kept waiting by it.
    assert_eq!(bed.put([Write::PutSlot(make::slot(2, 2))]).await, 2);
}

pub(crate) async fn each_commit_has_the_next_revision_and_an_empty_one_has_none(bed: Bed) {
    assert_eq!(bed.put([]).await, 0);
    for expected in 1..=5 {
        let writes = (0..expected).map(|n| Write::PutSlot(make::slot(n, expected)));
        assert_eq!(bed.put(writes).await, expected);
        assert_eq!(bed.put([]).await, expected);
        let read = bed.read().await;
        assert_eq!(read.meta().await.unwrap().revision, expected);
    }
}

pub(crate) async fn a_reader_keeps_its_state(bed: Bed) {
    bed.put([Write::PutSlot(make::slot(1, 1))]).await;
    let read = bed.read().await;
    assert_eq!(read.meta().await.unwrap().revision, 1);
    bed.put([
        Write::PutSlot(make::slot(2, 2)),
        Write::DeleteSlot(make::slot_id(1)),
    ])
    .await;
    let seen = read.slots(&SlotFilter::default()).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].id, make::slot_id(1));
    assert_eq!(read.meta().await.unwrap().revision, 1);
    drop(read);
    let seen = bed.slots(SlotFilter::default()).await;
    assert_eq!(seen[0].id, make::slot_id(2));
}

pub(crate) async fn the_last_of_several_writes_stays(bed: Bed) {
    let mut last = make::slot(1, 3);
    let revision = bed
        .put([
            Write::PutSlot(make::slot(1, 1)),
            Write::DeleteSlot(make::slot_id(1)),
            Write::PutSlot(make::slot(1, 2)),
            Write::PutSlot(last.clone()),
            Write::PutSlot(make::slot(2, 4)),
            Write::DeleteSlot(make::slot_id(2)),
        ])
        .await;
    last.revision = revision;
    assert_eq!(bed.slots(SlotFilter::default()).await, [last]);
}

pub(crate) async fn orders_have_the_revision_of_their_last_change(bed: Bed) {
    let put = |order_revision, ordered| {
        let mut assignment = make::assignment(1, 1);
        assignment.order_revision = order_revision;
        Write::PutAssignment {
            assignment,
            ordered,
        }
    };
    let revisions = async || {
        let all = bed.assignments(AssignmentFilter::default()).await;
        (all[0].order_revision, all[0].revision)
    };
    bed.put([put(99, true)]).await;
    assert_eq!(revisions().await, (1, 1));
    // What the record says does not count: it may be older than what is recorded.
    bed.put([put(0, false)]).await;
    assert_eq!(revisions().await, (1, 2));
    bed.put([put(0, true)]).await;
    assert_eq!(revisions().await, (3, 3));
    // An order and a report in one commit: the order is not forgotten.
    bed.put([put(0, true), put(0, false)]).await;
    assert_eq!(revisions().await, (4, 4));
    // A new one takes the record's.
    let gone = Write::DeleteAssignment(make::assignment_id(1));
    bed.put([gone.clone(), put(2, false)]).await;
    assert_eq!(revisions().await, (2, 5));
    bed.put([gone.clone()]).await;
    bed.put([put(3, false), put(9, false)]).await;
    assert_eq!(revisions().await, (3, 7));
    bed.put([gone, put(5, false), put(9, true)]).await;
    assert_eq!(revisions().await, (8, 8));
}

pub(crate) async fn a_commit_wakes_those_who_watch(bed: Bed) {
    let mut early = bed.store.watch();
    assert_eq!(*early.borrow_and_update(), 0);
    assert!(!early.has_changed().unwrap());
    let waiting = {
        let mut watch = bed.store.watch();
        tokio::spawn(async move {
            watch.changed().await.unwrap();
            *watch.borrow()
        })
    };
    bed.put([]).await;
    assert!(!early.has_changed().unwrap());
    bed.put([Write::PutSlot(make::slot(1, 1))]).await;
    assert_eq!(waiting.await.unwrap(), 1);
    assert_eq!(*early.borrow_and_update(), 1);
    assert_eq!(*bed.store.watch().borrow(), 1);
}

pub(crate) async fn no_update_of_many_writers_is_lost(bed: Bed) {
    let mut child = make::child(1, 1);
    child.session_epoch = 0;
    bed.put([Write::PutChild(child)]).await;
    let writers = (0..16).map(|_| {
        let store = Arc::clone(&bed.store);
        tokio::spawn(async move {
            for _ in 0..25 {
                let mut tx = store.write().await.unwrap();
                let mut child = tx.child(make::child_id(1)).await.unwrap().unwrap();
                child.session_epoch += 1;
                tx.stage(Write::PutChild(child));
                tx.commit().await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let read = bed.read().await;
    let child = read.child(make::child_id(1)).await.unwrap().unwrap();
    assert_eq!((child.session_epoch, child.revision), (400, 401));
    assert_eq!(read.meta().await.unwrap().revision, 401);
    assert_eq!(*bed.store.watch().borrow(), 401);
}

pub(crate) async fn readers_are_not_kept_waiting_by_a_writer(bed: Bed) {
    let mut tx = bed.store.write().await.unwrap();
    tx.stage(Write::PutSlot(make::slot(1, 1)));
    // More readers than a database has connections for, one after the other, while the write transaction stays open.
    for _ in 0..20 {
        assert_eq!(bed.slots(SlotFilter::default()).await, []);
    }
    tx.commit().await.unwrap();
}

/// Polls a future at most so many times, then lets it go.
struct Impatient<F: ?Sized>(Pin<Box<F>>, u32);

impl<F: Future + ?Sized> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        match self.0.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.1 == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

pub(crate) async fn callers_that_go_away_leave_nothing_behind(bed: Bed) {
    for polls in (0..4).cycle().take(60) {
        let mut reading = pin!(Impatient(
            Box::pin(async {
                let read = bed.store.read().await.unwrap();
                read.slots(&SlotFilter::default()).await.unwrap()
            }),
            polls
        ));
        reading.as_mut().await;
        let writing = Impatient(
            Box::pin(async {
                let mut tx = bed.store.write().await.unwrap();
                tx.slots(&SlotFilter::default()).await.unwrap();
                tx.stage(Write::PutSlot(make::slot(1, 1)));
                // Never committed.
            }),
            polls,
        );
        writing.await;
    }
    assert_eq!(bed.slots(SlotFilter::default()).await, []);

    // Once a commit has begun it goes to its end.
    for expected in 1..=20 {
        let mut tx = bed.store.write().await.unwrap();
        tx.stage(Write::PutSlot(make::slot(expected, expected)));
        Impatient(tx.commit(), 1).await;
        let next = bed.store.write().await.unwrap();
        assert_eq!(next.meta().await.unwrap().revision, expected);
        assert_eq!(*bed.store.watch().borrow(), expected);
    }
}

pub(crate) async fn everything_is_there_after_opening_again(bed: Bed) {
    let lineage = bed.read().await.meta().await.unwrap().lineage;
    bed.put((0..20).map(|n| Write::PutSlot(make::slot(n, n))))
        .await;
    bed.put([Write::PutMeta(make::meta(3))]).await;
    let meta = bed.read().await.meta().await.unwrap();
    assert_eq!(meta.lineage, lineage);
    let slots = bed.slots(SlotFilter::default()).await;
    let changes = bed.read().await.changes(0, 10).await.unwrap();

    let bed = bed.reopen().await;
    assert_eq!(bed.read().await.meta().await.unwrap(), meta);
    assert_eq!(bed.slots(SlotFilter::default()).await, slots);
    assert_eq!(bed.read().await.changes(0, 10).await.unwrap(), changes);
    assert_eq!(*bed.store.watch().borrow(), 2);
    assert_eq!(bed.put([Write::PutSlot(make::slot(0, 1))]).await, 3);
}
