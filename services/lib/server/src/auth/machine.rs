//! Verifying the token that a machine signed with its own key (see `edgeio-client`, `machine`).
//!
//! What it proves is the possession of a key, and nothing else: whose key that is, the tier looks up ([`Machines`]), and a key
//! that nobody knows is a [`PrincipalKind::Stranger`], who may join. Everything that is not exactly the one form is refused:
//! one algorithm, one `typ`, this server's own audience, a life of minutes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use edgeio_proto::machine::{Claims, LEEWAY, LIFE, REGISTER_AUDIENCE, TYPE};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tonic::metadata::MetadataMap;

use super::{AUTHORIZATION, AuthError, Authenticate, Peer, Principal, PrincipalKind, bearer};
use crate::auth::principal::{CallInfo, Method};

/// Longest token that is looked at. Ours have some 350 bytes.
const LONGEST: usize = 2048;

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The public nkey whose other half the caller has.
    pub key: String,
    /// The token is for any server, and so for joining alone.
    pub joins_only: bool,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// It has not the form of a machine's token.
    #[error("it is no token of a machine")]
    Form,
    /// It is signed in another way than machines sign.
    #[error("it is not signed with Ed25519")]
    Algorithm,
    /// The signature is not that of the key that it names.
    #[error("its signature is not that of its key")]
    Signature,
    /// It is for another server.
    #[error("it is for another server: the machine must join here")]
    Audience,
    /// Its time is over or has not come.
    #[error("it was made {seconds} s {side} this server's clock: set the machine's clock right")]
    Time {
        /// By how much.
        seconds: u64,
        /// `behind` or `ahead of`.
        side: &'static str,
    },
    /// It says of itself that it is good for longer than any machine's token is.
    #[error("it is made to last too long")]
    Life,
}

/// Whether a text is meant to be a machine's token, so that nobody else need be asked.
fn is_meant(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    if header.is_empty() || token.len() > LONGEST {
        return false;
    }
    #[derive(serde::Deserialize)]
    struct Header {
        typ: Option<String>,
    }
    BASE64URL_NOPAD
        .decode(header.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<Header>(&json).ok())
        .is_some_and(|header| header.typ.as_deref() == Some(TYPE))
}

/// Verifies a token for the server with the id `audience`, at `now` (since 1970).
///
/// # Errors
/// Says what is wrong, and nothing of what the token holds.
pub fn verify(token: &str, audience: &str, now: Duration) -> Result<Proven, MachineError> {
    if token.len() > LONGEST || !is_meant(token) {
        return Err(MachineError::Form);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| MachineError::Algorithm)?;
    if header.alg != Algorithm::EdDSA {
        return Err(MachineError::Algorithm);
    }
    // The key is the one that the token names: what is proven is that the caller has it.
    let mut parts = token.split('.');
    let (Some(_), Some(body), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MachineError::Form);
    };
    let body = BASE64URL_NOPAD.decode(body.as_bytes());
    let claims: Claims = body
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(MachineError::Form)?;
    let (_, raw) = nkeys::from_public_key(&claims.sub).map_err(|_| MachineError::Form)?;
    let key = DecodingKey::from_ed_components(&BASE64URL_NOPAD.encode(&raw))
        .map_err(|_| MachineError::Form)?;
    let mut rules = Validation::new(Algorithm::EdDSA);
    // Times and audience are compared below, by a clock that is given and with words that help.
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    let signed = jsonwebtoken::decode::<Claims>(token, &key, &rules)
        .map_err(|_| MachineError::Signature)?
        .claims;
    if signed != claims {
        return Err(MachineError::Form);
    }
    check_time(&claims, now)?;
    let joins_only = claims.aud == REGISTER_AUDIENCE;
    if !joins_only && (audience.is_empty() || claims.aud != audience) {
        return Err(MachineError::Audience);
    }
    Ok(Proven {
        key: claims.sub,
        joins_only,
    })
}

