//! Ten thousand bad requests to each service of a root and of a cluster.

use std::{collections::BTreeMap, io::Write as _, net::SocketAddr, time::Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use edgeio_integration_tests::{
    targets::{Dice, messages},
    testbed::{Bed, Testbed, eventually},
};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderName, HeaderValue, Method, Request};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};

use super::{
    caller::{Answer, Call, Caller},
    guest::{Footprint, Guest, compare},
    seed, setting, tell,
};

/// Connections that call side by side, one request at a time each.
const CALLERS: u8 = 12;
/// Requests of each caller before memory is looked at: caches, pools and the allocator fill first.
const WARM: u64 = 60;

/// gRPC's INTERNAL and UNKNOWN.
const OURS: [u32; 2] = [13, 2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_take_ten_thousand_hostile_requests_a_service() -> Result<()> {
    let (seed, requests) = (seed()?, setting("EDGEIO_HOSTILE_REQUESTS", 10_000)?);
    Testbed::new("hostile")
        .cluster("a")
        .expect(
            "exceeded slow threshold",
            "in a flood calls wait for the database",
        )
        .expect(
            "of the protocol, the child",
            "nonsense in a hello is told of",
        )
        .expect(
            "without a readable attach_id",
            "nonsense in a hello is told of",
        )
        .expect("unreadable worker", "nonsense of a bridge is told of")
        .run(async |bed| {
            for program in ["root", "cluster-a"] {
                flood(bed, program, seed, requests).await?;
            }
            // A cluster that was told nonsense by hundreds of bridges and children still has its own.
            bed.ready(&[]).await
        })
        .await
}

async fn flood(bed: &Bed, program: &str, seed: u64, requests: u64) -> Result<()> {
    let tier = if program == "root" {
        bed.root()
    } else {
        bed.cluster("a")?
    };
    let address: SocketAddr = tier.address().parse().context("the tier's address")?;
    let services = served(program);
    ensure!(services.len() > 1, "no services found for {program}");

    let guest = Guest::at(tier);
    run(address, &services, seed ^ 1, WARM * u64::from(CALLERS)).await?;
    let before = guest.leave().await?;
    let footprint = Footprint::of(bed, program)?;

    let guest = Guest::at(tier);
    let from = Instant::now();
    let mut told: BTreeMap<Answer, u64> = BTreeMap::new();
    for service in &services {
        for (answer, count) in run(address, std::slice::from_ref(service), seed, requests).await? {
            *told.entry(answer).or_default() += count;
        }
    }
    let during = guest.leave().await?;
    tell(&format!(
        "{program}: {requests} requests to each of {} in {:.1} s (seed {seed}): {told:?}",
        services
            .iter()
            .map(ServiceDescriptor::name)
            .collect::<Vec<_>>()
            .join(", "),
        from.elapsed().as_secs_f64()
    ));
    compare(program, &before, &during);
    footprint.is_restored(bed, program).await?;
    eventually("the tier answers", async || {
        tier.get("none").await.map(drop)
    })
    .await
}

/// The services of ours that a program serves, by where the design puts them.
fn served(program: &str) -> Vec<ServiceDescriptor> {
    let other = if program == "root" {
        "edgeio.cluster."
    } else {
        "edgeio.root."
    };
    let pool: &DescriptorPool = messages::pool();
    let ours = pool
        .services()
        .filter(|s| s.full_name().starts_with("edgeio."));
    ours.filter(|service| !service.full_name().starts_with(other))
        .collect()
}

/// Sends so many requests to these services and counts the answers.
async fn run(
    address: SocketAddr,
    services: &[ServiceDescriptor],
    seed: u64,
    requests: u64,
) -> Result<BTreeMap<Answer, u64>> {
    let methods: Vec<MethodDescriptor> = services.iter().flat_map(|s| s.methods()).collect();
    let mut callers = tokio::task::JoinSet::new();
    for host in 1..=CALLERS {
        let methods = methods.clone();
        callers.spawn(async move {
            let mut dice = Dice::new(seed.wrapping_add(u64::from(host)));
            let mut caller = Caller::new(address, host);
            let mut told: BTreeMap<Answer, u64> = BTreeMap::new();
            for number in 0..requests.div_ceil(u64::from(CALLERS)) {
                let (call, what) = bad(&mut dice, &methods);
                let said = format!("{what} to {}", call.request.uri().path());
                let answer = caller.call(call).await;
                let answer = answer.with_context(|| {
                    format!("request {number} of caller {host}, seed {seed}: {said}")
                })?;
                let ours = match &answer {
                    Answer::Grpc(code) => OURS.contains(code),
                    Answer::Http(status) => *status >= 500,
                    _ => false,
                };
                ensure!(
                    !ours,
                    "{answer:?} for request {number} of caller {host}, seed {seed}: {said}"
                );
                *told.entry(answer).or_default() += 1;
            }
            anyhow::Ok(told)
        });
    }
    let mut all: BTreeMap<Answer, u64> = BTreeMap::new();
    while let Some(told) = callers.join_next().await {
        for (answer, count) in told.context("a caller")?? {
            *all.entry(answer).or_default() += count;
        }
    }
    Ok(all)
}

/// A bad request, and what is bad about it.
fn bad(dice: &mut Dice, methods: &[MethodDescriptor]) -> (Call, &'static str) {
    let method = dice.pick(methods);
    let path = method.map_or_else(String::new, |method| {
        format!("/{}/{}", method.parent_service().full_name(), method.name())
    });
    let message = method.map_or_else(Vec::new, |method| {
        messages::made(dice, &method.input()).encode_to_vec()
    });
    let (mut request, mut parts) = (post(&path), Vec::new());
    let mut ends = true;
    let mut leaves = false;
    let what = match dice.below(22) {
        0..=4 => {
            parts.push(frame(0, message.len(), &message));
            "a message with strange values"
        }
        5..=7 => {
            let other = message.clone();
            let changed = dice.change(message, &other);
            parts.push(frame(0, changed.len(), &changed));
            "a message with changed bytes"
        }
        8 => {
            let other = dice.pick(methods).map(MethodDescriptor::input);
            let other = other.map_or_else(Vec::new, |other| {
                messages::made(dice, &other).encode_to_vec()
            });
            parts.push(frame(0, other.len(), &other));
            "another call's message"
        }
        9 => {
            let lie = usize::try_from(dice.number()).unwrap_or(usize::MAX);
            parts.push(frame(0, lie, &message));
            "a frame whose length lies"
        }
        10 => {
            let flag = u8::try_from(1 + dice.below(255)).unwrap_or(1);
            parts.push(frame(flag, message.len(), &message));
            "a frame with a bad flag"
        }
        11 => {
            for _ in 0..dice.below(5) {
                parts.push(frame(0, message.len(), &message));
            }
            "no message, or several"
        }
        12 => {
            let size = edgeio_server::grpc::MAX_DECODED_BYTES + 1 + dice.below(1 << 16);
            // Its size alone is enough to refuse it: most of it is not even sent.
            parts.push(frame(0, size, &vec![0x0a; 16 * 1024]));
            "a message that is too large"
        }
        13 => {
            let deep = deep(dice);
            parts.push(frame(0, deep.len(), &deep));
            "a message that is nested deeply"
        }
        14 => {
            parts.push(frame(0, message.len(), &message));
            metadata(dice, request.headers_mut());
            "strange metadata"
        }
        15 => {
            parts.push(frame(0, message.len(), &message));
            credential(dice, request.headers_mut());
            "a false credential"
        }
        16 => {
            let paths = [
                "/",
                "//",
                "/edgeio.api.v1.ApplicationService",
                "/edgeio.api.v1.ApplicationService/",
                "/edgeio.api.v1.ApplicationService/apply",
                "/edgeio.api.v2.ApplicationService/Apply",
                "/grpc.reflection.v1.ServerReflection/Nothing",
                "/metrics",
                "/%00/%2e%2e/Apply",
            ];
            request = post(dice.pick(&paths).copied().unwrap_or_default());
            parts.push(frame(0, message.len(), &message));
            "an unknown method"
        }
        17 => {
            let types = [
                "",
                "application/json",
                "application/grpc-web+proto",
                "application/grpc+json",
                "application/grpcx",
                "text/html; charset=utf-8",
            ];
            let kind = dice.pick(&types).copied().unwrap_or_default();
            if let Ok(value) = HeaderValue::from_str(kind) {
                request.headers_mut().insert("content-type", value);
            }
            parts.push(frame(0, message.len(), &message));
            "a wrong content type"
        }
        18 => {
            let verbs = [
                Method::GET,
                Method::PUT,
                Method::OPTIONS,
                Method::DELETE,
                Method::HEAD,
            ];
            *request.method_mut() = dice.pick(&verbs).cloned().unwrap_or_default();
            "a wrong HTTP method"
        }
        19 => {
            let value = ["gzip", "deflate", "br", "identity", "x"];
            let value = dice.pick(&value).copied().unwrap_or_default();
            request
                .headers_mut()
                .insert("grpc-encoding", HeaderValue::from_static(value));
            let body = bomb();
            parts.push(frame(1, body.len(), &body));
            "a compressed bomb"
        }
        20 => {
            parts.push(frame(0, message.len() + 10, &message));
            ends = false;
            "half a message, and silence"
        }
        _ => {
            parts.push(frame(0, message.len(), &message));
            (ends, leaves) = (dice.one_in(2), true);
            "a caller that leaves at once"
        }
    };
    let call = Call {
        request,
        parts,
        ends,
        leaves,
    };
    (call, what)
}

fn post(path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    if let Ok(uri) = format!("http://edge.example{path}").parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    request
}

/// A gRPC frame that says this length.
fn frame(flag: u8, length: usize, body: &[u8]) -> Bytes {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut out = vec![flag];
    out.extend(length.to_be_bytes());
    out.extend(body);
    out.into()
}

/// Messages in messages, far deeper than any of ours.
fn deep(dice: &mut Dice) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..60 + dice.below(200) {
        let mut outer = vec![10 + 8 * u8::try_from(dice.below(4)).unwrap_or_default()];
        let mut length = inner.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap_or_default());
        outer.append(&mut inner);
        inner = outer;
    }
    inner
}

