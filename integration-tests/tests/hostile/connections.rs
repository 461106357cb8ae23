//! Connections that are not what they should be: other protocols, frames that lie, floods that HTTP/2 servers have died of, and
//! clients that hold on to what they do not use.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use edgeio_integration_tests::{
    targets::Dice,
    testbed::{Bed, Testbed, eventually},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    caller::dial,
    guest::{Footprint, Guest, compare},
    raw::{
        CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, RESET, SETTINGS, WINDOW, block,
        frame, literal,
    },
    seed, tell,
};

/// Connections of each kind of attack.
const EACH: u8 = 12;
/// Frames of each flood.
const FLOOD: u32 = 3_000;
/// Connections that only sit there, and streams that some of them leave open.
const SITTERS: u8 = 150;
const HALF_OPEN: u32 = 90;
/// How long the sitters sit while the well-behaved client calls.
const SITTING: Duration = Duration::from_secs(2);
/// How long a flood may take to be answered or cut.
const PATIENCE: Duration = Duration::from_secs(40);

const PATH: &str = "/edgeio.api.v1.ApplicationService/List";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_outlive_hostile_connections() -> Result<()> {
    let seed = seed()?;
    Testbed::new("floods")
        .cluster("a")
        .expect(
            "exceeded slow threshold",
            "in a flood calls wait for the database",
        )
        .run(async |bed| {
            for program in ["root", "cluster-a"] {
                attack(bed, program, seed).await?;
            }
            bed.ready(&[]).await
        })
        .await
}

async fn attack(bed: &Bed, program: &str, seed: u64) -> Result<()> {
    let tier = if program == "root" {
        bed.root()
    } else {
        bed.cluster("a")?
    };
    let address: SocketAddr = tier.address().parse().context("the tier's address")?;
    let guest = Guest::at(tier);
    for attack in ATTACKS {
        one(address, 1, seed, *attack).await?;
    }
    let quiet = Footprint::of(bed, program)?;
    sit(address).await?;
    let before = guest.leave().await?;
    // Memory as it is after the first of each; descriptors as they were before, since theirs close a moment later.
    let footprint = Footprint::of(bed, program)?.with_descriptors_of(&quiet);

    let guest = Guest::at(tier);
    let mut attacks = JoinSet::new();
    for (number, attack) in ATTACKS.iter().enumerate() {
        for host in 1..=EACH {
            let seed = seed.wrapping_add(number as u64 * 100 + u64::from(host));
            attacks.spawn(async move {
                let done = one(address, host, seed, *attack).await;
                done.with_context(|| format!("attack {number} of {host}"))
            });
        }
    }
    while let Some(done) = attacks.join_next().await {
        done.context("an attack")??;
    }
    sit(address).await?;
    let during = guest.leave().await?;
    tell(&format!(
        "{program}: {} floods, {SITTERS} sitters (seed {seed})",
        ATTACKS.len() * usize::from(EACH)
    ));
    compare(program, &before, &during);
    footprint.is_restored(bed, program).await?;
    eventually("the tier answers", async || {
        tier.get("none").await.map(drop)
    })
    .await
}

/// What is sent on one connection.
type Attack = fn(&mut Dice) -> Vec<u8>;

const ATTACKS: &[Attack] = &[
    http1,
    garbage,
    tls,
    lying_lengths,
    settings_flood,
    ping_flood,
    reset_flood,
    endless_headers,
    header_flood,
    table_bomb,
    window_overflow,
    odd_frames,
    forbidden_headers,
];

/// Sends all of it and reads until the server has nothing more to say. Whether the server closes is its own affair; that it
/// goes on to read and to answer others is ours.
async fn one(address: SocketAddr, host: u8, seed: u64, attack: Attack) -> Result<()> {
    let bytes = attack(&mut Dice::new(seed));
    let socket = dial(address, host).await?;
    let (mut reader, mut writer) = socket.into_split();
    let read = tokio::spawn(async move {
        let mut all = vec![0; 16 * 1024];
        // An error is a connection that was cut, which is an answer.
        while let Ok(1..) = reader.read(&mut all).await {}
    });
    // The same: who is cut off in the middle of a flood has his answer.
    let _ = tokio::time::timeout(PATIENCE, writer.write_all(&bytes)).await;
    let _ = tokio::time::timeout(PATIENCE, writer.shutdown()).await;
    let ended = tokio::time::timeout(PATIENCE, read).await;
    ensure!(
        ended.is_ok(),
        "the server keeps a connection whose client has ended it"
    );
    Ok(())
}

fn begun() -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

fn http1(dice: &mut Dice) -> Vec<u8> {
    let list: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /edgeio.api.v1.ApplicationService/List HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nfffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        b"GET /\r\n",
        b"PRI * HTTP/1.1\r\n\r\n",
    ];
    let mut out = dice.pick(list).copied().unwrap_or_default().to_vec();
    if dice.one_in(2) {
        out.extend("x: y\r\n".repeat(5_000).into_bytes());
    }
    out
}

fn garbage(dice: &mut Dice) -> Vec<u8> {
    let mut out = if dice.one_in(2) { begun() } else { Vec::new() };
    out.extend(dice.bytes(32 * 1024));
    out
}

