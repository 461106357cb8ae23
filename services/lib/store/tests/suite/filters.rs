//! Filters, orders and pages.

use edgeio_domain::{
    ids::SlotId,
    records::{AppKey, Owner, Slot, Upstream},
    time::Time,
};
use edgeio_store::{ApplicationFilter, AssignmentFilter, SlotFilter, SlotPlace, Write};

use crate::{bed::Bed, make};

fn key(namespace: &str, name: &str, owner: Owner) -> AppKey {
    AppKey {
        owner,
        namespace: make::name(namespace),
        name: make::name(name),
    }
}

pub(crate) async fn applications_are_filtered_ordered_and_paged(bed: Bed) {
    let (one, two) = (
        Owner::Cluster(make::child_id(1)),
        Owner::Cluster(make::child_id(2)),
    );
    // In the order of the list: by namespace, name, then owner with the root first; a dash is before letters and digits.
    let keys = [
        key("a", "web", Owner::Root),
        key("a", "web", one),
        key("a", "web", two),
        key("a", "web-1", Owner::Root),
        key("a", "web0", Owner::Root),
        key("b", "shop", two),
        key("b", "web", Owner::Root),
    ];
    let mixed = [4_usize, 0, 6, 2, 5, 1, 3];
    let writes = mixed.iter().map(|n| {
        let mut application = make::application(*n as u64, 1);
        application.key = keys[*n].clone();
        Write::PutApplication(application)
    });
    bed.put(writes).await;
    let read = bed.read().await;
    let list = async |filter: ApplicationFilter| -> Vec<AppKey> {
        let found = read.applications(&filter).await.unwrap();
        found
            .into_iter()
            .map(|application| application.key)
            .collect()
    };
    let all = ApplicationFilter::default;
    assert_eq!(list(all()).await, keys);
    let namespace = Some("a".to_owned());
    let name = Some("web".to_owned());
    let within = |names: &[&str]| ApplicationFilter {
        within: Some(names.iter().map(ToString::to_string).collect()),
        ..all()
    };
    assert_eq!(list(within(&["a", "none"])).await, keys[..5]);
    assert_eq!(list(within(&[])).await, []);
    let filter = ApplicationFilter { namespace, ..all() };
    assert_eq!(list(filter.clone()).await, keys[..5]);
    let filter = ApplicationFilter { name, ..filter };
    assert_eq!(list(filter.clone()).await, keys[..3]);
    let filter = ApplicationFilter {
        owner: Some(two),
        ..filter
    };
    assert_eq!(list(filter).await, keys[2..3]);
    let filter = ApplicationFilter {
        owner: Some(Owner::Root),
        ..all()
    };
    assert_eq!(list(filter).await.len(), 4);

    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = list(ApplicationFilter {
            after,
            limit: Some(2),
            ..all()
        })
        .await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        assert!(page.len() <= 2);
        pages.extend(page);
    }
    assert_eq!(pages, keys);
    let unlimited = ApplicationFilter {
        limit: Some(u64::MAX),
        ..all()
    };
    assert_eq!(list(unlimited).await, keys);
    let none = ApplicationFilter {
        limit: Some(0),
        ..all()
    };
    assert_eq!(list(none).await, []);
}

/// Slots in the order of lists.
fn slots() -> Vec<Slot> {
    let places = [
        ("a", "shop", "db", 0),
        ("a", "web", "api", 0),
        ("a", "web", "api", 2),
        ("a", "web", "api", 10),
        ("a", "web", "front", 1),
        ("a", "web", "front", 1),
        ("b", "web", "api", 0),
    ];
    let slots = (0_u64..).zip(places);
    let slots = slots.map(|(n, (namespace, application, service, ordinal))| {
        let mut slot = make::slot(n, n);
        slot.app = key(namespace, application, Owner::Root);
        slot.service = make::name(service);
        slot.ordinal = ordinal;
        slot.app_uid = make::app_uid(n % 2);
        slot.revision = 1;
        slot.upstream = (n % 3 == 0).then(|| Upstream {
            slot: make::slot_id(100 + n),
            generation: n,
            recorded: None,
            hold_until: Time(0),
            orphan: false,
            returned: None,
        });
        slot
    });
    slots.collect()
}

async fn write_mixed(bed: &Bed, slots: &[Slot]) {
    let mixed = [3_usize, 6, 0, 5, 1, 4, 2];
    bed.put(mixed.iter().map(|n| Write::PutSlot(slots[*n].clone())))
        .await;
}

