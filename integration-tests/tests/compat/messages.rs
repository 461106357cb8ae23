//! Each message of an earlier version means the same: by the descriptors, and in the generated code.

use std::fs;

use anyhow::{Context, Result, ensure};
use edgeio_proto::{FILE_DESCRIPTOR_SET, api, cluster, link, root};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::{VERSIONS, bytes, meaning, recording};

/// What the generated code makes of a message when it is written again.
fn written_again(kind: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(M::decode(bytes)?.encode_to_vec())
    }
    let again = match kind {
        "edgeio.link.v1.ChildMessage" => again::<link::v1::ChildMessage>,
        "edgeio.link.v1.ParentMessage" => again::<link::v1::ParentMessage>,
        "edgeio.cluster.v1.AttachRequest" => again::<cluster::v1::AttachRequest>,
        "edgeio.cluster.v1.AttachResponse" => again::<cluster::v1::AttachResponse>,
        "edgeio.cluster.v1.RegisterRequest" => again::<cluster::v1::RegisterRequest>,
        "edgeio.cluster.v1.RegisterResponse" => again::<cluster::v1::RegisterResponse>,
        "edgeio.cluster.v1.LeaveRequest" => again::<cluster::v1::LeaveRequest>,
        "edgeio.cluster.v1.LeaveResponse" => again::<cluster::v1::LeaveResponse>,
        "edgeio.root.v1.AttachRequest" => again::<root::v1::AttachRequest>,
        "edgeio.root.v1.AttachResponse" => again::<root::v1::AttachResponse>,
        "edgeio.root.v1.RegisterRequest" => again::<root::v1::RegisterRequest>,
        "edgeio.root.v1.RegisterResponse" => again::<root::v1::RegisterResponse>,
        "edgeio.api.v1.ServiceSpec" => again::<api::v1::ServiceSpec>,
        "edgeio.api.v1.ApplyRequest" => again::<api::v1::ApplyRequest>,
        other => anyhow::bail!("{other} is recorded and not tested: add it here"),
    };
    again(bytes)
}

#[test]
fn a_message_of_an_earlier_version_keeps_its_meaning() -> Result<()> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    for version in VERSIONS {
        let dir = recording(version).join("messages");
        let mut tested = 0;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "bin") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            // edgeio.PACKAGE.VERSION.KIND, perhaps with the choice behind it.
            let kind: Vec<&str> = name.split('.').take(4).collect();
            let kind = kind.join(".");
            let recorded = bytes(&path)?;
            let descriptor = pool
                .get_message_by_name(&kind)
                .with_context(|| format!("{kind} of {version} is gone"))?;
            let read = DynamicMessage::decode(descriptor, recorded.as_slice())
                .with_context(|| format!("read {version}/{name}"))?;
            assert_eq!(
                serde_json::to_value(&read)?,
                meaning(&path.with_extension("json"))?,
                "{version}/{name} means something else"
            );
            let again = written_again(&kind, &recorded)?;
            ensure!(
                again == recorded,
                "{version}/{name}: the generated code loses or changes something"
            );
            tested += 1;
        }
        assert!(tested >= 24, "{version} has only {tested} messages");
    }
    Ok(())
}
