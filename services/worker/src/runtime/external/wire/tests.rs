//! What goes over a driver's socket arrives whole, and what cannot be understood is not guessed.

use std::collections::BTreeMap;

use super::*;

fn some_labels() -> Labels {
    Labels {
        cluster: Uuid::from_u128(1),
        worker: Uuid::from_u128(2),
        instance: InstanceId(Uuid::from_u128(3)),
        spec_hash: "ab".to_owned(),
    }
}

#[test]
fn a_job_comes_over_whole() {
    let port = |host, protocol| Port {
        container: 80,
        host,
        protocol,
    };
    let whole = JobSpec {
        name: "edgeio-shop-web-0-3".to_owned(),
        labels: some_labels(),
        image: Some("web:1".to_owned()),
        image_digest: Some("sha256:ab".to_owned()),
        pull: PullPolicy::Always,
        command: vec!["/bin/web".to_owned()],
        args: vec!["-v".to_owned()],
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        cpu_millis: Some(0),
        memory_bytes: Some(1 << 20),
        ports: vec![port(None, Protocol::Udp), port(Some(8080), Protocol::Tcp)],
        working_dir: Some("/srv".to_owned()),
        stop_grace: Duration::from_millis(1500),
        lease: Some(Duration::from_nanos(7)),
        user: Some("7:8".to_owned()),
        stop_signal: Some(3),
        mounts: vec![Mount {
            source: "/var/lib/a".into(),
            target: "/data".into(),
            read_only: true,
        }],
        provisions: Vec::new(),
        sandbox: SandboxSpec {
            privileged: true,
            host_network: true,
            read_only: true,
            capabilities: vec!["NET_RAW".to_owned()],
            devices: vec!["/dev/null".to_owned()],
            pids: 7,
        },
    };
    assert_eq!(job(Some((&whole).into())), Ok(whole));
    assert!(job(None).is_err());
    let unowned = wire::Job::default();
    assert_eq!(job(Some(unowned)), Err(garbled("labels", "missing")));
}

#[test]
fn an_instance_comes_over_whole_in_every_state() {
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
    let pid = Some(7);
    let exit = |code, signal, lost: Option<&str>| {
        State::Exited(Exit {
            code,
            signal,
            finished_at: started_at,
            oom: code.is_none(),
            lost: lost.map(str::to_owned),
        })
    };
    let states = [
        State::Created,
        State::Running { started_at, pid },
        State::Paused {
            started_at,
            pid: None,
        },
        exit(Some(0), None, None),
        exit(None, Some(9), None),
        exit(None, None, Some("the power went")),
    ];
    for state in states {
        let observed = Observed {
            labels: some_labels(),
            handle: Handle("h".to_owned()),
            state,
            image_digest: None,
        };
        assert_eq!(instance(observed.clone().into()), Ok(observed));
    }
    assert_eq!(
        time(since_1970(SystemTime::UNIX_EPOCH - Duration::from_secs(1))),
        SystemTime::UNIX_EPOCH - Duration::from_secs(1)
    );
}

#[test]
fn what_cannot_be_understood_is_no_state() {
    let told = wire::Instance {
        labels: Some((&some_labels()).into()),
        ..wire::Instance::default()
    };
    assert!(instance(told).is_err(), "a state of a newer version");
    let mut unnamed: wire::Labels = (&some_labels()).into();
    unnamed.worker_id = "../7".to_owned();
    assert!(labels(Some(unnamed)).is_err());
}

#[test]
fn what_a_driver_does_not_mention_it_cannot_do() {
    let told = wire::GetCapabilitiesResponse {
        engine_version: "3".to_owned(),
        features: vec![wire::Feature::Pause.into(), 4711],
        missing: vec![wire::MissingFeature {
            feature: wire::Feature::Images.into(),
            why: "it runs modules".to_owned(),
        }],
    };
    let can = capabilities(told);
    assert_eq!(can.features, BTreeSet::from([Feature::Pause]));
    assert_eq!(can.missing.len(), FEATURES.len() - 1);
    assert!(can.missing.iter().all(|missing| !missing.why.is_empty()));
    assert_eq!(can.missing[0].why, "it runs modules");
    assert_eq!(capabilities(can.clone().into()), can);
    for (feature, _) in FEATURES {
        assert_eq!(feature_named(feature.as_str()), Some(feature));
        assert_eq!(read_feature(write_feature(feature)), Some(feature));
    }
    for feature in Feature::ALL {
        assert_ne!(write_feature(feature), wire::Feature::Unspecified);
    }
}

#[test]
fn an_event_of_a_newer_driver_is_a_gap() {
    for kind in [
        EventKind::Started,
        EventKind::Exited,
        EventKind::Oom,
        EventKind::Paused,
        EventKind::Resumed,
        EventKind::Removed,
    ] {
        let instance = InstanceId(Uuid::from_u128(3));
        let changed = RuntimeEvent::Changed { instance, kind };
        assert_eq!(event(changed.into()), changed);
    }
    assert_eq!(event(RuntimeEvent::Gap.into()), RuntimeEvent::Gap);
    assert_eq!(
        event(wire::WatchEventsResponse::default()),
        RuntimeEvent::Gap
    );
    let newer = wire::Changed {
        instance_id: Uuid::from_u128(3).to_string(),
        kind: 99,
    };
    let hint = Some(wire::watch_events_response::Hint::Changed(newer));
    assert_eq!(event(wire::WatchEventsResponse { hint }), RuntimeEvent::Gap);
}
