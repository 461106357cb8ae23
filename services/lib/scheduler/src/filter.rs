//! Which candidates can take a demand, and in words why the others cannot.
//!
//! Invariant: [`why_not`] is empty exactly when [`admits`] says yes (tested as a law).

use edgeio_domain::{
    child::{Bucket, ChildState},
    quantity::{format_bytes, format_cpu},
};

use crate::{
    candidate::{Candidate, is_kind},
    demand::Demand,
};

/// Whether `candidate` can take `demand` now. Cheap: this runs for many candidates, words are made only on failure.
pub(crate) fn admits(candidate: &Candidate, demand: &Demand) -> bool {
    candidate.state.takes_work()
        && candidate.understands(demand)
        && candidate.bucket_for(demand).is_some()
}

/// One sentence for each thing that stands against it; a refusal comes last, because it is the only one that
/// passes by itself.
pub(crate) fn why_not(
    candidate: &Candidate,
    demand: &Demand,
    refusal: Option<String>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(silence(candidate.state).map(str::to_owned));
    if !candidate.understands(demand) {
        let why = "cannot run an exclusive service: its version does not stop one by itself when it is cut off, upgrade it";
        reasons.push(why.to_owned());
    }
    if candidate.bucket_for(demand).is_none() {
        reasons.extend(misfits(&candidate.buckets, demand));
    }
    reasons.extend(refusal.map(|said| format!("refused it and is not asked again yet: {said}")));
    reasons
}

fn silence(state: ChildState) -> Option<&'static str> {
    match state {
        ChildState::Ready => None,
        ChildState::Registered => Some("has never reported"),
        ChildState::Suspect => Some("is silent and missed its lease"),
        ChildState::Disconnected => Some("is silent"),
        ChildState::Returning => Some("has just returned and its state is being compared"),
        ChildState::Left => Some("has left"),
        ChildState::Lost => Some("was silent for too long or is fenced"),
    }
}

/// Why no bucket takes `demand`. Called only when none does.
fn misfits(buckets: &[Bucket], demand: &Demand) -> Vec<String> {
    if buckets.is_empty() {
        return vec!["offers no capacity".to_owned()];
    }
    let mut reasons = Vec::new();
    if !buckets
        .iter()
        .any(|bucket| demand.takes_architecture(&bucket.architecture))
    {
        let offered = joined(buckets.iter().map(|b| b.architecture.as_str()));
        let needed = demand.architectures.join(" or ");
        reasons.push(format!("needs the architecture {needed}, has {offered}"));
    }
    if !buckets
        .iter()
        .any(|bucket| demand.takes_runtimes(&bucket.runtimes))
    {
        let offered = joined(buckets.iter().flat_map(|b| &b.runtimes).map(String::as_str));
        let needed = demand.runtime_words();
        reasons.push(format!("needs the runtime {needed}, has {offered}"));
    }
    if !reasons.is_empty() {
        return reasons;
    }
    let kind: Vec<&Bucket> = buckets.iter().filter(|b| is_kind(b, demand)).collect();
    if kind.is_empty() {
        let architecture = demand.architectures.join(" or ");
        let runtime = demand.runtime_words();
        return vec![format!(
            "no worker there has both the architecture {architecture} and the runtime {runtime}"
        )];
    }
    if !kind.iter().any(|bucket| demand.cpu_fits(&bucket.largest)) {
        let largest = kind.iter().map(|b| b.largest.cpu_millis).max();
        reasons.push(format!(
            "needs {} CPU, largest free is {}",
            format_cpu(demand.resources.cpu_millis),
            format_cpu(largest.unwrap_or(0).max(0)),
        ));
    }
    if !kind
        .iter()
        .any(|bucket| demand.memory_fits(&bucket.largest))
    {
        let largest = kind.iter().map(|b| b.largest.memory_bytes).max();
        reasons.push(format!(
            "needs {} memory, largest free is {}",
            format_bytes(demand.resources.memory_bytes),
            free_bytes(largest.unwrap_or(0)),
        ));
    }
    if reasons.is_empty() {
        reasons.push(format!(
            "no kind of worker there has {} CPU and {} memory free together",
            format_cpu(demand.resources.cpu_millis),
            format_bytes(demand.resources.memory_bytes),
        ));
    }
    reasons
}

