//! What the cluster owns itself, as it is told up.

use edgeio_domain::{
    digest,
    ids::{AppUid, AssignmentId, ChildId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Application, Desired, Owner, Service},
    time::Time,
};
use edgeio_link::version::feature;
use edgeio_proto::link::v1::{self, parent_message::Message};
use edgeio_store::{ApplicationFilter, Store as _, Write};

use super::bed::{Bed, body, phase, run, uuid};

fn application(replicas: u32, version: u64) -> Application {
    let name = |text: &str| Name::new(text).unwrap();
    Application {
        key: AppKey {
            owner: Owner::Cluster(ChildId(uuid(7))),
            namespace: name("default"),
            name: name("own"),
        },
        uid: AppUid(uuid(800)),
        version,
        services: vec![Service {
            name: name("front"),
            replicas,
            spec_hash: SpecHash::of(&body()),
        }],
        deleted_at: None,
        created_at: Time(0),
        revision: 0,
    }
}

/// A cluster with an application of its own whose instances run.
async fn bed(features: &[&str]) -> Bed {
    let mut bed = Bed::new().await;
    bed.features = features.iter().map(|&name| name.to_owned()).collect();
    bed.worker(50, 8, 8).await;
    bed.write([
        Write::PutSpec(SpecHash::of(&body()), body()),
        Write::PutApplication(application(2, 1)),
    ])
    .await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    bed.attach().await;
    bed
}

fn owned(reports: &[v1::Report]) -> Vec<v1::InstanceReport> {
    let entries = reports.iter().flat_map(|r| &r.entries);
    entries.filter(|e| !e.owner.is_empty()).cloned().collect()
}

#[tokio::test]
async fn a_root_of_an_older_version_hears_nothing_of_it() {
    let bed = bed(&[]).await;
    assert_eq!(bed.first.len(), 1);
    assert!(owned(&bed.first).is_empty());
    assert!(!bed.first[0].applications_full);
    let only = [(AssignmentId(uuid(1)), Phase::Running, 0)];
    assert_eq!(bed.first[0].states_digest, digest::states(only));
}

#[tokio::test]
async fn applications_and_instances_are_told_with_their_owner() {
    let mut bed = bed(&[feature::OWNED_APPLICATIONS]).await;
    let told = owned(&bed.first);
    assert_eq!(told.len(), 2);
    for entry in &told {
        assert_eq!(entry.owner, uuid(7).to_string());
        assert_eq!(
            (phase(entry), entry.application.as_str()),
            (Phase::Running, "own")
        );
        assert!(entry.incarnation.is_some());
    }
    let report = &bed.first[0];
    assert!(report.applications_full);
    assert_eq!(report.applications[0].services[0].replicas, 2);
    assert_eq!(
        report.applications_digest,
        digest::applications([&application(2, 1)])
    );
    let mut ids: Vec<_> = told.iter().map(|e| e.id.parse().unwrap()).collect();
    ids.push(AssignmentId(uuid(1)));
    let states = ids.iter().map(|id| (*id, Phase::Running, 0));
    assert_eq!(report.states_digest, digest::states(states));
    assert_eq!(
        report.assignments_digest,
        digest::assignments([(AssignmentId(uuid(1)), 1, Desired::Run, 0)]),
        "the root ordered none of the cluster's own"
    );
    bed.recorded().await;
    assert!(bed.reports().await.is_empty());

    // It is scaled down: the change, the end and that it is gone are told as they come.
    bed.write([Write::PutApplication(application(1, 2))]).await;
    bed.plan().await;
    let reports = bed.reports().await;
    assert_eq!(reports[0].applications[0].version, 2);
    let ending = owned(&reports);
    assert_eq!(
        ending.iter().map(phase).collect::<Vec<_>>(),
        [Phase::Stopping]
    );
    bed.workers_stop().await;
    bed.plan().await;
    let reports = bed.reports().await;
    let gone = owned(&reports);
    assert_eq!(
        gone.iter().map(|e| (&e.id, phase(e))).collect::<Vec<_>>(),
        [(&ending[0].id, Phase::Stopped)]
    );
    bed.recorded().await;
    assert!(bed.reports().await.is_empty(), "each is told once");

    let mut deleted = application(1, 3);
    deleted.deleted_at = Some(Time(5));
    bed.write([Write::PutApplication(deleted)]).await;
    bed.plan().await;
    assert!(bed.reports().await[0].applications[0].deleting);
    bed.workers_stop().await;
    bed.plan().await;
    let tx = bed.store.read().await.unwrap();
    let own = ApplicationFilter {
        name: Some("own".to_owned()),
        ..Default::default()
    };
    assert!(tx.applications(&own).await.unwrap().is_empty());
    drop(tx);
    let last = bed.reports().await;
    assert!(last[0].applications[0].gone);
    assert_eq!(last[0].applications_digest, digest::applications([]));
    assert_eq!(
        owned(&last).iter().map(phase).collect::<Vec<_>>(),
        [Phase::Stopped]
    );
}

#[tokio::test]
async fn specs_are_told_when_the_root_asks() {
    let mut bed = bed(&[feature::OWNED_APPLICATIONS]).await;
    bed.recorded().await;
    let hash = SpecHash::of(&body());
    bed.hear(Message::ReportRequest(v1::ReportRequest {
        spec_hashes: vec![hash.0.to_vec(), vec![9; 32]],
        ..Default::default()
    }))
    .await;
    let specs: Vec<v1::Spec> = bed
        .reports()
        .await
        .into_iter()
        .flat_map(|r| r.specs)
        .collect();
    assert_eq!(specs.len(), 1);
    assert_eq!(specs[0].body, body());
}
