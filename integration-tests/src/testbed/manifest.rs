//! Applications of stories, short to write.

use edgeio_proto::api::v1::{ApplicationSpec, ServiceSpec};

/// An application in the default namespace.
#[must_use]
pub fn app(name: &str, services: impl IntoIterator<Item = ServiceSpec>) -> ApplicationSpec {
    ApplicationSpec {
        namespace: String::new(),
        name: name.to_owned(),
        services: services.into_iter().collect(),
    }
}

/// A shell script that a native job runs. `sh` is on every machine.
#[must_use]
pub fn script(name: &str, replicas: u32, script: &str) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        replicas: Some(replicas),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        ..ServiceSpec::default()
    }
}

/// A native job that only stays.
#[must_use]
pub fn native(name: &str, replicas: u32) -> ServiceSpec {
    script(name, replicas, "exec sleep 100000")
}

/// A container of `image` that only stays, and ends when it is asked to.
#[must_use]
pub fn container(name: &str, replicas: u32, image: &str) -> ServiceSpec {
    ServiceSpec {
        image: image.to_owned(),
        pull: "never".to_owned(),
        ..script(
            name,
            replicas,
            // As process 1 a plain `sleep` would ignore the request.
            "trap 'exit 0' TERM; sleep 100000 & wait",
        )
    }
}
