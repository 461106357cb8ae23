//! Records with every field filled from a number, the edges of its type among the values.

use edgeio_domain::{
    child::{Accepted, Bucket, Capacity, Child, ChildState, Replace},
    ids::{AppUid, AssignmentId, AttachId, ChildId, Lineage, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{
        AppKey, Application, Assignment, CandidateReasons, Desired, Event, Incarnation, Observed,
        Owner, Refusal, Service, Slot, Upstream,
    },
    resources::Resources,
    time::Time,
};
use edgeio_store::{
    AuditRecord, Decision, Grant, Lease, Meta, RequestRecord, Uplink, User, UserToken,
};
use uuid::Uuid;

/// A small generator (splitmix64): the same number gives the same record, on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64);
        values[usize::try_from(index).unwrap()]
    }

    fn u64(&mut self) -> u64 {
        let any = self.next();
        self.of(&[0, 1, any, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX])
    }

    fn u32(&mut self) -> u32 {
        let any = self.next() as u32;
        self.of(&[0, 1, any, i32::MAX as u32 + 1, u32::MAX])
    }

    fn i64(&mut self) -> i64 {
        let any = self.next() as i64;
        self.of(&[0, 1, -1, any, i64::MIN, i64::MAX])
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 1
    }

    fn time(&mut self) -> Time {
        Time(self.i64())
    }

    fn text(&mut self) -> String {
        let texts = [
            "",
            "plain",
            "it's \"quoted\"",
            "two\nlines\t\\",
            "größe ✓",
            "%_'; --",
        ];
        self.of(&texts).to_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.of(&[0_usize, 1, 300]);
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bool().then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = self.below(3);
        (0..length).map(|_| make(self)).collect()
    }

    fn id(&mut self) -> Uuid {
        let any = Uuid::from_u64_pair(self.next(), self.next());
        self.of(&[Uuid::nil(), any, Uuid::max()])
    }

    fn hash(&mut self) -> SpecHash {
        spec(self.below(4)).0
    }

    fn name(&mut self) -> Name {
        let names = ["a", "a-1", "a0", "b", "web", &"z".repeat(40)];
        name(self.of(&names))
    }

    fn resources(&mut self) -> Resources {
        Resources {
            cpu_millis: self.i64(),
            memory_bytes: self.i64(),
        }
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation {
            instance: AssignmentId(self.id()),
            worker: ChildId(self.id()),
            worker_name: self.text(),
        }
    }

    fn candidate(&mut self) -> CandidateReasons {
        CandidateReasons {
            candidate: self.text(),
            reasons: self.list(Self::text),
        }
    }

    fn desired(&mut self) -> Desired {
        self.of(&[Desired::Run, Desired::Pause, Desired::Stop, Desired::Hold])
    }

    fn key(&mut self) -> AppKey {
        AppKey {
            owner: self.of(&[
                Owner::Root,
                Owner::Cluster(child_id(1)),
                Owner::Cluster(child_id(2)),
            ]),
            namespace: name(self.of(&["default", "team-a"])),
            name: name(self.of(&["shop", "shop-1", "web"])),
        }
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The spec of this number.
pub(crate) fn spec(n: u64) -> (SpecHash, Vec<u8>) {
    let body = format!("spec {n}").into_bytes();
    (SpecHash::of(&body), body)
}

pub(crate) fn app_uid(n: u64) -> AppUid {
    AppUid(Uuid::from_u128(0xa0_0000 + u128::from(n)))
}

pub(crate) fn slot_id(n: u64) -> SlotId {
    SlotId(Uuid::from_u128(0x5_0000_0000 + u128::from(n)))
}

pub(crate) fn assignment_id(n: u64) -> AssignmentId {
    AssignmentId(Uuid::from_u128(0x1_0000_0000 + u128::from(n)))
}

pub(crate) fn child_id(n: u64) -> ChildId {
    ChildId(Uuid::from_u128(0xc0_0000 + u128::from(n)))
}

pub(crate) fn application(n: u64, seed: u64) -> Application {
    let mut dice = Dice::new(seed);
    Application {
        key: dice.key(),
        uid: app_uid(n),
        version: dice.u64(),
        services: dice.list(|dice| Service {
            name: dice.name(),
            replicas: dice.u32(),
            spec_hash: dice.hash(),
        }),
        deleted_at: dice.maybe(Dice::time),
        created_at: dice.time(),
        revision: dice.u64(),
    }
}

pub(crate) fn slot(n: u64, seed: u64) -> Slot {
    let mut dice = Dice::new(seed);
    Slot {
        id: slot_id(n),
        app: dice.key(),
        app_uid: app_uid(dice.below(3)),
        service: dice.name(),
        ordinal: dice.u32(),
        desired: dice.desired(),
        restart_count: dice.u32(),
        spec_hash: dice.hash(),
        demand: dice.resources(),
        upstream: dice.maybe(|dice| Upstream {
            slot: SlotId(dice.id()),
            generation: dice.u64(),
            recorded: dice.maybe(Dice::incarnation),
            hold_until: dice.time(),
            orphan: dice.bool(),
            returned: dice.maybe(Dice::text),
        }),
        refusals: dice.list(|dice| Refusal {
            child: ChildId(dice.id()),
            message: dice.text(),
            until: dice.time(),
            times: dice.u32(),
        }),
        pending: dice.list(Dice::candidate),
        created_at: dice.time(),
        revision: dice.u64(),
    }
}

pub(crate) fn assignment(n: u64, seed: u64) -> Assignment {
    let mut dice = Dice::new(seed);
    Assignment {
        id: assignment_id(n),
        slot: slot_id(dice.below(4)),
        app: dice.key(),
        app_uid: app_uid(dice.below(3)),
        service: dice.name(),
        ordinal: dice.u32(),
        child: child_id(dice.below(3)),
        generation: dice.u64(),
        desired: dice.desired(),
        restart_count: dice.u32(),
        spec_hash: dice.hash(),
        demand: dice.resources(),
        observed: Observed {
            generation: dice.u64(),
            restart_count: dice.u32(),
            phase: dice.of(&Phase::ALL),
            reason: dice.text(),
            message: dice.text(),
            exit_code: dice.maybe(|dice| dice.of(&[0, 1, -1, i32::MIN, i32::MAX])),
            restarts: dice.u32(),
            running_since: dice.maybe(Dice::time),
            output_tail: dice.bytes(),
            image_digest: dice.text(),
            handle: dice.text(),
            incarnation: dice.maybe(Dice::incarnation),
            candidates: dice.list(Dice::candidate),
            unreachable: dice.bool(),
        },
        created_at: dice.time(),
        // The store's own counter, so within what it can reach.
        order_revision: dice.below(9),
        revision: dice.u64(),
    }
}

pub(crate) fn child(n: u64, seed: u64) -> Child {
    let mut dice = Dice::new(seed);
    Child {
        id: child_id(n),
        name: dice.maybe(|dice| name(dice.of(&["a1", "a2", "b1", "b2"]))),
        public_key: dice.text(),
        wished: dice.maybe(|dice| name(dice.of(&["a1", "c9"]))),
        address: dice.text(),
        version: dice.text(),
        inventory: dice.bytes(),
        capacity: Capacity {
            workers: dice.u32(),
            allocatable: dice.resources(),
            free: dice.resources(),
            buckets: dice.list(|dice| Bucket {
                architecture: dice.text(),
                runtimes: dice.list(Dice::text),
                workers: dice.u32(),
                free: dice.resources(),
                largest: dice.resources(),
            }),
            includes_revision: dice.u64(),
        },
        state: dice.of(&[
            ChildState::Registered,
            ChildState::Ready,
            ChildState::Suspect,
            ChildState::Disconnected,
            ChildState::Returning,
            ChildState::Left,
            ChildState::Lost,
        ]),
        session_epoch: dice.u64(),
        attach: AttachId(dice.id()),
        adopting: dice.bool(),
        silence: std::time::Duration::from_millis(u64::from(dice.u32())),
        replace: dice.of(&[
            Replace::No,
            Replace::Unproven,
            Replace::Limited,
            Replace::Proven,
            Replace::Released,
            Replace::Fenced,
        ]),
        holder: dice.maybe(Dice::id),
        features: dice.maybe(|dice| dice.list(Dice::text).into_iter().collect()),
        boot_id: dice.text(),
        last_heard: dice.time(),
        created_at: dice.time(),
        revision: dice.u64(),
    }
}

pub(crate) fn meta(seed: u64) -> Meta {
    let mut dice = Dice::new(seed);
    Meta {
        lineage: Lineage(dice.id()),
        issuer_epoch: dice.u64(),
        revision: dice.u64(),
        session_epoch: dice.u64(),
        uplink: Uplink {
            accepted: dice.maybe(|dice| Accepted {
                lineage: Lineage(dice.id()),
                issuer_epoch: dice.u64(),
                revision: dice.u64(),
            }),
        },
        leader_epoch: dice.u64(),
    }
}

pub(crate) fn lease(n: u64, epoch: u64, seed: u64) -> Lease {
    let mut dice = Dice::new(seed);
    Lease {
        name: format!("lease {n}"),
        holder: Uuid::from_u128(u128::from(n)),
        epoch,
        expires_at: dice.time(),
    }
}

pub(crate) fn event(at: i64, seed: u64) -> Event {
    let mut dice = Dice::new(seed);
    Event {
        at: Time(at),
        namespace: dice.text(),
        subject: dice.text(),
        reason: dice.text(),
        message: dice.text(),
    }
}

pub(crate) fn request(n: u64, at: i64, seed: u64) -> RequestRecord {
    let mut dice = Dice::new(seed);
    RequestRecord {
        request_id: format!("request {n}"),
        method: dice.text(),
        body_hash: dice.hash().0,
        response: dice.bytes(),
        at: Time(at),
    }
}

pub(crate) fn user(n: u64, seed: u64) -> User {
    let mut dice = Dice::new(seed);
    let grant = |dice: &mut Dice| Grant {
        namespace: dice
            .of(&[None, Some("shop"), Some("lab")])
            .map(str::to_owned),
        role: dice.of(&["viewer", "admin"]).to_owned(),
    };
    let grants = (0..dice.below(4)).map(|_| grant(&mut dice)).collect();
    User {
        id: Uuid::from_u128(u128::from(n)),
        name: format!("user {n}"),
        grants,
        created_at: Time(dice.below(50) as i64),
    }
}

pub(crate) fn user_token(n: u64, seed: u64) -> UserToken {
    let mut dice = Dice::new(seed);
    let mut maybe = |value: i64| (dice.below(2) == 0).then_some(Time(value));
    UserToken {
        id: format!("token {n}"),
        user: Uuid::from_u128(u128::from(n % 3)),
        note: "for \"tests\"".to_owned(),
        secret_hash: [u8::try_from(n).unwrap(); 32],
        created_at: Time(1),
        expires_at: maybe(2),
        revoked_at: maybe(3),
        last_used_at: maybe(4),
    }
}

pub(crate) fn audit(n: u64) -> AuditRecord {
    AuditRecord {
        at: Time(n as i64),
        kind: "user".to_owned(),
        id: n.to_string(),
        name: format!("user {n}"),
        method: "token".to_owned(),
        source: "10.0.0.1:9".to_owned(),
        request_id: String::new(),
        verb: "Apply".to_owned(),
        object: "application/web".to_owned(),
        namespace: "default".to_owned(),
        decision: if n.is_multiple_of(2) {
            Decision::Allowed
        } else {
            Decision::Denied
        },
        detail: "ünï \u{0}".to_owned(),
    }
}
