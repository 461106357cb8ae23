//! Grammars of one line: subjects, images, quantities, names, addresses, credentials.

use std::sync::OnceLock;

use edgeio_client::Target as Address;
use edgeio_cluster::identity::Identity;
use edgeio_domain::{
    ids::{AssignmentId, ChildId},
    image as images,
    name::{MAX_LEN, Name},
    quantity as quantities,
};
use edgeio_proto::subject::{Channel, Subject, Way, every_report, every_telemetry};
use uuid::Uuid;

use super::Dice;

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// See [`super::ALL`].
pub(super) fn subject(bytes: &[u8]) {
    if let Some(subject) = utf8(bytes).and_then(|text| text.parse::<Subject>().ok()) {
        assert_eq!(subject.to_string().as_bytes(), bytes, "a second spelling");
    }
    // An id has one text only, and no other parser of ids may make two workers of one.
    if let Some(id) = utf8(bytes).and_then(|text| text.parse::<AssignmentId>().ok()) {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let Some((ids, rest)) = bytes.split_first_chunk::<48>() else {
        return;
    };
    let id = |from: usize| {
        let bytes = ids.get(from..from + 16).unwrap_or_default();
        Uuid::from_slice(bytes).unwrap_or_default()
    };
    let (cluster, worker, session) = (id(0), id(16), id(32));
    let channel = match rest.first().map(|byte| byte % 5) {
        Some(0) => Channel::Control,
        Some(1) => Channel::Report,
        Some(2) => Channel::Telemetry,
        Some(3) => Channel::Stream {
            session,
            way: Way::Up,
        },
        _ => Channel::Stream {
            session,
            way: Way::Down,
        },
    };
    let built = Subject {
        cluster,
        worker,
        channel,
    };
    let text = built.to_string();
    let tokens = if rest.first().is_some_and(|byte| byte % 5 < 3) {
        5
    } else {
        7
    };
    assert!(
        text.bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')),
        "{text}"
    );
    assert_eq!(text.split('.').count(), tokens, "{text}");
    assert_eq!(text.parse(), Ok(built));
    for filter in [every_report(cluster), every_telemetry(cluster)] {
        assert_eq!(filter.matches('*').count(), 1, "{filter}");
        assert!(!filter.contains('>'), "{filter}");
        assert!(filter.parse::<Subject>().is_err(), "{filter}");
    }
}

/// See [`super::ALL`].
pub(super) fn subject_seed(dice: &mut Dice) -> Vec<u8> {
    if dice.one_in(3) {
        return dice.bytes(64);
    }
    let (cluster, worker) = (dice.id(), dice.id());
    let channel = match dice.below(4) {
        0 => Channel::Control,
        1 => Channel::Report,
        2 => Channel::Telemetry,
        _ => Channel::Stream {
            session: dice.id(),
            way: Way::Up,
        },
    };
    let subject = Subject {
        cluster,
        worker,
        channel,
    };
    let text = subject.to_string();
    let spelt = match dice.below(6) {
        0 => text.to_uppercase(),
        1 => text.replace(&worker.to_string(), &worker.simple().to_string()),
        2 => text.replace(&worker.to_string(), &dice.text()),
        3 => worker.urn().to_string(),
        4 => every_report(cluster),
        _ => text,
    };
    spelt.into_bytes()
}

/// See [`super::ALL`].
pub(super) fn image(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    match images::check(text) {
        Ok(()) => {
            assert!(
                text.len() <= 512
                    && text
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b)),
                "{text:?}"
            );
            // The tag may have dots in a row, the path may not.
            let path = text.split([':', '@']).next().unwrap_or_default();
            assert!(!text.contains("//") && !path.contains(".."), "{text:?}");
        }
        Err(error) => assert!(error.to_string().len() < 1024, "the answer grows"),
    }
}

/// See [`super::ALL`].
pub(super) fn image_seed(dice: &mut Dice) -> Vec<u8> {
    let hex = "0123456789abcdef".repeat(4);
    let list = [
        "busybox".to_owned(),
        "library/nginx:1.27".to_owned(),
        "127.0.0.1:5000/a/b:v1".to_owned(),
        format!("ghcr.io/org/app:1.0@sha256:{hex}"),
        format!("a@sha256:{hex}"),
        dice.text(),
    ];
    dice.pick(&list).cloned().unwrap_or_default().into_bytes()
}