pub(crate) async fn slots_are_filtered_ordered_and_paged(bed: Bed) {
    let expected = slots();
    write_mixed(&bed, &expected).await;
    let all = SlotFilter::default;
    let picked =
        |which: &[usize]| -> Vec<Slot> { which.iter().map(|n| expected[*n].clone()).collect() };
    assert_eq!(bed.slots(all()).await, expected);
    let namespace = Some("a".to_owned());
    let application = Some("web".to_owned());
    let filter = SlotFilter {
        within: namespace.clone().map(|one| vec![one]),
        ..all()
    };
    assert_eq!(bed.slots(filter).await, expected[..6]);
    let filter = SlotFilter {
        namespace: namespace.clone(),
        ..all()
    };
    assert_eq!(bed.slots(filter).await, expected[..6]);
    let filter = SlotFilter {
        application: application.clone(),
        ..all()
    };
    assert_eq!(bed.slots(filter).await, expected[1..]);
    let filter = SlotFilter {
        uid: Some(make::app_uid(1)),
        namespace,
        application,
        ..all()
    };
    assert_eq!(bed.slots(filter).await, picked(&[1, 3, 5]));
    let upstream = |wanted| SlotFilter {
        upstream: Some(wanted),
        ..all()
    };
    assert_eq!(bed.slots(upstream(true)).await, picked(&[0, 3, 6]));
    assert_eq!(bed.slots(upstream(false)).await, picked(&[1, 2, 4, 5]));
    let ids = |which: &[usize]| {
        Some(
            which
                .iter()
                .map(|n| expected[*n].id)
                .collect::<Vec<SlotId>>(),
        )
    };
    let filter = SlotFilter {
        ids: ids(&[6, 0, 4, 0]),
        ..all()
    };
    assert_eq!(bed.slots(filter.clone()).await, picked(&[0, 4, 6]));
    let filter = SlotFilter {
        after: Some(SlotPlace::from(&expected[0])),
        limit: Some(1),
        ..filter
    };
    assert_eq!(bed.slots(filter).await, picked(&[4]));
    let filter = SlotFilter {
        ids: Some(Vec::new()),
        ..all()
    };
    assert_eq!(bed.slots(filter).await, []);

    let mut pages = Vec::new();
    loop {
        let page = SlotFilter {
            after: pages.last().map(SlotPlace::from),
            limit: Some(3),
            ..all()
        };
        let page = bed.slots(page).await;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        pages.extend(page);
    }
    assert_eq!(pages, expected);
}

pub(crate) async fn a_page_goes_on_from_a_slot_that_is_gone(bed: Bed) {
    let expected = slots();
    write_mixed(&bed, &expected).await;
    bed.put([Write::DeleteSlot(expected[2].id)]).await;
    let page = SlotFilter {
        after: Some(SlotPlace::from(&expected[2])),
        limit: Some(2),
        ..SlotFilter::default()
    };
    assert_eq!(bed.slots(page).await, expected[3..5]);
}

pub(crate) async fn assignments_are_filtered_and_ordered(bed: Bed) {
    let mut expected = Vec::new();
    for n in [3, 0, 5, 2, 4, 1] {
        let mut assignment = make::assignment(n, n);
        assignment.child = make::child_id(n % 2);
        assignment.app_uid = make::app_uid(n % 3);
        assignment.slot = make::slot_id(n / 2);
        let revision = bed
            .put([Write::PutAssignment {
                assignment: assignment.clone(),
                ordered: true,
            }])
            .await;
        assignment.revision = revision;
        assignment.order_revision = revision;
        expected.push(assignment);
    }
    expected.sort_by_key(|assignment| assignment.id);
    let picked = |which: &[usize]| {
        which
            .iter()
            .map(|n| expected[*n].clone())
            .collect::<Vec<_>>()
    };
    let all = AssignmentFilter::default;
    assert_eq!(bed.assignments(all()).await, expected);
    let filter = AssignmentFilter {
        child: Some(make::child_id(1)),
        ..all()
    };
    assert_eq!(bed.assignments(filter).await, picked(&[1, 3, 5]));
    let filter = AssignmentFilter {
        uid: Some(make::app_uid(2)),
        ..all()
    };
    assert_eq!(bed.assignments(filter).await, picked(&[2, 5]));
    let slots = Some(vec![make::slot_id(2), make::slot_id(9), make::slot_id(0)]);
    let filter = AssignmentFilter { slots, ..all() };
    assert_eq!(bed.assignments(filter.clone()).await, picked(&[0, 1, 4, 5]));
    let ids = Some(vec![expected[5].id, expected[3].id, expected[0].id]);
    let filter = AssignmentFilter { ids, ..filter };
    assert_eq!(bed.assignments(filter).await, picked(&[0, 5]));
    // 3, 0, 5, 2, 4, 1 have the revisions 1 to 6.
    let filter = AssignmentFilter {
        ordered_after: Some(3),
        ..all()
    };
    assert_eq!(bed.assignments(filter.clone()).await, picked(&[1, 2, 4]));
    let filter = AssignmentFilter {
        child: Some(make::child_id(0)),
        ..filter
    };
    assert_eq!(bed.assignments(filter).await, picked(&[2, 4]));
    let filter = AssignmentFilter {
        ordered_after: Some(u64::MAX),
        ..all()
    };
    assert_eq!(bed.assignments(filter).await, []);
    let filter = AssignmentFilter {
        slots: Some(Vec::new()),
        ..all()
    };
    assert_eq!(bed.assignments(filter).await, []);
}

pub(crate) async fn long_lists_of_ids_are_found(bed: Bed) {
    bed.put((0..700).map(|n| Write::PutSlot(make::slot(n, n))))
        .await;
    let tombs = (0..700).map(|n| Write::PutTombstone(make::slot_id(n).0, Time(1)));
    bed.put(tombs).await;
    let ids: Vec<SlotId> = (0..1400).rev().map(make::slot_id).collect();
    let filter = SlotFilter {
        ids: Some(ids.clone()),
        ..SlotFilter::default()
    };
    assert_eq!(
        bed.slots(filter.clone()).await,
        bed.slots(SlotFilter::default()).await
    );
    let limited = SlotFilter {
        limit: Some(50),
        ..filter
    };
    let first = bed.slots(SlotFilter::default()).await;
    assert_eq!(bed.slots(limited).await, first[..50]);
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let known = bed.read().await.tombstones(&ids).await.unwrap();
    assert_eq!(
        known,
        (0..700).map(|n| make::slot_id(n).0).collect::<Vec<_>>()
    );
}
