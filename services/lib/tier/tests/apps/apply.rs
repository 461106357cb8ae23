//! Apply: faults are told all at once and store nothing; a good manifest becomes a version.

use edgeio_domain::{
    ids::AppUid,
    name::Name,
    records::{AppKey, Application, Owner},
    time::Time,
};
use edgeio_proto::api::v1;
use edgeio_server::{
    auth::{Binding, Principal, Role},
    status::{Classify, Kind},
};
use edgeio_store::Write;
use edgeio_tier::apps::{AppError, Apply};
use uuid::Uuid;

use crate::support::{Bed, as_role, here, manifest, phase, service, web, who};

type Change = fn(&mut v1::ApplyRequest);

fn app(request: &mut v1::ApplyRequest) -> &mut v1::ApplicationSpec {
    request.application.as_mut().unwrap()
}

fn first(request: &mut v1::ApplyRequest) -> &mut v1::ServiceSpec {
    &mut app(request).services[0]
}

/// What is done to a good manifest, and the paths that must be told, in order.
const FAULTS: &[(Change, &[&str])] = &[
    (|r| r.application = None, &["application"]),
    (|r| r.request_id = "x".repeat(129), &["request_id"]),
    (
        |r| app(r).namespace = "No".into(),
        &["application.namespace"],
    ),
    (|r| app(r).name.clear(), &["application.name"]),
    (|r| app(r).name = "a".repeat(41), &["application.name"]),
    (|r| app(r).services.clear(), &["application.services"]),
    (
        |r| app(r).services = (0..101).map(|n| service(&format!("s{n}"), None)).collect(),
        &["application.services"],
    ),
    (
        |r| app(r).services.push(service("front", None)),
        &["application.services[1].name"],
    ),
    (
        |r| first(r).name = "_".into(),
        &["application.services[0].name"],
    ),
    (
        |r| first(r).replicas = Some(10_001),
        &["application.services[0].replicas"],
    ),
    (
        |r| first(r).command.clear(),
        &["application.services[0].command"],
    ),
    (
        |r| first(r).command[0].clear(),
        &["application.services[0].command[0]"],
    ),
    (
        |r| first(r).runtime = "Rkt!".into(),
        &["application.services[0].runtime"],
    ),
    (
        |r| {
            first(r).runtime = "process".into();
            first(r).image = "a:1".into();
        },
        &["application.services[0].image"],
    ),
    (
        |r| first(r).resources.as_mut().unwrap().cpu = "lots".into(),
        &["application.services[0].resources.cpu"],
    ),
    (
        |r| first(r).resources.as_mut().unwrap().memory = "-1".into(),
        &["application.services[0].resources.memory"],
    ),
    (
        |r| first(r).architectures = vec!["amd64".into(), "x 86".into()],
        &["application.services[0].architectures[1]"],
    ),
    (
        |r| {
            first(r).ports = vec![v1::PortSpec {
                container: 80,
                ..Default::default()
            }]
        },
        &["application.services[0].ports"],
    ),
    (
        |r| first(r).pull = "maybe".into(),
        &["application.services[0].pull"],
    ),
    (
        |r| first(r).restart = "twice".into(),
        &["application.services[0].restart"],
    ),
    (
        |r| first(r).stop_grace = "2h".into(),
        &["application.services[0].stop_grace"],
    ),
    (
        |r| {
            first(r).env.insert("A=B".into(), String::new());
        },
        &["application.services[0].env"],
    ),
    (
        |r| first(r).args = vec!["x".repeat(48 * 1024)],
        &["application.services[0]"],
    ),
    (
        |r| {
            app(r).name = "-".into();
            first(r).pull = "maybe".into();
            app(r).services.push(service("", None));
        },
        &[
            "application.name",
            "application.services[0].pull",
            "application.services[1].name",
        ],
    ),
];

#[tokio::test]
async fn each_fault_is_told_with_its_path_and_stores_nothing() {
    for (row, (change, paths)) in FAULTS.iter().enumerate() {
        for validate_only in [false, true] {
            let bed = Bed::root();
            let mut request = web(1);
            request.validate_only = validate_only;
            change(&mut request);
            let error = bed.apply(request).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.reason()),
                (Kind::InvalidInput, "INVALID_FIELDS")
            );
            let told: Vec<String> = error.fields().into_iter().map(|f| f.path).collect();
            assert_eq!(told, *paths, "row {row}");
            assert!(error.fields().iter().all(|field| !field.message.is_empty()));
            assert_eq!(
                (bed.revision().await, bed.count().await),
                (0, 0),
                "row {row}"
            );
        }
    }
}

#[tokio::test]
async fn a_manifest_becomes_an_application_with_defaults() {
    let bed = Bed::root();
    let made = bed
        .applied(manifest("web", vec![service("front", None)]))
        .await;
    assert_eq!(
        (made.namespace.as_str(), made.name.as_str()),
        ("default", "web")
    );
    assert_eq!((made.owner.as_str(), made.version), ("root", 1));
    assert_eq!(made.created_at.unwrap().seconds, 1_700_000_000);
    let spec = made.spec.unwrap();
    assert_eq!(spec.services[0].replicas, Some(1));
    assert_eq!(spec.services[0].command, ["sleep", "1000"]);
    let status = made.status.unwrap();
    assert_eq!(phase(&status), v1::ApplicationPhase::Progressing);
}

