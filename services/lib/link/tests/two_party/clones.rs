//! Two machines with one identity on one bus: each hears what is meant for the other.

use edgeio_domain::{
    ids::{AttachId, SlotId},
    records::Desired,
    time::Time,
};
use edgeio_proto::link::v1::child_message;
use uuid::Uuid;

use crate::{
    child_side::{ChildSide, Disk, Known},
    parent_side::{Db, ParentSide, Wish},
    world::{Specs, id},
};

/// They take the session from each other ever more slowly, no order is taken by both of one session, and what one has is
/// never lost for it.
#[test]
fn two_of_one_identity_do_not_fight_and_never_act_on_one_session() {
    let mut parent = ParentSide::new(Db::new(1_000_000), Specs::all());
    parent.register();
    let mut next = 0;
    for _ in 0..5 {
        let wish = Wish {
            desired: Desired::Run,
            restarts: 0,
            spec: 0,
        };
        parent.db.wishes.insert(SlotId(id(&mut next).0), wish);
    }
    parent.db.plan(&mut next);
    let mut both = [0_u128, 1].map(|n| {
        let mut child = ChildSide::new(Disk::default(), Known::default());
        child.connect(AttachId(Uuid::from_u128(1_000 + 57 * n)), Time(0));
        child
    });
    let (mut hellos, mut last) = (0, 0);
    let mut owners = std::collections::BTreeMap::new();
    for tenth in 1..36_000_i64 {
        let now = Time(tenth * 100);
        let mut down = parent.tick(now);
        for child in &mut both {
            child.work(None);
            for message in child.poll(now) {
                if matches!(message.message, Some(child_message::Message::Hello(_))) {
                    hellos += 1;
                    last += i32::from(tenth > 18_000);
                }
                down.extend(parent.receive(message, now, None));
            }
        }
        parent.db.plan(&mut next);
        for (message, expected) in down {
            for (index, child) in both.iter_mut().enumerate() {
                let session = message.session_epoch;
                let heard = child.hear(message.clone(), &expected, now, None).unwrap();
                if heard.accepted > 0 {
                    let owner = *owners.entry(session).or_insert(index);
                    assert_eq!(owner, index, "both acted on session {session}");
                }
            }
        }
    }
    assert!(hellos < 250, "{hellos} sessions in an hour");
    assert!(last < 130, "{last} of them in the second half");
    assert!(both.iter().all(|child| child.disk.jobs.len() == 5));
}
