//! From silence to substitutes and back: hub and engine over one store, as the loops drive them.

use edgeio_domain::{
    child::{
        Bucket, Capacity, Child,
        ChildState::{Disconnected, Lost, Ready, Returning},
        Replace,
    },
    ids::ChildId,
    lifecycle::Phase,
    records::Desired,
    resources::Resources,
};
use edgeio_link::{convert, spec};
use edgeio_proto::{
    api::v1 as api,
    link::v1::{RefusalReason, RejectionReason},
};
use edgeio_store::Write;

use crate::bed::{
    Bed, Session, acks, asg, asks_for_all, beat, entry, full, newest, part, refusals, refusing,
    sent,
};

/// Two children with room. A slot runs on the first one, the second one is idle.
struct Pair {
    bed: Bed,
    first: Session,
    second: Session,
    seq: std::cell::Cell<u64>,
}

impl Pair {
    async fn new() -> Self {
        let bed = Bed::new();
        let service = api::ServiceSpec {
            name: "front".into(),
            command: vec!["x".into()],
            ..Default::default()
        };
        let (_, body) = spec::encode(&service);
        // The orders of the bed name this hash.
        let hash = edgeio_domain::ids::SpecHash([1; 32]);
        bed.write([Write::PutSpec(hash, body)]).await;
        let mut children = Vec::new();
        for n in [1, 2] {
            let id = bed.child(n).await;
            let bucket = Bucket {
                architecture: "amd64".into(),
                runtimes: vec!["process".into()],
                workers: 1,
                free: Resources::default(),
                largest: Resources::default(),
            };
            let capacity = Capacity {
                workers: 1,
                buckets: vec![bucket],
                ..Default::default()
            };
            let child = Child {
                capacity,
                ..bed.record(id).await
            };
            bed.write([Write::PutChild(child)]).await;
            children.push(id);
        }
        bed.order(children[0], 10, 1, Desired::Run).await;
        let first = bed.attached(children[0], 1, vec![running()]).await;
        let second = bed.attached(children[1], 2, Vec::new()).await;
        Self {
            bed,
            first,
            second,
            seq: std::cell::Cell::new(1),
        }
    }

    /// Seconds in which only the second one reports.
    async fn pass(&self, seconds: u32) {
        for second in 0..seconds {
            self.bed.pass(1).await;
            if second % 15 == 0 {
                self.seq.set(self.seq.get() + 1);
                self.bed
                    .tell(self.second, part(self.seq.get(), Vec::new()))
                    .await;
            }
        }
    }

    async fn first(&self) -> Child {
        self.bed.record(self.first.child).await
    }

    /// The child and the order of each copy.
    async fn copies(&self) -> Vec<(ChildId, Desired)> {
        let rows = self.bed.rows().await;
        rows.into_iter().map(|a| (a.child, a.desired)).collect()
    }

    async fn alone(&self) {
        assert_eq!(self.copies().await, [(self.first.child, Desired::Run)]);
    }
}

fn running() -> edgeio_proto::link::v1::InstanceReport {
    entry(asg(10), 1, Desired::Run, Phase::Running)
}

#[tokio::test]
async fn a_silent_child_is_replaced_and_its_return_ends_one_of_the_two() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    pair.pass(299).await;
    bed.plan().await;
    pair.alone().await;
    assert_eq!(pair.first().await.state, Disconnected);
    pair.pass(2).await;
    assert_eq!(pair.first().await.replace, Replace::Proven);
    bed.plan().await;
    let both = [
        (pair.first.child, Desired::Run),
        (pair.second.child, Desired::Run),
    ];
    assert_eq!(pair.copies().await, both);
    bed.plan().await;
    assert_eq!(pair.copies().await, both, "planning twice is planning once");

    // Its state differs from what is recorded, so it is compared before anything is decided.
    let restarted = edgeio_proto::link::v1::InstanceReport {
        restarts: 1,
        ..running()
    };
    let outbox = bed
        .tell(pair.first, beat(2, std::slice::from_ref(&restarted)))
        .await;
    assert!(asks_for_all(&outbox), "{outbox:?}");
    let child = pair.first().await;
    assert_eq!((child.state, child.replace), (Returning, Replace::No));
    assert!(child.silence.is_zero());
    bed.plan().await;
    assert_eq!(pair.copies().await, both);
    bed.tell(pair.first, full(3, vec![restarted])).await;
    assert_eq!(pair.first().await.state, Ready);
    bed.plan().await;
    let one = [
        (pair.first.child, Desired::Run),
        (pair.second.child, Desired::Stop),
    ];
    assert_eq!(pair.copies().await, one, "the substitute never ran");
}

