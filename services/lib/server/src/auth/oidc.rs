//! Users of an OpenID provider: ID tokens, verified by the provider's keys.
//!
//! The keys are in a file that somebody keeps current (a sidecar, a cron job, a mounted secret), or at an address of the provider (see
//! `key_set`); either way a provider that is away shuts nobody out. What a
//! group of the provider may do here is written in the configuration; a user without such a group is known and may do nothing.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

use async_trait::async_trait;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde_json::Value as Json;
use tonic::metadata::MetadataMap;

use super::{
    AuthError, Authenticate, Binding, CallInfo, Method, Peer, Principal, PrincipalKind, Role,
    bearer,
    key_set::{self, KeySet, Remote},
};
use crate::config::{Check, Parsed, Validate};

/// How tokens may be signed. No symmetric one: a key that verifies must not be able to sign.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
/// How much clocks may differ.
const LEEWAY_SECONDS: u64 = 60;
/// Longest token that is looked at: many groups fit, and so does the limit of a call's metadata.
const LONGEST: usize = 12 * 1024;
/// Longest name that is taken over.
const NAME: usize = 200;

/// What a group may do: `ROLE` everywhere, or `NAMESPACE:ROLE`, several with blanks between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(Vec<Binding>);

impl FromStr for Grants {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |word: &str| {
            let (namespace, role) = match word.split_once(':') {
                Some((namespace, role)) => (Some(namespace), role),
                None => (None, word),
            };
            let role: Role = role.parse()?;
            if namespace.is_some() && role.is_global() {
                return Err(format!(
                    "{role} is a role over all namespaces: write `{role}` alone"
                ));
            }
            let namespace = namespace.map(str::to_owned);
            Ok(Binding { namespace, role })
        };
        let grants: Result<Vec<Binding>, String> = text.split_whitespace().map(one).collect();
        match grants {
            Ok(grants) if grants.is_empty() => Err("it grants nothing".to_owned()),
            other => other.map(Self),
        }
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, binding) in self.0.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            match &binding.namespace {
                Some(namespace) => write!(out, "{blank}{namespace}:{}", binding.role)?,
                None => write!(out, "{blank}{}", binding.role)?,
            }
        }
        Ok(())
    }
}

crate::config! {
    /// Users of an OpenID provider. Used by [`Flat`](crate::config::Flat), so its keys have no prefix.
    pub struct OidcConfig {
        /// The provider, as `iss` in its ID tokens has it. Empty: no ID tokens are taken.
        pub oidc_issuer: String,
        /// What ID tokens must be for, as `aud` in them has it.
        pub oidc_audience: String,
        /// A file with the provider's keys, as a JSON Web Key Set. It is read for each token.
        pub oidc_keys: Option<PathBuf>,
        /// In place of a file: where the provider tells its keys, as `jwks_uri` in its configuration has it: `https://HOST/PATH`. They are
        /// kept, and asked for again every quarter of an hour and for a key that is not known. It is called without a proxy.
        pub oidc_keys_url: String,
        /// The certificate authorities of that address, in PEM form; without it the system's.
        pub oidc_keys_ca: Option<PathBuf>,
        /// The claim that names the user to people.
        pub oidc_name_claim: String = "email".to_owned(),
        /// The claim that lists the user's groups.
        pub oidc_groups_claim: String = "groups".to_owned(),
        /// What the members of a group may do: `viewer`, `deployer`, `namespace-admin`, `operator` or `admin` everywhere, or
        /// `NAMESPACE:ROLE`; several with blanks between them.
        pub oidc_bindings: BTreeMap<String, Parsed<Grants>>,
    }
}

impl Validate for OidcConfig {
    fn validate(&self, check: &mut Check<'_>) {
        if self.oidc_issuer.is_empty() {
            return;
        }
        if self.oidc_audience.is_empty() {
            check.fail(
                "oidc_audience",
                "a token that was made for another service would be taken",
                "write the client id under which this server is known to the provider",
            );
        }
        match (&self.oidc_keys, self.oidc_keys_url.as_str()) {
            (None, "") => check.fail(
                "oidc_keys",
                "no token could be verified",
                "name a file with the provider's JSON Web Key Set, or its address in `oidc_keys_url`",
            ),
            (Some(_), "") => {}
            (Some(_), _) => check.fail(
                "oidc_keys",
                "there is an `oidc_keys_url` too, and only one of them can be meant",
                "give one of the two",
            ),
            (None, address) => {
                if let Err(error) = key_set::parse(address) {
                    check.fail("oidc_keys_url", error.to_string(), "copy the provider's `jwks_uri`");
                }
            }
        }
    }
}

/// Knows users by their ID tokens.
#[derive(Debug, Clone)]
pub struct Oidc {
    issuer: String,
    audience: String,
    keys: KeySet,
    name_claim: String,
    groups_claim: String,
    bindings: BTreeMap<String, Vec<Binding>>,
}