fn check_time(claims: &Claims, now: Duration) -> Result<(), MachineError> {
    let (now, leeway) = (now.as_secs(), LEEWAY.as_secs());
    if claims.exp < claims.iat || claims.exp - claims.iat > LIFE.as_secs() {
        return Err(MachineError::Life);
    }
    if claims.iat > now.saturating_add(leeway) {
        return Err(MachineError::Time {
            seconds: claims.iat - now,
            side: "ahead of",
        });
    }
    if claims.exp.saturating_add(leeway) < now {
        return Err(MachineError::Time {
            seconds: now - claims.iat,
            side: "behind",
        });
    }
    Ok(())
}

/// Who has which key: the tier's records.
#[async_trait]
pub trait Machines: Send + Sync + 'static {
    /// The machine with this public nkey; `None` if there is none.
    ///
    /// # Errors
    /// The records cannot be read now.
    async fn find(
        &self,
        key: &str,
    ) -> Result<Option<Principal>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Knows machines by their tokens.
pub struct Machine<M, O> {
    /// This server's id.
    pub audience: String,
    /// Whose keys are whose.
    pub machines: M,
    /// Who would identify the caller if it had sent no token. Whoever may do something here without any credential (on this
    /// machine, say) may do it with a key that is not known yet too: else a program that has a key could do less than one without.
    pub without: O,
}

