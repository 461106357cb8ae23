//! What a job sees and what it may do, told from inside it: the same words mean the same in every runtime.

use std::{fs, path::Path, time::Duration};

use edgeio_worker::runtime::{
    Feature, InstanceId, JobSpec, Mount, NoProgress, Runtime, RuntimeError, SandboxSpec,
};
use tempfile::TempDir;

use crate::bed::{Bed, Behaviour, exited, printed};

/// Whether the runtime can do it; where it cannot, that it refuses such a job.
async fn can(driver: &dyn Runtime, feature: Feature, job: &JobSpec) -> bool {
    let can = driver.capabilities().await.unwrap();
    if can.features.contains(&feature) {
        return true;
    }
    let error = driver.ensure(job, &NoProgress).await.unwrap_err();
    let refused = matches!(&error, RuntimeError::Unsupported { feature: f, .. } if *f == feature);
    assert!(refused, "{error}");
    false
}

/// Runs a script that prints `ready` at last, and returns what it said.
async fn said(driver: &dyn Runtime, job: &JobSpec) -> String {
    driver.ensure(job, &NoProgress).await.unwrap();
    printed(driver, job.instance(), "ready").await;
    output(driver, job.instance()).await
}

async fn output(driver: &dyn Runtime, instance: InstanceId) -> String {
    let bytes = driver.tail(instance, 65_536).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of a line of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {status}"));
    line.trim_start_matches(':').trim()
}

fn bits(status: &str, name: &str) -> u64 {
    u64::from_str_radix(field(status, name), 16).unwrap()
}

/// What this kernel knows of the powers.
fn known_bits() -> u64 {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    (1 << (last.trim().parse::<u32>().unwrap() + 1)) - 1
}

/// A directory that any user of a job may use.
fn shared() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

fn mount(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.into(),
        read_only,
    }
}

pub(crate) async fn it_sees_what_it_is_shown(bed: &impl Bed) {
    let dir = shared();
    let (data, file) = (dir.path().join("data"), dir.path().join("file"));
    fs::create_dir(&data).unwrap();
    fs::write(&file, "from the spec").unwrap();
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script(
        "cat /edgeio-conf-a/b/app.conf; echo; cat /etc/edgeio-conf; echo
         echo written > /edgeio-data/deep/file
         { echo no > /etc/edgeio-conf; } 2>/dev/null && echo WROTE
         { echo no > /edgeio-conf-a/b/app.conf; } 2>/dev/null && echo WROTE
         echo ready",
    ));
    job.mounts = vec![
        mount(&data, "/edgeio-data/deep", false),
        mount(&file, "/etc/edgeio-conf", true),
        mount(&file, "/edgeio-conf-a/b/app.conf", true),
    ];
    if !can(&*driver, Feature::Mounts, &job).await {
        return;
    }
    let said = said(&*driver, &job).await;
    assert_eq!(said.matches("from the spec").count(), 2, "{said}");
    assert!(!said.contains("WROTE"), "{said}");
    let written = fs::read_to_string(data.join("file")).unwrap();
    assert_eq!(written.trim(), "written");
    assert_eq!(fs::read_to_string(&file).unwrap(), "from the spec");
    driver.remove(job.instance()).await.unwrap();
    for made in ["/edgeio-data", "/edgeio-conf-a", "/etc/edgeio-conf"] {
        assert!(!Path::new(made).exists(), "{made} is on the node");
    }
    assert!(data.join("file").exists(), "what it wrote stays");
}

pub(crate) async fn it_starts_where_it_was_told(bed: &impl Bed) {
    let (dir, driver) = (shared(), bed.driver());
    let mut job = bed.job(Behaviour::Script("pwd; echo 1 > here; echo ready"));
    job.mounts = vec![mount(dir.path(), "/edgeio-work", false)];
    job.working_dir = Some("/edgeio-work".to_owned());
    if !can(&*driver, Feature::Mounts, &job).await {
        return;
    }
    let said = said(&*driver, &job).await;
    assert!(said.contains("/edgeio-work\n"), "{said}");
    assert!(dir.path().join("here").exists());
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn it_is_who_it_was_told(bed: &impl Bed) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script("cat /proc/self/status; echo ready"));
    job.user = Some("12345:23456".to_owned());
    if !can(&*driver, Feature::Users, &job).await {
        return;
    }
    let status = said(&*driver, &job).await;
    assert_eq!(field(&status, "Uid").split('\t').next(), Some("12345"));
    assert_eq!(field(&status, "Gid").split('\t').next(), Some("23456"));
    assert_eq!(bits(&status, "CapEff"), 0, "nobody but root has powers");
    assert_eq!(bits(&status, "CapPrm"), 0);
    driver.remove(job.instance()).await.unwrap();
    let mut ghost = bed.job(Behaviour::Hold);
    ghost.user = Some("edgeio-ghost".to_owned());
    let error = driver.ensure(&ghost, &NoProgress).await.unwrap_err();
    assert!(error.chain().contains("edgeio-ghost"), "{}", error.chain());
    driver.remove(ghost.instance()).await.unwrap();
}

