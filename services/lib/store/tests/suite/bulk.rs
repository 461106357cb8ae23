//! Much at once: the size of a commit is rows, not statements, and nothing about it depends on speed.

use edgeio_store::{AssignmentFilter, SlotFilter, Write};

use crate::{bed::Bed, make};

pub(crate) async fn ten_thousand_slots_and_assignments_are_one_commit(bed: Bed) {
    const MANY: u64 = 10_000;
    let writes = (0..MANY).flat_map(|n| {
        let mut assignment = make::assignment(n, n);
        assignment.slot = make::slot_id(n);
        [
            Write::PutSlot(make::slot(n, n)),
            Write::PutAssignment {
                assignment,
                ordered: true,
            },
        ]
    });
    let begun = std::time::Instant::now();
    assert_eq!(bed.put(writes).await, 1);
    println!(
        "10,000 slots and assignments written in {:?}",
        begun.elapsed()
    );
    let slots = bed.slots(SlotFilter::default()).await;
    let assignments = bed.assignments(AssignmentFilter::default()).await;
    assert_eq!((slots.len(), assignments.len()), (10_000, 10_000));
    assert!(slots.iter().all(|slot| slot.revision == 1));
    assert!(
        assignments
            .iter()
            .all(|assignment| assignment.order_revision == 1)
    );
    assert_eq!(bed.read().await.changes(0, 1).await.unwrap().len(), 10_000);

    bed.put((0..MANY).map(|n| Write::DeleteSlot(make::slot_id(n))))
        .await;
    assert_eq!(bed.slots(SlotFilter::default()).await, []);
    assert_eq!(bed.read().await.changes(1, 1).await.unwrap().len(), 10_000);
}