#[tokio::test]
async fn equal_digests_are_a_comparison() {
    let pair = Pair::new().await;
    pair.pass(400).await;
    let outbox = pair.bed.tell(pair.first, beat(2, &[running()])).await;
    assert_eq!(acks(&outbox), [2]);
    assert_eq!(pair.first().await.state, Ready);
}

#[tokio::test]
async fn with_nobody_heard_nothing_is_replaced_until_an_operator_says_so() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    bed.pass(90_000).await;
    bed.plan().await;
    pair.alone().await;
    let child = pair.first().await;
    assert_eq!(
        (child.state, child.replace),
        (Disconnected, Replace::Unproven)
    );
    bed.write([Write::PutChild(Child {
        replace: Replace::Released,
        ..child
    })])
    .await;
    bed.plan().await;
    pair.alone().await;
    // There is no place before one is heard; then there is.
    bed.tell(pair.second, full(2, Vec::new())).await;
    bed.plan().await;
    assert_eq!(pair.copies().await.len(), 2);
}

#[tokio::test]
async fn a_restart_goes_on_counting() {
    let pair = Pair::new().await;
    pair.pass(280).await;
    let recorded = pair.first().await.silence.as_secs();
    assert!((220..=280).contains(&recorded), "{recorded}");
    pair.bed.wait(3_600_000);
    let pair = Pair {
        bed: pair.bed.restarted(),
        ..pair
    };
    pair.pass(44).await;
    assert_eq!(pair.first().await.replace, Replace::No);
    pair.pass(60).await;
    let child = pair.first().await;
    assert_eq!(child.replace, Replace::Proven);
    assert!(child.silence.as_secs() < 400, "{:?}", child.silence);
}

#[tokio::test]
async fn a_cut_way_proves_nothing() {
    let pair = Pair::new().await;
    pair.pass(299).await;
    pair.bed.hub.cut().await;
    pair.bed.pass(10).await;
    assert_eq!(pair.first().await.replace, Replace::Unproven);
}

#[tokio::test]
async fn an_ack_names_an_order_that_was_committed_before_the_report() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    let outbox = bed.tell(pair.first, beat(2, &[running()])).await;
    assert_eq!(newest(&outbox), [Some(pair.first.point.revision)]);
    // Nobody has told the hub that there is a new order.
    bed.order(pair.first.child, 10, 2, Desired::Stop).await;
    let ordered = bed.row(10).await.unwrap().order_revision;
    assert!(ordered > pair.first.point.revision);
    let outbox = bed.tell(pair.first, beat(3, &[running()])).await;
    assert_eq!(newest(&outbox), [Some(ordered)]);
    let outbox = bed.tell(pair.first, beat(3, &[running()])).await;
    assert_eq!(newest(&outbox), [Some(ordered)], "a repeated Ack too");
}

#[tokio::test]
async fn an_order_that_the_report_itself_caused_is_named() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    // The child holds something else under this number: the order is given again, above it.
    let paused = entry(asg(10), 1, Desired::Pause, Phase::Paused);
    let outbox = bed.tell(pair.first, part(2, vec![paused])).await;
    let ordered = bed.row(10).await.unwrap().order_revision;
    assert!(ordered > pair.first.point.revision);
    assert_eq!(newest(&outbox), [Some(ordered)]);
}

