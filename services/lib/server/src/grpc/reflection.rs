//! Reflection, so that `grpcurl HOST list` works without a file: v1, and v1alpha because grpcurl
//! before 1.9 and many tools ask that one only.
//!
//! It lists what this server serves and no more (the descriptor set has the services of all tiers),
//! but knows all messages, those of error details included: so a tool can print them.

use tonic::service::RoutesBuilder;
use tonic_reflection::server::{Builder, Error};

const HEALTH: &str = "grpc.health.v1.Health";
const V1: &str = "grpc.reflection.v1.ServerReflection";
const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// Adds both versions to `routes`, listing `names`, health and reflection itself.
pub(super) fn add(routes: &mut RoutesBuilder, names: &[&'static str]) -> Result<(), Error> {
    let builder = || {
        let known = Builder::configure()
            .register_encoded_file_descriptor_set(edgeio_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            );
        let served = names.iter().copied().chain([HEALTH, V1, V1_ALPHA]);
        served.fold(known, Builder::with_service_name)
    };
    routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?);
    Ok(())
}