fn metadata(dice: &mut Dice, headers: &mut http::HeaderMap) {
    let many = if dice.one_in(4) { 400 } else { 4 };
    for number in 0..=dice.below(many) {
        let names = [
            "grpc-timeout",
            "x-request-id",
            "edgeio-cluster",
            "edgeio-route",
            "grpc-trace-bin",
            "user-agent",
            "x-forwarded-for",
            "grpc-accept-encoding",
        ];
        let name = dice.pick(&names).copied().unwrap_or_default();
        let name = if dice.one_in(2) {
            format!("x-{number}")
        } else {
            name.to_owned()
        };
        let bytes = match dice.below(4) {
            0 => dice.bytes(100),
            1 => dice.text().into_bytes(),
            2 => b"99999999999H".to_vec(),
            _ => vec![0xff, 0xc0, 0x80],
        };
        // Line ends and zero bytes cannot be sent as such: HTTP/2 forbids them, and the raw connections send them.
        let value = HeaderValue::from_bytes(&bytes);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
            headers.append(name, value);
        }
    }
}

fn credential(dice: &mut Dice, headers: &mut http::HeaderMap) {
    let texts = [
        "Bearer ".to_owned(),
        "Bearer edgeio_1_AAAA".to_owned(),
        "bearer x.y.z".to_owned(),
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned(),
        format!("Bearer {}", "A".repeat(1 + dice.below(12_000))),
        "Basic cm9vdDpyb290".to_owned(),
        format!("Bearer edge1:{}:a.b", "0".repeat(64)),
    ];
    let text = dice.pick(&texts).cloned().unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert("authorization", value.clone());
        if dice.one_in(3) {
            headers.append("authorization", value);
        }
    }
}

/// 16 MiB of nothing, in 16 KiB.
fn bomb() -> Vec<u8> {
    use std::sync::OnceLock;
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let block = vec![0; 1 << 20];
        for _ in 0..16 {
            let _ = encoder.write_all(&block);
        }
        encoder.finish().unwrap_or_default()
    })
    .clone()
}
