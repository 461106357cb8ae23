//! Tokens by which people and machines make themselves known: join tokens, machines' tokens, ID tokens.
//!
//! A fuzzer knows no key, so an input may ask for a signature: `sign:HEADER` and a line end, then `CLAIMS`. What is read from
//! behind a good signature is as hostile as the rest.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use edgeio_proto::{
    join::JoinText,
    machine::{Claims, LEEWAY, LIFE, REGISTER_AUDIENCE, TYPE},
};
use edgeio_server::{
    auth::{
        AuthError, Authenticate as _, Peer, Principal,
        machine::{MachineError, Proven, verify},
        oidc::{Oidc, OidcConfig},
    },
    config::Parsed,
};
use nkeys::KeyPair;
use serde_json::{Value as Json, json};
use tonic::metadata::MetadataMap;

use super::Dice;

/// The server that machines' tokens are for, and when it is.
const HERE: &str = "0198c0de-0000-7000-8000-000000000001";
const NOW: Duration = Duration::from_secs(1_800_000_000);
/// The provider and the service of ID tokens.
const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "edgeio";

/// See [`super::ALL`].
pub(super) fn join_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = text.parse::<JoinText>() else {
        return;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    assert!((1..=64).contains(&token.id.len()) && token.id.bytes().all(plain));
    let printed = token.reveal();
    assert!(
        printed.eq_ignore_ascii_case(text.trim()),
        "a second spelling"
    );
    let again = printed.parse::<JoinText>();
    assert_eq!(again.as_ref(), Ok(&token), "it does not read back");
    let shown = format!("{token:?}");
    let secret = BASE64URL_NOPAD.encode(&token.secret);
    assert!(!shown.contains(&secret), "the secret is shown");
}

/// See [`super::ALL`].
pub(super) fn join_token_seed(dice: &mut Dice) -> Vec<u8> {
    let bytes = |dice: &mut Dice| {
        let mut bytes = [0; 32];
        bytes
            .iter_mut()
            .for_each(|byte| *byte = dice.any().to_le_bytes()[0]);
        bytes
    };
    let text = JoinText {
        ca: dice.one_in(2).then(|| bytes(dice)),
        id: format!("{:x}", dice.any()),
        secret: bytes(dice),
    };
    text.reveal().into_bytes()
}

/// The one key that signs here; `None` if none can be made.
fn pair() -> Option<&'static (KeyPair, String)> {
    static PAIR: OnceLock<(KeyPair, String)> = OnceLock::new();
    Some(PAIR.get_or_init(|| {
        let pair = KeyPair::new_user();
        let public = pair.public_key();
        (pair, public)
    }))
}

/// The claims of an input that asks for a signature, and the token that it becomes.
fn signed(text: &str) -> Option<(Vec<u8>, String)> {
    let (header, claims) = text.strip_prefix("sign:")?.split_once('\n')?;
    let (pair, public) = pair()?;
    let claims = claims.replace("KEY", public);
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let said = format!("{}.{}", part(header), part(&claims));
    let signature = BASE64URL_NOPAD.encode(&pair.sign(said.as_bytes()).ok()?);
    Some((claims.into_bytes(), format!("{said}.{signature}")))
}

/// See [`super::ALL`].
pub(super) fn machine_token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let elsewhere = |token: &str| verify(token, "0198c0de-0000-7000-8000-000000000002", NOW);
    let Some((claims, token)) = signed(&text) else {
        let nobody = verify(&text, HERE, NOW);
        assert!(nobody.is_err(), "nobody signed {text:?}");
        assert!(elsewhere(&text).is_err());
        return;
    };
    match elsewhere(&token) {
        Err(_)
        | Ok(Proven {
            joins_only: true, ..
        }) => {}
        Ok(proven) => {
            let claims = serde_json::from_slice::<Claims>(&claims);
            let meant = claims.is_ok_and(|claims| claims.aud.ends_with("0002"));
            assert!(meant, "{proven:?} at another server");
        }
    }
    let proven = match verify(&token, HERE, NOW) {
        Ok(proven) => proven,
        Err(MachineError::Time { seconds, .. }) => {
            assert!(seconds > 0, "of no seconds");
            return;
        }
        Err(_) => return,
    };
    let public = pair().map(|(_, public)| public);
    assert_eq!(Some(&proven.key), public, "another's key");
    let claims = serde_json::from_slice::<Claims>(&claims);
    let good = claims.is_ok_and(|claims| {
        let (now, leeway) = (NOW.as_secs(), LEEWAY.as_secs());
        let joins = claims.aud == REGISTER_AUDIENCE;
        joins == proven.joins_only
            && (joins || claims.aud == HERE)
            && claims.exp.saturating_sub(claims.iat) <= LIFE.as_secs()
            && claims.iat <= now + leeway
            && claims.exp.saturating_add(leeway) >= now
    });
    assert!(good, "{text:?} is no such token");
}

