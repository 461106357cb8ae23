//! Contracts of edgeIO: the `.proto` files, their generated code and descriptor set.
//!
//! Nothing is written by hand here but the module tree, what machines show to join and to be known, and [`subject`], the names
//! under which the messages travel on the bus. The `.proto` files under `edgeio/` are the reference.

pub mod subject;

/// `edgeio.api`: what people use.
pub mod api {
    /// Version 1.
    #[expect(clippy::allow_attributes, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("edgeio.api.v1");
    }
}

/// `edgeio.root`: what only the root serves.
pub mod root {
    /// Version 1.
    #[expect(
        clippy::allow_attributes,
        clippy::large_enum_variant,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("edgeio.root.v1");
    }
}

/// `edgeio.cluster`: what only a cluster serves.
pub mod cluster {
    /// Version 1.
    #[expect(
        clippy::allow_attributes,
        clippy::large_enum_variant,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("edgeio.cluster.v1");
    }
}

/// `edgeio.link`: the messages between a tier and its children.
pub mod link {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("edgeio.link.v1");
    }
}

/// `edgeio.runtime`: what drivers of other runtimes serve to the worker beside them.
pub mod runtime {
    /// Version 1.
    #[expect(clippy::allow_attributes, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("edgeio.runtime.v1");
    }
}

pub mod join;
pub mod machine;

/// `edgeio.options`: who may call a method, declared beside it.
pub mod options {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("edgeio.options.v1");
    }
}

/// The encoded `FileDescriptorSet` of all packages that our servers serve, for reflection and for the JSON form of messages.
/// `edgeio.runtime` is not in it: other programs serve that.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/edgeio_descriptor.bin"));