pub(crate) async fn it_is_asked_to_end_by_its_own_signal(bed: &impl Bed) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script(
        "trap '' TERM; trap 'exit 7' USR1; echo ready; sleep 100000 & wait",
    ));
    job.stop_signal = Some(10);
    said(&*driver, &job).await;
    let stopped = driver.stop(job.instance(), Duration::from_secs(50)).await;
    assert_eq!(stopped.unwrap().unwrap().code, Some(7));
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn it_may_do_little(bed: &impl Bed) {
    let driver = bed.driver();
    let job = bed.job(Behaviour::Script(
        "cat /proc/self/status
         { echo x > /proc/sys/kernel/domainname; } 2>/dev/null && echo WROTE
         cat /proc/kcore /proc/keys | while read -r line; do echo LEAKED; break; done
         for device in /dev/*; do echo device=$device; done
         unshare -m true 2>/dev/null && echo UNSHARED
         mount -t tmpfs none /tmp 2>/dev/null && echo MOUNTED
         echo ready",
    ));
    let said = said(&*driver, &job).await;
    assert_eq!(field(&said, "NoNewPrivs"), "1");
    assert_eq!(field(&said, "Seccomp"), "2");
    let kept = SandboxSpec::default().kept_bits();
    for set in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(bits(&said, set), kept, "{set}: {said}");
    }
    assert_eq!(bits(&said, "CapAmb"), 0);
    for word in ["UNSHARED", "MOUNTED"] {
        assert!(!said.contains(word), "{said}");
    }
    let can = driver.capabilities().await.unwrap();
    if can.features.contains(&Feature::Mounts) {
        assert!(
            !said.contains("WROTE") && !said.contains("LEAKED"),
            "{said}"
        );
        assert!(said.contains("device=/dev/null"), "{said}");
        for device in [
            "/dev/mem",
            "/dev/kmsg",
            "/dev/vda",
            "/dev/sda",
            "/dev/loop-control",
            "/dev/kvm",
        ] {
            assert!(!said.contains(&format!("device={device}\n")), "{said}");
        }
    }
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn it_may_not_fork_for_ever(bed: &impl Bed) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script(
        "i=0; while [ $i -lt 60 ]; do sleep 100000 & i=$((i+1)); done; echo all of them",
    ));
    job.sandbox.pids = 20;
    if !driver
        .capabilities()
        .await
        .unwrap()
        .features
        .contains(&Feature::Limits)
    {
        return;
    }
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    let said = output(&*driver, job.instance()).await;
    assert!(!said.contains("all of them"), "{said}");
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn a_read_only_root_is_not_written(bed: &impl Bed) {
    let (dir, driver) = (shared(), bed.driver());
    let mut job = bed.job(Behaviour::Script(
        "{ echo 1 > /edgeio-probe; } 2>/dev/null && echo WROTE
         { echo 1 > /etc/edgeio-probe; } 2>/dev/null && echo WROTE
         { echo 1 > /edgeio-data/kept; } && echo kept
         { echo 1 > /dev/null; } && echo usable
         echo ready",
    ));
    job.sandbox.read_only = true;
    job.mounts = vec![mount(dir.path(), "/edgeio-data", false)];
    if !can(&*driver, Feature::Mounts, &job).await {
        return;
    }
    let said = said(&*driver, &job).await;
    assert!(!said.contains("WROTE"), "{said}");
    assert!(said.contains("kept") && said.contains("usable"), "{said}");
    assert!(dir.path().join("kept").exists());
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn the_nodes_network_is_seen_where_allowed(bed: &impl Bed) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script(
        "/bin/busybox readlink /proc/self/ns/net; echo ready",
    ));
    job.sandbox.host_network = true;
    let said = said(&*driver, &job).await;
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(said.contains(&*own.to_string_lossy()), "{own:?}: {said}");
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn a_privileged_job_may_do_all(bed: &impl Bed) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Script("cat /proc/self/status; echo ready"));
    job.sandbox.privileged = true;
    let said = said(&*driver, &job).await;
    assert_eq!(field(&said, "NoNewPrivs"), "0");
    assert_eq!(field(&said, "Seccomp"), "0");
    // Not more than the engine itself has: in a container it may lack some.
    let own = bits(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd");
    // Engines need not know the three newest powers, which older kernels have under another one's name.
    let old = (1 << 38) - 1;
    assert_eq!(
        bits(&said, "CapBnd") & old,
        own & known_bits() & old,
        "{said}"
    );
    driver.remove(job.instance()).await.unwrap();
}