fn some<'a>(dice: &mut Dice, list: &[&'a str]) -> &'a str {
    dice.pick(list).copied().unwrap_or_default()
}

/// See [`super::ALL`].
pub(super) fn machine_token_seed(dice: &mut Dice) -> Vec<u8> {
    let now = NOW.as_secs();
    let algorithm = some(dice, &["EdDSA", "EdDSA", "EdDSA", "none", "HS256", "ES256"]);
    let typ = some(dice, &[TYPE, TYPE, TYPE, "JWT"]);
    let audience = some(dice, &[HERE, HERE, REGISTER_AUDIENCE, ""]);
    let iat = if dice.one_in(3) { dice.number() } else { now };
    let life = if dice.one_in(3) { dice.number() } else { 300 };
    let exp = iat.saturating_add(life);
    let claims = json!({"sub": "KEY", "aud": audience, "iat": iat, "exp": exp});
    format!("sign:{}\n{claims}", json!({"typ": typ, "alg": algorithm})).into_bytes()
}

/// A server that knows one provider with one key.
struct Provider {
    oidc: Oidc,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn provider() -> Option<&'static Provider> {
    static PROVIDER: OnceLock<Option<Provider>> = OnceLock::new();
    let made = || {
        let folder = tempfile::tempdir().ok()?;
        let path = folder.path().join("keys.json");
        let (_, raw) = nkeys::from_public_key(&pair()?.1).ok()?;
        let x = BASE64URL_NOPAD.encode(&raw);
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": x});
        std::fs::write(&path, json!({"keys": [key]}).to_string()).ok()?;
        let grants = Parsed("shop:deployer".parse().ok()?);
        let config = OidcConfig {
            oidc_issuer: ISSUER.to_owned(),
            oidc_audience: AUDIENCE.to_owned(),
            oidc_keys: Some(path),
            oidc_bindings: [("team".to_owned(), grants)].into(),
            ..OidcConfig::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        Some(Provider {
            oidc: Oidc::new(&config)?,
            runtime: { runtime }.build().ok()?,
            _folder: folder,
        })
    };
    PROVIDER.get_or_init(made).as_ref()
}

fn ask(provider: &Provider, token: &str) -> Option<Principal> {
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {token}").parse().ok()?);
    let asking = provider
        .oidc
        .authenticate(&metadata, &Peer { address: None });
    match provider.runtime.block_on(asking) {
        Ok(known) => known,
        Err(AuthError::Invalid(why)) => {
            assert!(why.len() < 200, "the token is told: {why}");
            None
        }
        Err(error) => {
            assert!(!matches!(error, AuthError::Unavailable(_)), "{error}");
            None
        }
    }
}

/// See [`super::ALL`].
pub(super) fn id_token(bytes: &[u8]) {
    let provider = provider();
    assert!(provider.is_some(), "no provider could be made");
    let Some(provider) = provider else { return };
    let text = String::from_utf8_lossy(bytes);
    let Some((claims, token)) = signed(&text) else {
        assert_eq!(ask(provider, &text), None, "nobody signed it");
        return;
    };
    let Some(who) = ask(provider, &token) else {
        return;
    };
    let claims: Json = serde_json::from_slice(&claims).unwrap_or_default();
    let has = |claim: &str, wanted: &str| match &claims[claim] {
        Json::String(text) => text == wanted,
        Json::Array(all) => all.iter().any(|text| text == wanted),
        _ => false,
    };
    assert!(has("iss", ISSUER) && has("aud", AUDIENCE), "{claims}");
    assert_eq!(claims["sub"], who.id.as_str());
    assert!((1..=200).contains(&who.id.len()) && who.name.chars().count() <= 200);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let end = claims["exp"].as_f64().unwrap_or_default();
    assert!(end + 62.0 >= now.as_secs_f64(), "it has expired: {claims}");
    let granted = who.bindings.len();
    assert!(
        granted == usize::from(has("groups", "team")),
        "{:?}",
        who.bindings
    );
}

/// See [`super::ALL`].
pub(super) fn id_token_seed(dice: &mut Dice) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u-7", "email": "ann@example.org", "groups": ["team"],
        "exp": now.as_secs() + 600,
    });
    if dice.one_in(2) {
        let claim = some(
            dice,
            &["iss", "aud", "sub", "email", "groups", "exp", "nbf"],
        );
        claims[claim] = match dice.below(5) {
            0 => json!(dice.number()),
            1 => json!(dice.text()),
            2 => json!([dice.text(), ISSUER, AUDIENCE, "team"]),
            3 => json!(null),
            _ => json!({"a": dice.text()}),
        };
    }
    let algorithm = some(dice, &["EdDSA", "EdDSA", "EdDSA", "none", "HS256", "RS256"]);
    let kid = some(dice, &["1", "1", "1", "2", ""]);
    let header = json!({"typ": "JWT", "alg": algorithm, "kid": kid});
    format!("sign:{header}\n{claims}").into_bytes()
}