#[tokio::test]
async fn the_same_manifest_changes_nothing_and_another_one_makes_a_version() {
    let bed = Bed::root();
    let first = bed.applied(web(2)).await;
    let revision = bed.revision().await;
    let again = bed.applied(web(2)).await;
    assert_eq!((again.version, bed.revision().await), (1, revision));

    let more = bed.applied(web(3)).await;
    assert_eq!((more.version, more.uid.as_str()), (2, first.uid.as_str()));
    let mut other = web(3);
    other.application.as_mut().unwrap().services[0].args = vec!["-v".into()];
    assert_eq!(bed.applied(other).await.version, 3);
}

#[tokio::test]
async fn absent_replicas_keep_what_was_scaled() {
    let bed = Bed::root();
    bed.applied(web(2)).await;
    let scale = v1::ScaleRequest {
        name: "web".into(),
        replicas: 5,
        ..Default::default()
    };
    bed.scale(scale).await.unwrap();
    let services = vec![service("front", None), service("back", None)];
    let spec = bed.applied(manifest("web", services)).await.spec.unwrap();
    let replicas: Vec<_> = spec.services.iter().map(|s| s.replicas.unwrap()).collect();
    assert_eq!(replicas, [5, 1]);
}

#[tokio::test]
async fn an_expected_version_must_be_the_present_one() {
    let bed = Bed::root();
    let expect = |version, replicas| v1::ApplyRequest {
        expected_version: version,
        ..web(replicas)
    };
    let error = bed.apply(expect(1, 1)).await.unwrap_err();
    assert!(matches!(
        error,
        AppError::VersionMismatch {
            expected: 1,
            current: 0
        }
    ));
    bed.applied(web(1)).await;
    bed.applied(expect(1, 2)).await;
    let error = bed.apply(expect(1, 3)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::Conflict, "VERSION_MISMATCH")
    );
    assert!(
        error
            .metadata()
            .contains(&("current_version", "2".to_owned()))
    );
    assert_eq!(bed.get("web").await.unwrap().version, 2);
}

#[tokio::test]
async fn what_another_tier_owns_is_changed_there() {
    let bed = Bed::root();
    let north = bed.child("north", 1).await;
    let key = |owner| AppKey {
        owner,
        namespace: Name::new("default").unwrap(),
        name: Name::new("web").unwrap(),
    };
    let foreign = Application {
        key: key(Owner::Cluster(north)),
        uid: AppUid(Uuid::from_u128(99)),
        version: 4,
        services: Vec::new(),
        deleted_at: None,
        created_at: Time(1),
        revision: 0,
    };
    bed.write([Write::PutApplication(foreign.clone())]).await;
    let scale = v1::ScaleRequest {
        name: "web".into(),
        replicas: 3,
        ..Default::default()
    };
    let error = bed.scale(scale.clone()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::FailedPrecondition, "OWNED_ELSEWHERE")
    );
    assert!(
        error.to_string().contains("owned by cluster north"),
        "{error}"
    );
    assert_eq!(error.metadata(), [("owner", "cluster north".to_owned())]);
    // It can be looked at all the same.
    assert_eq!(bed.get("web").await.unwrap().owner, "cluster north");
    // The name is free here: owner and name together are the key.
    let answer = bed.applied(web(1)).await;
    assert_eq!((answer.owner.as_str(), answer.version), ("root", 1));
    assert_eq!(bed.get("web").await.unwrap().owner, "root");
    assert_eq!(
        bed.scale(scale).await.unwrap().application.unwrap().version,
        2
    );
    assert_eq!(bed.count().await, 2);

    let bed = Bed::cluster();
    let of_root = Application {
        key: key(Owner::Root),
        ..foreign
    };
    bed.write([Write::PutApplication(of_root)]).await;
    let error = bed.apply(web(1)).await.unwrap_err();
    assert!(error.to_string().contains("owned by root"), "{error}");
    let error = bed
        .delete(v1::DeleteRequest {
            name: "web".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "OWNED_ELSEWHERE");
    let own = bed
        .applied(manifest("mine", vec![service("a", None)]))
        .await;
    assert_eq!(own.owner, "cluster north");
    assert_ne!(here(), north);
}

#[tokio::test]
async fn roles_and_namespaces_are_kept() {
    let refused = |who: &Principal| Apply::parse(who, web(1)).unwrap_err();
    let error = refused(&as_role(Role::Viewer));
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::Forbidden, "ROLE_TOO_LOW")
    );
    let bound = Principal {
        bindings: vec![Binding::within("shop", Role::Deployer)],
        ..who()
    };
    assert_eq!(refused(&bound).reason(), "NAMESPACE_NOT_FOUND");
}