#[async_trait]
impl<M: Machines, O: Authenticate> Authenticate for Machine<M, O> {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        peer: &Peer,
    ) -> Result<Option<Principal>, AuthError> {
        let Some(token) = bearer(metadata).filter(|token| is_meant(token)) else {
            return Ok(None);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let proven = verify(token, &self.audience, now)
            .map_err(|wrong| AuthError::Invalid(wrong.to_string()))?;
        let known = self.machines.find(&proven.key).await;
        if let Some(known) = known.map_err(AuthError::Unavailable)?
            && !proven.joins_only
        {
            return Ok(Some(known));
        }
        let mut bare = metadata.clone();
        bare.remove(AUTHORIZATION);
        let bindings = match self.without.authenticate(&bare, peer).await? {
            Some(who) => who.bindings,
            None => Vec::new(),
        };
        Ok(Some(Principal {
            id: proven.key.clone(),
            name: proven.key,
            kind: PrincipalKind::Stranger,
            bindings,
            method: Method::Machine,
            call: CallInfo::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;
    use proptest::prelude::*;

    use super::super::{Local, Reach, Role};
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HERE: &str = "0198c0de-0000-7000-8000-000000000001";

    fn claims(pair: &KeyPair) -> Claims {
        Claims {
            sub: pair.public_key(),
            aud: HERE.into(),
            iat: NOW.as_secs(),
            exp: NOW.as_secs() + 300,
        }
    }

    fn encode(header: &str, claims: &Claims, pair: &KeyPair) -> String {
        let body = serde_json::to_vec(claims).unwrap();
        let said = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(&body)
        );
        let signature = pair.sign(said.as_bytes()).unwrap();
        format!("{said}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    fn header(alg: &str) -> String {
        format!(r#"{{"typ":"{TYPE}","alg":"{alg}"}}"#)
    }

    fn good(pair: &KeyPair) -> String {
        encode(&header("EdDSA"), &claims(pair), pair)
    }

    #[test]
    fn a_good_token_proves_its_key() {
        for pair in [KeyPair::new_user(), KeyPair::new_cluster()] {
            let proven = verify(&good(&pair), HERE, NOW).unwrap();
            assert_eq!((proven.key, proven.joins_only), (pair.public_key(), false));
            let any = Claims {
                aud: REGISTER_AUDIENCE.into(),
                ..claims(&pair)
            };
            let any = encode(&header("EdDSA"), &any, &pair);
            assert!(verify(&any, HERE, NOW).unwrap().joins_only);
        }
    }

    #[test]
    fn an_algorithm_is_never_the_tokens_choice() {
        let pair = KeyPair::new_user();
        for alg in [
            "none", "None", "HS256", "HS512", "RS256", "ES256", "PS256", "eddsa", "",
        ] {
            let token = encode(&header(alg), &claims(&pair), &pair);
            assert_eq!(
                verify(&token, HERE, NOW),
                Err(MachineError::Algorithm),
                "{alg}"
            );
        }
        // The public key as the secret of an HMAC: the oldest confusion of all.
        let mut hmac = jsonwebtoken::Header::new(Algorithm::HS256);
        hmac.typ = Some(TYPE.into());
        let (_, raw) = nkeys::from_public_key(&pair.public_key()).unwrap();
        for secret in [raw.as_slice(), pair.public_key().as_bytes()] {
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            let token = jsonwebtoken::encode(&hmac, &claims(&pair), &key).unwrap();
            assert_eq!(verify(&token, HERE, NOW), Err(MachineError::Algorithm));
        }
        let unsigned = good(&pair);
        let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned, HERE, NOW), Err(MachineError::Signature));
    }

    #[test]
    fn a_token_of_another_use_is_none() {
        let pair = KeyPair::new_user();
        for typ in [r#""typ":"JWT","#, "", r#""typ":null,"#] {
            let token = encode(&format!(r#"{{{typ}"alg":"EdDSA"}}"#), &claims(&pair), &pair);
            assert_eq!(verify(&token, HERE, NOW), Err(MachineError::Form), "{typ}");
        }
    }

    #[test]
    fn another_key_proves_nothing() {
        let (pair, other) = (KeyPair::new_user(), KeyPair::new_user());
        let forged = encode(&header("EdDSA"), &claims(&pair), &other);
        assert_eq!(verify(&forged, HERE, NOW), Err(MachineError::Signature));
        for sub in ["", "U", "*", ">", "SUAKEY", "edgeio"] {
            let claims = Claims {
                sub: sub.into(),
                ..claims(&pair)
            };
            let token = encode(&header("EdDSA"), &claims, &pair);
            assert_eq!(verify(&token, HERE, NOW), Err(MachineError::Form), "{sub}");
        }
    }

    #[test]
    fn a_token_is_for_one_server() {
        let pair = KeyPair::new_user();
        for aud in ["", "registers", "0198c0de-0000-7000-8000-000000000002"] {
            let claims = Claims {
                aud: aud.into(),
                ..claims(&pair)
            };
            let token = encode(&header("EdDSA"), &claims, &pair);
            assert_eq!(
                verify(&token, HERE, NOW),
                Err(MachineError::Audience),
                "{aud}"
            );
        }
        let empty = Claims {
            aud: String::new(),
            ..claims(&pair)
        };
        let token = encode(&header("EdDSA"), &empty, &pair);
        assert_eq!(verify(&token, "", NOW), Err(MachineError::Audience));
    }

    #[test]
    fn a_token_is_for_minutes() {
        let pair = KeyPair::new_user();
        let at = |iat: u64, exp: u64| {
            let claims = Claims {
                iat,
                exp,
                ..claims(&pair)
            };
            verify(&encode(&header("EdDSA"), &claims, &pair), HERE, NOW)
        };
        let now = NOW.as_secs();
        assert!(at(now - 359, now - 59).is_ok(), "within the leeway");
        assert!(at(now + 59, now + 60).is_ok(), "within the leeway");
        let old = at(now - 400, now - 100).unwrap_err();
        assert!(old.to_string().contains("400 s behind"), "{old}");
        let future = at(now + 3600, now + 3700).unwrap_err();
        assert!(future.to_string().contains("3600 s ahead of"), "{future}");
        for (iat, exp) in [
            (now, now + 301),
            (now, u64::MAX),
            (now, now - 1),
            (0, u64::MAX),
            (u64::MAX, u64::MAX),
        ] {
            assert!(at(iat, exp).is_err(), "{iat} {exp}");
        }
    }

    #[test]
    fn what_is_huge_is_not_read() {
        let pair = KeyPair::new_user();
        let long = Claims {
            aud: "x".repeat(100_000),
            ..claims(&pair)
        };
        let token = encode(&header("EdDSA"), &long, &pair);
        assert_eq!(verify(&token, HERE, NOW), Err(MachineError::Form));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_at_all_is_taken(text in ".{0,300}") {
            prop_assert!(verify(&text, HERE, NOW).is_err());
        }

        #[test]
        fn parts_that_look_right_are_not_taken(
            parts in prop::collection::vec("[A-Za-z0-9_-]{0,120}", 0..5)
        ) {
            let head = BASE64URL_NOPAD.encode(header("EdDSA").as_bytes());
            let text = format!("{head}.{}", parts.join("."));
            prop_assert!(verify(&text, HERE, NOW).is_err());
        }

        #[test]
        fn any_times_are_judged_without_overflow(iat: u64, exp: u64, now: u64) {
            let times = Claims { iat, exp, sub: String::new(), aud: String::new() };
            let ok = check_time(&times, Duration::from_secs(now)).is_ok();
            let (iat, exp, now) = (i128::from(iat), i128::from(exp), i128::from(now));
            let expected = exp >= iat && exp - iat <= 300 && iat <= now + 60 && exp + 60 >= now;
            // At the very end of the numbers a sum stays at the last one.
            prop_assert!(ok == expected || now + 60 > i128::from(u64::MAX));
        }
    }

    proptest! {
        // Each case signs and verifies, without optimisation.
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_token_that_was_cut_or_changed_is_not_taken(
            seed in any::<[u8; 32]>(), at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]"
        ) {
            let pair = KeyPair::new_from_raw(nkeys::KeyPairType::User, seed).unwrap();
            let token = good(&pair);
            let at = at.index(token.len());
            prop_assert!(verify(&token[..at], HERE, NOW).is_err());
            let mut other = token.clone();
            other.replace_range(at..=at, &to);
            if other != token {
                prop_assert!(verify(&other, HERE, NOW).is_err(), "{other}");
            }
        }
    }

    /// One machine with one key.
    struct One(String);

    #[async_trait]
    impl Machines for One {
        async fn find(
            &self,
            key: &str,
        ) -> Result<Option<Principal>, Box<dyn std::error::Error + Send + Sync>> {
            let who = || Principal::machine(PrincipalKind::Cluster, HERE, "north");
            Ok((key == self.0).then(who))
        }
    }

    #[tokio::test]
    async fn a_known_key_is_a_machine_and_an_unknown_one_a_stranger() {
        let (known, unknown) = (KeyPair::new_cluster(), KeyPair::new_cluster());
        let auth = Machine {
            audience: HERE.into(),
            machines: One(known.public_key()),
            without: Local {
                role: Role::Operator,
                reach: Reach::Loopback,
            },
        };
        let ask = async |token: Option<String>, peer: &str| {
            let mut metadata = MetadataMap::new();
            if let Some(token) = token {
                metadata.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            }
            let peer = Peer {
                address: Some(peer.parse().unwrap()),
            };
            auth.authenticate(&metadata, &peer).await
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let token = |pair: &KeyPair, aud: &str| {
            let claims = Claims {
                sub: pair.public_key(),
                aud: aud.into(),
                iat: now.as_secs(),
                exp: now.as_secs() + 300,
            };
            Some(encode(&header("EdDSA"), &claims, pair))
        };
        let (near, far) = ("127.0.0.1:9", "10.0.0.7:9");
        let who = ask(token(&known, HERE), far).await.unwrap().unwrap();
        assert_eq!(
            (who.name.as_str(), who.kind),
            ("north", PrincipalKind::Cluster)
        );
        let who = ask(token(&known, REGISTER_AUDIENCE), far)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(who.kind, PrincipalKind::Stranger, "good for joining alone");
        let who = ask(token(&unknown, HERE), far).await.unwrap().unwrap();
        assert_eq!((who.kind, who.bindings.len()), (PrincipalKind::Stranger, 0));
        assert_eq!(who.id, unknown.public_key());
        let who = ask(token(&unknown, HERE), near).await.unwrap().unwrap();
        assert_eq!(who.kind, PrincipalKind::Stranger);
        assert_eq!(who.role_everywhere(), Some(Role::Operator));
        assert!(ask(token(&known, "elsewhere"), near).await.is_err());
        assert_eq!(ask(None, near).await.unwrap(), None);
        assert_eq!(ask(Some("edgeio_1_x".into()), near).await.unwrap(), None);
    }
}
