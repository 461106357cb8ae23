//! What one instance asks of the place where it runs. Only what placement looks at: images, ports and policies are absent.

use edgeio_domain::{
    resources::Resources,
    spec::{Mode, ServiceSpec, runtime},
};

/// What has to be there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// What is taken. A dimension that is 0 is not asked about.
    pub resources: Resources,
    /// CPU architectures that will do, in OCI's words; empty means any.
    pub architectures: Vec<String>,
    /// The runtime by name; empty means any, with an image any that runs images.
    pub runtime: String,
    /// It is an image.
    pub image: bool,
    /// It is of an exclusive service: never two at a time.
    pub exclusive: bool,
}

impl From<&ServiceSpec> for Demand {
    fn from(spec: &ServiceSpec) -> Self {
        Self {
            resources: spec.resources,
            architectures: spec.architectures.clone(),
            runtime: spec.runtime.clone(),
            image: spec.image.is_some(),
            exclusive: matches!(spec.disconnect.mode, Mode::Exclusive { .. }),
        }
    }
}

impl Demand {
    pub(crate) fn takes_architecture(&self, architecture: &str) -> bool {
        self.architectures.is_empty() || self.architectures.iter().any(|a| a == architecture)
    }

    pub(crate) fn takes_runtimes(&self, runtimes: &[String]) -> bool {
        match (self.runtime.as_str(), self.image) {
            ("", false) => true,
            ("", true) => runtimes.iter().any(|name| runtime::needs_image(name)),
            (named, _) => runtimes.iter().any(|name| name == named),
        }
    }

    /// The runtime in words.
    pub(crate) fn runtime_words(&self) -> &str {
        match (self.runtime.as_str(), self.image) {
            ("", true) => "docker or containerd",
            (named, _) => named,
        }
    }

    /// Whether `room` has enough CPU. Asking for none fits also where more than everything is taken.
    pub(crate) fn cpu_fits(&self, room: &Resources) -> bool {
        self.resources.cpu_millis <= 0 || self.resources.cpu_millis <= room.cpu_millis
    }

    /// The same for memory.
    pub(crate) fn memory_fits(&self, room: &Resources) -> bool {
        self.resources.memory_bytes <= 0 || self.resources.memory_bytes <= room.memory_bytes
    }
}