#[tokio::test]
async fn a_fenced_child_is_stopped_when_it_returns_and_not_before_all_is_known() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    pair.pass(100).await;
    let child = pair.first().await;
    let mut meta = bed.meta().await;
    meta.session_epoch += 1;
    let fenced = Child {
        state: Lost,
        replace: Replace::Fenced,
        session_epoch: meta.session_epoch,
        attach: Default::default(),
        ..child
    };
    bed.write([Write::PutMeta(meta), Write::PutChild(fenced)])
        .await;
    bed.plan().await;
    let copies = [
        (pair.first.child, Desired::Stop),
        (pair.second.child, Desired::Run),
    ];
    assert_eq!(pair.copies().await, copies);
    // Its session is over, and the next one begins with a full report.
    let outbox = bed.tell(pair.first, beat(2, &[running()])).await;
    assert_eq!(refusals(&outbox), [RefusalReason::StaleSession]);
    let accepted = Some(pair.first.point);
    let session = bed.open(pair.first.child, 7, accepted).await;
    assert!(session.adopting);
    let outbox = bed.tell(session, part(1, Vec::new())).await;
    assert!(asks_for_all(&outbox) && sent(&outbox).is_empty());
    let child = pair.first().await;
    assert_eq!((child.state, child.replace), (Returning, Replace::Fenced));
    let known = Session {
        point: pair.first.point,
        ..session
    };
    let outbox = bed.tell(known, full(2, vec![running()])).await;
    let child = pair.first().await;
    assert_eq!((child.state, child.replace), (Ready, Replace::No));
    let stops: Vec<_> = sent(&outbox)
        .into_iter()
        .map(|(id, _, d)| (id, d))
        .collect();
    let stop = convert::desired_to_wire(Desired::Stop);
    assert_eq!(stops, [(asg(10).to_string(), stop)]);
}

/// What a cluster tells of a slot whose worker is silent, while it has no room for another one.
fn without_room() -> edgeio_proto::link::v1::InstanceReport {
    let mut told = refusing(running(), RejectionReason::Unplaceable);
    told.phase = convert::phase_to_wire(Phase::Pending).into();
    told.unreachable = true;
    told
}

#[tokio::test]
async fn what_a_cluster_without_room_hands_back_runs_at_the_next_one_and_is_compared_on_return() {
    let pair = Pair::new().await;
    let bed = &pair.bed;
    bed.tell(pair.first, part(2, vec![without_room()])).await;
    let slot = bed.slot(10).await.unwrap();
    assert_eq!(slot.refusals[0].child, pair.first.child);
    // Said again, it is no new refusal.
    bed.tell(pair.first, part(3, vec![without_room()])).await;
    assert_eq!(bed.slot(10).await.unwrap().refusals, slot.refusals);
    bed.plan().await;
    let both = [
        (pair.first.child, Desired::Run),
        (pair.second.child, Desired::Run),
    ];
    let sorted = |mut copies: Vec<(ChildId, Desired)>| {
        copies.sort_unstable();
        copies
    };
    assert_eq!(sorted(pair.copies().await), both);
    bed.plan().await;
    assert_eq!(bed.rows().await.len(), 2, "planned once");

    let rows = bed.rows().await;
    let substitute = rows.iter().find(|a| a.child == pair.second.child).unwrap();
    let runs = edgeio_proto::link::v1::InstanceReport {
        slot_id: substitute.slot.to_string(),
        ..entry(substitute.id, 1, Desired::Run, Phase::Running)
    };
    bed.tell(pair.second, part(2, vec![runs])).await;
    bed.plan().await;
    assert_eq!(
        sorted(pair.copies().await),
        both,
        "nothing is heard of it yet"
    );
    // Its worker is back.
    bed.tell(pair.first, part(4, vec![running()])).await;
    bed.plan().await;
    let one = [
        (pair.first.child, Desired::Run),
        (pair.second.child, Desired::Stop),
    ];
    assert_eq!(sorted(pair.copies().await), one);
}