/// See [`super::ALL`].
pub(super) fn quantity(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    if let Ok(millis) = quantities::cpu_millis(text) {
        assert!((0..=1_000_000_000).contains(&millis), "{text}: {millis}");
        let printed = quantities::format_cpu(millis);
        assert_eq!(quantities::cpu_millis(&printed), Ok(millis), "{text}");
    }
    if let Ok(amount) = quantities::bytes(text) {
        assert!((0..=1 << 50).contains(&amount), "{text}: {amount}");
        let printed = quantities::format_bytes(amount);
        assert_eq!(quantities::bytes(&printed), Ok(amount), "{text}");
    }
}

/// See [`super::ALL`].
pub(super) fn quantity_seed(dice: &mut Dice) -> Vec<u8> {
    let whole = dice.number();
    let suffixes = [
        "", "m", "k", "Ki", "Mi", "Gi", "Ti", "Pi", "P", "e3", "E15", "e+2",
    ];
    let suffix = dice.pick(&suffixes).copied().unwrap_or_default();
    let text = match dice.below(4) {
        0 => format!("{whole}.{}{suffix}", dice.below(1_000_000)),
        1 => format!(".{}{suffix}", dice.below(1_000)),
        2 => format!("{}{whole}{suffix}", "9".repeat(dice.below(39))),
        _ => format!("{whole}{suffix}"),
    };
    text.into_bytes()
}

/// See [`super::ALL`].
pub(super) fn name(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    let is_label = |name: &str| {
        (1..=MAX_LEN).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-')
    };
    if let Ok(name) = Name::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(is_label(text), "{text:?}");
    }
    let made = Name::from_any(text);
    assert!(is_label(made.as_str()), "{text:?} became {made}");
    assert_eq!(Name::new(made.as_str()).as_ref(), Ok(&made));
}

/// See [`super::ALL`].
pub(super) fn name_seed(dice: &mut Dice) -> Vec<u8> {
    match dice.below(3) {
        0 => "north-1".into(),
        1 => "Host.Example.org".into(),
        _ => dice.text().into_bytes(),
    }
}

/// See [`super::ALL`].
pub(super) fn address(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    if let Ok(address) = text.parse::<Address>() {
        let printed = address.to_string();
        assert_eq!(printed.parse(), Ok(address), "{text:?}");
        let bare = printed.strip_prefix("https://").unwrap_or(&printed);
        assert!(!bare.contains([' ', '/', '@', '\r', '\n']), "{printed:?}");
    }
}

/// See [`super::ALL`].
pub(super) fn address_seed(dice: &mut Dice) -> Vec<u8> {
    let list = [
        "127.0.0.1:10000".to_owned(),
        "http://root.example:80/".to_owned(),
        "https://[::1]:10100".to_owned(),
        format!("host:{}", dice.number()),
        format!("{}:1", dice.text()),
        dice.text(),
    ];
    dice.pick(&list).cloned().unwrap_or_default().into_bytes()
}

/// A cluster's identity, and the one credential that it gave: to this worker, with this key.
fn given() -> Option<&'static (Identity, String)> {
    static GIVEN: OnceLock<Option<(Identity, String)>> = OnceLock::new();
    GIVEN
        .get_or_init(|| {
            let dir = tempfile::tempdir().ok()?;
            let identity = Identity::open(dir.path()).ok()?;
            let credential = identity
                .credential(ChildId(Uuid::from_u128(1)), "UKEY")
                .ok()?;
            Some((identity, credential))
        })
        .as_ref()
}

/// See [`super::ALL`].
pub(super) fn credential(bytes: &[u8]) {
    let given = given();
    assert!(given.is_some(), "no identity could be made");
    let (Some((identity, credential)), Some(text)) = (given, utf8(bytes)) else {
        return;
    };
    // A fuzzer does not know the key, so a placeholder stands for the good one.
    let text = text.replace("GOOD", credential);
    let proven = identity.verify(&text, "UKEY");
    assert_eq!(proven.is_some(), text == *credential, "{text:?}");
    assert_eq!(identity.verify(&text, "UOTHER"), None);
}

/// See [`super::ALL`].
pub(super) fn credential_seed(dice: &mut Dice) -> Vec<u8> {
    let Some((_, credential)) = given() else {
        return Vec::new();
    };
    match dice.below(3) {
        0 => "GOOD".into(),
        1 => credential.clone().into_bytes(),
        _ => dice.text().into_bytes(),
    }
}
