//! The stream's messages with what workers and cluster say left as bytes: the same encoding as `edgeio.cluster.v1`'s, field by field.
//!
//! The bridge carries what it need not understand. Decoded and encoded again, whatever a newer worker or cluster put in would be
//! lost on the way through an older bridge, since the generated code drops what it does not know.

use bytes::Bytes;
use edgeio_proto::cluster::v1::{
    AccountTaken, AccountUpdate, BridgeHello, BridgeWelcome, BrokerPass, BrokerState,
};

/// `AttachRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Up {
    #[prost(oneof = "UpKind", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<UpKind>,
}

/// What goes up.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum UpKind {
    #[prost(message, tag = "1")]
    Hello(BridgeHello),
    #[prost(message, tag = "2")]
    Worker(Carried),
    #[prost(message, tag = "3")]
    Broker(BrokerState),
    #[prost(message, tag = "4")]
    Account(AccountTaken),
}

/// `AttachResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Down {
    #[prost(oneof = "DownKind", tags = "1, 2, 3, 4")]
    pub(super) kind: Option<DownKind>,
}

/// What comes down.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum DownKind {
    #[prost(message, tag = "1")]
    Welcome(BridgeWelcome),
    #[prost(message, tag = "2")]
    Worker(Carried),
    #[prost(message, tag = "3")]
    Pass(BrokerPass),
    #[prost(message, tag = "4")]
    Account(AccountUpdate),
}

/// `WorkerUp` and `WorkerDown`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Carried {
    /// The worker's id.
    #[prost(string, tag = "1")]
    pub(super) worker: String,
    /// An encoded `ChildMessage` or `ParentMessage`.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
}

impl From<UpKind> for Up {
    fn from(kind: UpKind) -> Self {
        Self { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use edgeio_proto::cluster::v1::{self, attach_request, attach_response};
    use edgeio_proto::link::v1::{ChildMessage, ParentMessage, Report, child_message};
    use prost::Message as _;

    use super::*;

    #[test]
    fn it_is_the_contracts_encoding() {
        let said = ChildMessage {
            message: Some(child_message::Message::Report(Report {
                seq: 7,
                ..Report::default()
            })),
        };
        let typed = v1::AttachRequest {
            message: Some(attach_request::Message::Worker(v1::WorkerUp {
                worker_id: "w".to_owned(),
                message: Some(said.clone()),
            })),
        };
        let carried = Carried {
            worker: "w".to_owned(),
            payload: said.encode_to_vec().into(),
        };
        let raw = Up::from(UpKind::Worker(carried));
        assert_eq!(raw.encode_to_vec(), typed.encode_to_vec());
        let hello = BridgeHello {
            bridge_id: "b".to_owned(),
            version: "1".to_owned(),
            public_key: String::new(),
        };
        let broker = BrokerState { connected: true };
        for (raw, typed) in [
            (
                UpKind::Hello(hello.clone()),
                attach_request::Message::Hello(hello),
            ),
            (
                UpKind::Broker(broker),
                attach_request::Message::Broker(broker),
            ),
        ] {
            let typed = v1::AttachRequest {
                message: Some(typed),
            };
            assert_eq!(Up::from(raw).encode_to_vec(), typed.encode_to_vec());
        }

        let told = ParentMessage {
            session_epoch: 9,
            message: None,
        };
        let welcome = BridgeWelcome {
            cluster_id: "c".to_owned(),
            pass: None,
        };
        for (typed, raw) in [
            (
                attach_response::Message::Worker(v1::WorkerDown {
                    worker_id: "w".to_owned(),
                    message: Some(told.clone()),
                }),
                DownKind::Worker(Carried {
                    worker: "w".to_owned(),
                    payload: told.encode_to_vec().into(),
                }),
            ),
            (
                attach_response::Message::Welcome(welcome.clone()),
                DownKind::Welcome(welcome),
            ),
        ] {
            let typed = v1::AttachResponse {
                message: Some(typed),
            };
            let read = Down::decode(typed.encode_to_vec().as_slice());
            assert_eq!(read, Ok(Down { kind: Some(raw) }));
        }
    }
}