impl Oidc {
    /// As configured; `None` without a provider.
    #[must_use]
    pub fn new(config: &OidcConfig) -> Option<Self> {
        let keys = match &config.oidc_keys {
            Some(path) => KeySet::File(path.clone()),
            None => {
                let address = key_set::parse(&config.oidc_keys_url).ok()?;
                let remote = Remote::new(address, config.oidc_keys_ca.clone());
                KeySet::Address(Arc::new(remote))
            }
        };
        if config.oidc_issuer.is_empty() {
            return None;
        }
        let bindings = config.oidc_bindings.iter();
        Some(Self {
            issuer: config.oidc_issuer.clone(),
            audience: config.oidc_audience.clone(),
            keys,
            name_claim: config.oidc_name_claim.clone(),
            groups_claim: config.oidc_groups_claim.clone(),
            bindings: bindings
                .map(|(group, grants)| (group.clone(), grants.0.0.clone()))
                .collect(),
        })
    }

    fn verify(&self, token: &str, keys: &JwkSet) -> Result<Principal, AuthError> {
        let wrong = |why: &str| AuthError::Invalid(why.to_owned());
        let header = decode_header(token).map_err(|_| wrong("it is no ID token"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(wrong("it is not signed with EdDSA, ES256 or RS256"));
        }
        let jwk = pick(keys, header.kid.as_deref())
            .ok_or_else(|| wrong("it is signed with a key that this server does not know"))?;
        let key = DecodingKey::from_jwk(jwk).map_err(|_| wrong("its key cannot be used"))?;
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_SECONDS;
        let claims = decode::<Json>(token, &key, &rules).map_err(|error| {
            use jsonwebtoken::errors::ErrorKind;
            match error.kind() {
                ErrorKind::ExpiredSignature => wrong("it has expired: log in again"),
                ErrorKind::ImmatureSignature => {
                    wrong("its time has not come: set the clocks right")
                }
                ErrorKind::InvalidIssuer => wrong("it is of another provider"),
                ErrorKind::InvalidAudience => wrong("it is for another service"),
                ErrorKind::MissingRequiredClaim(_) => wrong("it does not say what it must"),
                _ => wrong("its signature is not that of the provider"),
            }
        })?;
        let claims = claims.claims;
        let text = |claim: &str| claims.get(claim).and_then(Json::as_str);
        let id = text("sub").filter(|id| !id.is_empty() && id.len() <= NAME);
        let id = id.ok_or_else(|| wrong("it names no subject"))?;
        let name = text(&self.name_claim)
            .filter(|name| !name.is_empty())
            .unwrap_or(id);
        let groups = match claims.get(&self.groups_claim) {
            Some(Json::Array(groups)) => groups.iter().filter_map(Json::as_str).collect(),
            Some(Json::String(group)) => vec![group.as_str()],
            _ => Vec::new(),
        };
        let granted = groups
            .into_iter()
            .filter_map(|group| self.bindings.get(group));
        let mut bindings: Vec<Binding> = granted.flatten().cloned().collect();
        bindings.sort();
        bindings.dedup();
        Ok(Principal {
            id: id.to_owned(),
            name: name.chars().take(NAME).collect(),
            kind: PrincipalKind::User,
            bindings,
            method: Method::Oidc,
            call: CallInfo::default(),
        })
    }
}

/// The key that a token names, or the only one.
fn pick<'a>(keys: &'a JwkSet, kid: Option<&str>) -> Option<&'a Jwk> {
    match (kid, keys.keys.as_slice()) {
        (Some(kid), _) => keys.find(kid),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

#[async_trait]
impl Authenticate for Oidc {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        _: &Peer,
    ) -> Result<Option<Principal>, AuthError> {
        let is_jwt = |token: &&str| token.len() <= LONGEST && token.split('.').count() == 3;
        let Some(token) = bearer(metadata).filter(is_jwt) else {
            return Ok(None);
        };
        // Keys are looked for only for what could be a token: a header is cheap to read, and anybody can send one.
        let kid = match decode_header(token) {
            Ok(header) if ALGORITHMS.contains(&header.alg) => header.kid,
            Ok(_) | Err(_) => return self.verify(token, &JwkSet { keys: Vec::new() }).map(Some),
        };
        let keys = self.keys.with(kid.as_deref()).await?;
        self.verify(token, &keys).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use data_encoding::BASE64URL_NOPAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use nkeys::KeyPair;
    use serde_json::json;

    use super::*;

    struct Provider {
        pair: KeyPair,
        kid: &'static str,
    }

    impl Provider {
        fn new(kid: &'static str) -> Self {
            let pair = KeyPair::new_user();
            Self { pair, kid }
        }

        fn jwk(&self) -> Json {
            let (_, raw) = nkeys::from_public_key(&self.pair.public_key()).unwrap();
            let x = BASE64URL_NOPAD.encode(&raw);
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.kid, "x": x})
        }

        fn sign(&self, claims: &Json) -> String {
            let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid});
            let part = |json: &Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
            let said = format!("{}.{}", part(&header), part(claims));
            let signature = self.pair.sign(said.as_bytes()).unwrap();
            format!("{said}.{}", BASE64URL_NOPAD.encode(&signature))
        }
    }

    fn now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    }

    fn claims() -> Json {
        json!({
            "iss": "https://login.example", "aud": "edgeio", "sub": "u-7", "email": "ann@example.org",
            "groups": ["ops", "shop-team", "others"], "exp": now() + 600, "iat": now(),
        })
    }

    fn with(claim: &str, value: Json) -> Json {
        let mut claims = claims();
        claims[claim] = value;
        claims
    }

    fn oidc() -> Oidc {
        let grants = |text: &str| text.parse::<Grants>().unwrap().0;
        Oidc {
            issuer: "https://login.example".into(),
            audience: "edgeio".into(),
            keys: KeySet::File(PathBuf::new()),
            name_claim: "email".into(),
            groups_claim: "groups".into(),
            bindings: BTreeMap::from([
                ("ops".to_owned(), grants("operator")),
                ("shop-team".to_owned(), grants("shop:deployer lab:viewer")),
            ]),
        }
    }

    fn set(keys: &[&Provider]) -> JwkSet {
        let keys: Vec<Json> = keys.iter().map(|provider| provider.jwk()).collect();
        serde_json::from_value(json!({ "keys": keys })).unwrap()
    }

    #[test]
    fn an_id_token_makes_its_user_known_with_the_roles_of_its_groups() {
        let (one, two) = (Provider::new("1"), Provider::new("2"));
        let keys = set(&[&one, &two]);
        for provider in [&one, &two] {
            let who = oidc().verify(&provider.sign(&claims()), &keys).unwrap();
            assert_eq!(
                (who.id.as_str(), who.name.as_str()),
                ("u-7", "ann@example.org")
            );
            assert_eq!(who.role_everywhere(), Some(Role::Operator));
            assert_eq!(who.bindings.len(), 3);
        }
        let mut bare = claims();
        bare.as_object_mut().unwrap().remove("groups");
        bare.as_object_mut().unwrap().remove("email");
        let who = oidc().verify(&one.sign(&bare), &keys).unwrap();
        assert_eq!((who.name.as_str(), who.bindings.len()), ("u-7", 0));
    }

    #[test]
    fn what_is_not_the_providers_or_not_for_us_is_refused() {
        let (one, other) = (Provider::new("1"), Provider::new("1"));
        let keys = set(&[&one]);
        let refused = |token: &str| {
            let error = oidc().verify(token, &keys).unwrap_err();
            assert!(matches!(error, AuthError::Invalid(_)), "{error}");
        };
        refused(&other.sign(&claims()));
        refused(&Provider::new("9").sign(&claims()));
        for bad in [
            with("iss", json!("https://evil.example")),
            with("aud", json!("another")),
            with("exp", json!(now() - 120)),
            with("exp", Json::Null),
            with("nbf", json!(now() + 600)),
            with("sub", json!("")),
            with("sub", json!(7)),
        ] {
            refused(&one.sign(&bad));
        }
        for token in ["", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."] {
            refused(token);
        }
        let token = one.sign(&claims());
        refused(&token[..token.len() - 2]);
    }

    #[test]
    fn an_algorithm_is_never_the_tokens_choice() {
        let one = Provider::new("1");
        let keys = set(&[&one]);
        // The public key as the secret of an HMAC.
        let (_, raw) = nkeys::from_public_key(&one.pair.public_key()).unwrap();
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("1".into());
            let token = encode(&header, &claims(), &EncodingKey::from_secret(&raw)).unwrap();
            assert!(oidc().verify(&token, &keys).is_err());
        }
    }

    #[test]
    fn grants_are_read_and_written() {
        for good in ["admin", "shop:deployer", "viewer shop:namespace-admin"] {
            assert_eq!(good.parse::<Grants>().unwrap().to_string(), good);
        }
        for bad in ["", "boss", "shop:admin", "shop:", ":x"] {
            assert!(bad.parse::<Grants>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_file_is_read_for_each_token() {
        let one = Provider::new("1");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let oidc = Oidc {
            keys: KeySet::File(path.clone()),
            ..oidc()
        };
        let ask = async || {
            let mut metadata = MetadataMap::new();
            let value = format!("Bearer {}", one.sign(&claims()));
            metadata.insert("authorization", value.parse().unwrap());
            oidc.authenticate(&metadata, &Peer { address: None }).await
        };
        let capture =
            crate::telemetry::Capture::start().expect("the provider's keys cannot be read");
        assert!(matches!(ask().await, Err(AuthError::Unavailable(_))));
        capture.finish().unwrap();
        std::fs::write(&path, json!({"keys": [one.jwk()]}).to_string()).unwrap();
        assert!(ask().await.unwrap().is_some());
        std::fs::write(&path, json!({"keys": []}).to_string()).unwrap();
        assert!(matches!(ask().await, Err(AuthError::Invalid(_))));
    }
}
