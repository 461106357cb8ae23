//! A call by its path and a request in JSON, without generated code: new RPCs need none.

use bytes::{Buf as _, BufMut as _};
use edgeio_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

pub(crate) fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptor set")
}

pub(crate) fn method(pool: &DescriptorPool, path: &str) -> MethodDescriptor {
    let (service, name) = path.split_once('/').expect("SERVICE/METHOD");
    let service = pool.get_service_by_name(service).expect("a known service");
    let mut methods = service.methods();
    methods
        .find(|method| method.name() == name)
        .expect("a known method")
}

/// What came of a call: OK, or the status before or instead of the first answer.
pub(crate) async fn call(
    channel: &Channel,
    method: &MethodDescriptor,
    json: &str,
    authorization: Option<&str>,
) -> Status {
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(method.input(), &mut reader);
    let body = message.expect("a request in JSON").encode_to_vec();
    let service = method.parent_service().full_name().to_owned();
    let path = format!("/{service}/{}", method.name()).parse();
    let path = path.expect("a path");
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    // A stream from the caller says this one thing and ends.
    let stream = futures::stream::iter([body]);
    let mut request = Request::new(stream);
    if let Some(value) = authorization {
        let value = value.parse().expect("a header's value");
        request.metadata_mut().insert("authorization", value);
    }
    let answered = async {
        let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
        answers.message().await.map(drop)
    };
    match tokio::time::timeout(std::time::Duration::from_secs(20), answered).await {
        Ok(Ok(())) => Status::ok(""),
        Ok(Err(status)) => status,
        Err(_) => Status::deadline_exceeded("nothing was said for 20 s"),
    }
}

/// How far a caller came.
pub(crate) fn cell(status: &Status) -> String {
    match status.code() {
        Code::Unauthenticated => "-".to_owned(),
        Code::PermissionDenied => "x".to_owned(),
        Code::NotFound => "n".to_owned(),
        Code::Ok
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::AlreadyExists => "+".to_owned(),
        other => format!("{other:?}"),
    }
}
