//! The message of every RPC: what prost and the handlers' own checks make of it before any database is asked.
//!
//! The first byte picks the message out of the contract, so that a new RPC is a target the day it is there. Handlers' checks that
//! need no store are called here by hand; the others meet hostile messages in `tests/hostile`.

use std::{fmt::Debug, sync::OnceLock};

use edgeio_proto::{api::v1 as api, cluster::v1 as cluster, link::v1 as link, root::v1 as root};
use edgeio_server::auth::{Principal, Role};
use edgeio_tier::apps::{
    Apply, Delete, List, ListHeld, ListInstances, Named, ResolveHeld, Scale, Watch,
    children::{Forget, ListChildren, Verdict},
};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};

use super::{Dice, messages};

/// What is sent to any server of ours, in the order of the contract.
fn inputs() -> &'static [MessageDescriptor] {
    static INPUTS: OnceLock<Vec<MessageDescriptor>> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let methods = messages::pool()
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        methods.map(|method| method.input()).collect()
    })
}

fn split(bytes: &[u8]) -> Option<(&MessageDescriptor, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let inputs = inputs();
    Some((inputs.get(usize::from(*first) % inputs.len().max(1))?, rest))
}

/// See [`super::ALL`].
pub(super) fn run(bytes: &[u8]) {
    let Some((descriptor, bytes)) = split(bytes) else {
        return;
    };
    if let Ok(message) = DynamicMessage::decode(descriptor.clone(), bytes) {
        let again = DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice());
        assert!(again.is_ok(), "what is written is not read: {again:?}");
    }
    let who = &Principal::dev(Role::Operator);
    match descriptor.full_name() {
        "edgeio.api.v1.ApplyRequest" => with(bytes, |m: api::ApplyRequest| {
            let specs: Vec<api::ServiceSpec> = m
                .application
                .iter()
                .flat_map(|application| application.services.clone())
                .collect();
            if answers(Apply::parse(who, m)) {
                // What is accepted is what a worker will accept: the specs' bytes read back.
                for spec in specs {
                    let (_, body) = edgeio_link::spec::encode(&spec);
                    let read = edgeio_link::spec::decode(&body);
                    assert!(
                        read.is_ok(),
                        "accepted here and refused by workers: {read:?}"
                    );
                }
            }
        }),
        "edgeio.api.v1.GetRequest" => with(bytes, |m| {
            answers(Named::parse(&m));
        }),
        "edgeio.api.v1.ListRequest" => with(bytes, |m| {
            answers(List::parse(who, &m));
        }),
        "edgeio.api.v1.DeleteRequest" => with(bytes, |m| {
            answers(Delete::parse(who, m));
        }),
        "edgeio.api.v1.ScaleRequest" => with(bytes, |m| {
            answers(Scale::parse(who, m));
        }),
        "edgeio.api.v1.ListInstancesRequest" => {
            with(bytes, |m| {
                answers(ListInstances::parse(who, &m));
            });
        }
        "edgeio.api.v1.WatchRequest" => with(bytes, |m| {
            answers(Watch::parse(who, &m));
        }),
        "edgeio.api.v1.ListHeldRequest" => with(bytes, |m| {
            answers(ListHeld::parse(who, &m));
        }),
        "edgeio.api.v1.ResolveHeldRequest" => {
            with(bytes, |m| {
                answers(ResolveHeld::parse(who, m));
            });
        }
        "edgeio.root.v1.ListRequest" => with(bytes, |m: root::ListRequest| {
            answers(ListChildren::parse(who, m.page_size, &m.page_token));
        }),
        "edgeio.cluster.v1.ListRequest" => with(bytes, |m: cluster::ListRequest| {
            answers(ListChildren::parse(who, m.page_size, &m.page_token));
        }),
        "edgeio.root.v1.ForgetRequest" => with(bytes, |mut m: root::ForgetRequest| {
            let id = std::mem::take(&mut m.request_id);
            answers(Forget::parse(who, id, &m, &m.cluster, m.force));
        }),
        "edgeio.cluster.v1.FenceRequest" => with(bytes, |mut m: cluster::FenceRequest| {
            let id = std::mem::take(&mut m.request_id);
            answers(Verdict::fence(who, id, &m, &m.worker));
        }),
        "edgeio.cluster.v1.ReleaseRequest" => with(bytes, |mut m: cluster::ReleaseRequest| {
            let id = std::mem::take(&mut m.request_id);
            answers(Verdict::release(who, id, &m, &m.worker));
        }),
        "edgeio.cluster.v1.RegisterRequest" => with(bytes, |_: cluster::RegisterRequest| {}),
        "edgeio.cluster.v1.AttachRequest" => with(bytes, |_: cluster::AttachRequest| {}),
        "edgeio.root.v1.RegisterRequest" => with(bytes, |_: root::RegisterRequest| {}),
        "edgeio.root.v1.AttachRequest" => with(bytes, |_: root::AttachRequest| {}),
        _ => with(bytes, |_: link::ChildMessage| {}),
    }
}

/// Decodes, checks that the message encodes to what decodes to it, and goes on with it.
fn with<M: Message + Default + PartialEq + Clone>(bytes: &[u8], then: impl FnOnce(M)) {
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    let again = M::decode(encoded.as_slice());
    assert!(again.is_ok(), "what is written is not read");
    // Unless it holds a number that is none, which equals nothing.
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    if message == message {
        assert!(
            again.as_ref() == Ok(&message),
            "it reads back as another one"
        );
    }
    then(message);
}

/// Whether a check took a request. What it says to one that it does not take is short and shows no more than it must.
fn answers<T, E: Debug + Into<tonic::Status>>(checked: Result<T, E>) -> bool {
    let Err(error) = checked else { return true };
    let status: tonic::Status = error.into();
    let code = status.code();
    assert!(
        !matches!(code, tonic::Code::Internal | tonic::Code::Unknown),
        "{status:?}"
    );
    false
}

/// See [`super::ALL`].
pub(super) fn seed(dice: &mut Dice) -> Vec<u8> {
    let inputs = inputs();
    let index = dice.below(inputs.len());
    let mut out = vec![u8::try_from(index).unwrap_or_default()];
    if let Some(descriptor) = inputs.get(index) {
        out.extend(messages::made(dice, descriptor).encode_to_vec());
    }
    out
}

/// See [`super::ALL`].
pub(super) fn run_json(bytes: &[u8]) {
    let Some((descriptor, bytes)) = split(bytes) else {
        return;
    };
    let read = |bytes: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        DynamicMessage::deserialize_with_options(descriptor.clone(), &mut reader, &options).ok()
    };
    let Some(message) = read(bytes) else { return };
    if let Ok(text) = serde_json::to_vec(&message) {
        let again = read(&text);
        #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
        if message == message {
            assert_eq!(again, Some(message), "{}", String::from_utf8_lossy(&text));
        }
    }
}

/// See [`super::ALL`].
pub(super) fn seed_json(dice: &mut Dice) -> Vec<u8> {
    let inputs = inputs();
    let index = dice.below(inputs.len());
    let mut out = vec![u8::try_from(index).unwrap_or_default()];
    if let Some(descriptor) = inputs.get(index) {
        let message = messages::made(dice, descriptor);
        out.extend(serde_json::to_vec(&message).unwrap_or_default());
    }
    out
}