/// Free memory is seldom a round number: rounded down to whole MiB it can be read, and promises nothing.
fn free_bytes(bytes: i64) -> String {
    const MIB: i64 = 1 << 20;
    if bytes < MIB {
        format_bytes(bytes.max(0))
    } else {
        format!("{}Mi", bytes / MIB)
    }
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::resources::Resources;

    use super::*;

    fn bucket(architecture: &str, runtime: &str, cpu: i64, mib: i64) -> Bucket {
        let amounts = Resources {
            cpu_millis: cpu,
            memory_bytes: mib << 20,
        };
        Bucket {
            architecture: architecture.into(),
            runtimes: vec![runtime.into()],
            workers: 1,
            free: amounts,
            largest: amounts,
        }
    }

    fn demand(architecture: &str, runtime: &str, cpu: i64, mib: i64) -> Demand {
        Demand {
            resources: Resources {
                cpu_millis: cpu,
                memory_bytes: mib << 20,
            },
            architectures: vec![architecture.into()],
            runtime: runtime.into(),
            ..Demand::default()
        }
    }

    #[test]
    fn sentences_name_what_is_needed_and_what_is_there() {
        let mixed = [
            bucket("amd64", "docker", 200, 4096),
            bucket("arm64", "process", 4000, 100),
        ];
        for (wanted, sentences) in [
            (
                demand("amd64", "docker", 500, 64),
                vec!["needs 500m CPU, largest free is 200m"],
            ),
            (
                demand("amd64", "docker", 1000, 8192),
                vec![
                    "needs 1 CPU, largest free is 200m",
                    "needs 8Gi memory, largest free is 4096Mi",
                ],
            ),
            (
                demand("riscv64", "cri", 1, 1),
                vec![
                    "needs the architecture riscv64, has amd64, arm64",
                    "needs the runtime cri, has docker, process",
                ],
            ),
            (
                Demand {
                    image: true,
                    ..demand("arm64", "", 1, 1)
                },
                vec![
                    "no worker there has both the architecture arm64 and the runtime docker or containerd",
                ],
            ),
            (
                demand("arm64", "docker", 1, 1),
                vec!["no worker there has both the architecture arm64 and the runtime docker"],
            ),
        ] {
            assert_eq!(misfits(&mixed, &wanted), sentences);
        }
        let either = Demand {
            architectures: vec![],
            runtime: String::new(),
            ..demand("", "", 1000, 200)
        };
        assert_eq!(
            misfits(&mixed, &either),
            ["no kind of worker there has 1 CPU and 200Mi memory free together"]
        );
        assert_eq!(misfits(&[], &either), ["offers no capacity"]);
    }

    #[test]
    fn an_image_without_a_runtime_goes_wherever_images_run() {
        let image = Demand {
            image: true,
            ..demand("amd64", "", 1, 1)
        };
        for (runtime, takes) in [("docker", true), ("containerd", true), ("process", false)] {
            let candidate = Candidate {
                state: ChildState::Ready,
                buckets: vec![bucket("amd64", runtime, 1000, 1024)],
                ..Candidate::default()
            };
            assert_eq!(admits(&candidate, &image), takes, "{runtime}");
        }
    }

    #[test]
    fn an_exclusive_service_goes_only_where_it_would_stop_itself() {
        let newer = Candidate {
            state: ChildState::Ready,
            stops_exclusive: true,
            buckets: vec![bucket("amd64", "docker", 1000, 1024)],
            ..Candidate::default()
        };
        let older = Candidate {
            stops_exclusive: false,
            ..newer.clone()
        };
        let any = demand("amd64", "docker", 500, 64);
        let exclusive = Demand {
            exclusive: true,
            ..any.clone()
        };
        assert!(admits(&newer, &exclusive) && admits(&older, &any));
        assert!(!admits(&older, &exclusive));
        let reasons = why_not(&older, &exclusive, None);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains("exclusive") && reasons[0].contains("upgrade"));
    }

    #[test]
    fn a_child_that_is_not_heard_says_why() {
        for (state, word) in [
            (ChildState::Registered, "never reported"),
            (ChildState::Suspect, "silent"),
            (ChildState::Disconnected, "silent"),
            (ChildState::Returning, "returned"),
            (ChildState::Left, "left"),
        ] {
            let candidate = Candidate {
                state,
                buckets: vec![bucket("amd64", "docker", 1000, 1024)],
                ..Candidate::default()
            };
            let wanted = demand("amd64", "docker", 500, 64);
            let reasons = why_not(&candidate, &wanted, Some("image is not there".into()));
            assert_eq!(reasons.len(), 2, "{reasons:?}");
            assert!(reasons[0].contains(word), "{reasons:?}");
            assert!(reasons[1].ends_with(": image is not there"), "{reasons:?}");
        }
    }
}