fn tls(_: &mut Dice) -> Vec<u8> {
    let mut out = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    out.resize(517, 0);
    out
}

fn lying_lengths(dice: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    let kind = u8::try_from(dice.below(10)).unwrap_or_default();
    let mut lie = frame(kind, 0, 1, &dice.bytes(64));
    let length: [u8; 3] = if dice.one_in(2) {
        [0xff; 3]
    } else {
        [0, 0x40, 1]
    };
    lie.splice(..3, length);
    out.extend(lie);
    out
}

fn settings_flood(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    for number in 0..FLOOD {
        // The size of the table goes up and down.
        let value = if number % 2 == 0 { 0 } else { u32::MAX };
        let mut body = vec![0, 1];
        body.extend(value.to_be_bytes());
        out.extend(frame(SETTINGS, 0, 0, &body));
    }
    out
}

fn ping_flood(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    for number in 0..FLOOD {
        out.extend(frame(PING, 0, 0, &u64::from(number).to_be_bytes()));
    }
    out
}

/// Streams that are opened and reset at once, each of which costs the server a handler (CVE-2023-44487).
fn reset_flood(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    let block = block(PATH);
    for number in 0..FLOOD {
        let stream = 2 * number + 1;
        out.extend(frame(HEADERS, END_HEADERS, stream, &block));
        out.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    out
}

/// A header block that never ends (CVE-2024-27316).
fn endless_headers(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    out.extend(frame(HEADERS, 0, 1, &block(PATH)));
    let mut more = Vec::new();
    literal("x-more", &[b'a'; 126], &mut more);
    let more = more.repeat(40);
    for _ in 0..FLOOD / 20 {
        out.extend(frame(CONTINUATION, 0, 1, &more));
    }
    out
}

/// Many headers in each of many calls.
fn header_flood(dice: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    let mut large = block(PATH);
    for number in 0..50 + dice.below(70) {
        literal(&format!("x-{number}"), &[b'a'; 120], &mut large);
    }
    large.truncate(16_384);
    for number in 0..FLOOD / 20 {
        out.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &large));
    }
    out
}

/// One large header in the table, named again and again by one byte each.
fn table_bomb(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    for number in 0..FLOOD / 20 {
        let mut bomb = block(PATH);
        if number == 0 {
            bomb.push(0x40);
            for text in [b"x-large".as_slice(), &[b'a'; 120]] {
                bomb.push(u8::try_from(text.len()).unwrap_or_default());
                bomb.extend(text);
            }
        }
        bomb.extend([0xbe; 12_000]);
        out.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &bomb));
    }
    out
}

fn window_overflow(_: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    out.extend(frame(HEADERS, END_HEADERS, 1, &block(PATH)));
    for stream in [0, 1] {
        for _ in 0..3 {
            out.extend(frame(WINDOW, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
        }
    }
    out
}

/// Frames on streams that are not there, empty ones without end, kinds that do not exist.
fn odd_frames(dice: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    out.extend(frame(HEADERS, END_HEADERS, 1, &block(PATH)));
    for _ in 0..FLOOD / 4 {
        match dice.below(4) {
            0 => out.extend(frame(DATA, 0, 1, &[])),
            1 => out.extend(frame(200, 0xff, 1, &dice.bytes(16))),
            2 => out.extend(frame(2, 0, 1, &[0x80, 0, 0, 1, 255])),
            _ => out.extend(frame(DATA, 0, 1, &[0, 0, 0, 0, 0])),
        }
    }
    out
}

/// Headers that HTTP/2 forbids: line ends, zero bytes, capitals, a second path, a connection header.
fn forbidden_headers(dice: &mut Dice) -> Vec<u8> {
    let mut out = begun();
    for number in 0..FLOOD / 30 {
        let mut bad = block(PATH);
        match dice.below(5) {
            0 => literal("x-a", b"b\r\nc: d", &mut bad),
            1 => literal("x-a", b"\0", &mut bad),
            2 => literal("X-A", b"b", &mut bad),
            3 => literal(":path", b"/other", &mut bad),
            _ => literal("connection", b"close", &mut bad),
        }
        out.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &bad));
    }
    out
}

/// Connections that say nothing, or little, or open calls and never go on; then all of them leave.
async fn sit(address: SocketAddr) -> Result<()> {
    let mut sitters: Vec<TcpStream> = Vec::new();
    for number in 0..SITTERS {
        let mut socket = dial(address, number % 200 + 1).await?;
        let said = match number % 4 {
            0 => Vec::new(),
            1 => PREFACE.iter().take(7).copied().collect(),
            2 => begun(),
            _ => {
                let mut half = begun();
                let block = block(PATH);
                for stream in 0..HALF_OPEN {
                    half.extend(frame(HEADERS, END_HEADERS, 2 * stream + 1, &block));
                    half.extend(frame(DATA, 0, 2 * stream + 1, &[0, 0, 0]));
                }
                half
            }
        };
        socket.write_all(&said).await.context("sit down")?;
        sitters.push(socket);
    }
    tokio::time::sleep(SITTING).await;
    // Slow talkers say one byte more.
    for socket in &mut sitters {
        let _ = socket.write_all(&[0]).await;
    }
    drop(sitters);
    Ok(())
}
