//! Tokens of an OpenID Connect provider that is not our code: every algorithm, rotation, and the table of what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hilo_kit::auth::{Issuer, Keys, Principal, ServiceTokens, Verifier, generate_keys};
use hilo_kit::config::{AuthConfig, OidcConfig};
use hilo_kit::directory::{Directory, DirectoryCache, User};
use hilo_kit::lifecycle::Shutdown;
use hilo_test_support::{OidcIssuer, eventually};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tonic::{Code, Request};

struct Rig {
    issuer: OidcIssuer,
    keys: Keys,
    shutdown: Shutdown,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Rig {
    async fn start() -> Self {
        hilo_kit::install_crypto();
        let issuer = OidcIssuer::start().await.unwrap();
        Self { issuer, keys: generate_keys().unwrap(), shutdown: Shutdown::new() }
    }

    fn config(&self) -> AuthConfig {
        let oidc = OidcConfig {
            issuer: self.issuer.issuer(),
            audience: "hilo".into(),
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            ..OidcConfig::default()
        };
        AuthConfig { oidc: Some(oidc), ..self.keys.auth_config("hilo") }
    }

    /// A verifier that has read the keys.
    async fn verifier(&self, config: &AuthConfig) -> Verifier {
        let verifier = Verifier::new(config).unwrap();
        verifier.follow(&self.shutdown);
        let token = self.token("rsa-1", "RS256", &self.claims()).await;
        eventually("the keys are read", std::time::Duration::from_secs(60), async || {
            verifier.verify(&token).err().is_none_or(|error| error.reason() != "OIDC_KEYS_UNKNOWN")
        })
        .await
        .unwrap();
        verifier
    }

    fn claims(&self) -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        json!({"iss": self.issuer.issuer(), "aud": "hilo", "sub": "ana", "iat": now, "exp": now + 600})
    }

    async fn token(&self, kid: &str, alg: &str, claims: &Value) -> String {
        self.issuer.token(kid, alg, claims, &json!({})).await.unwrap()
    }

    fn with(&self, claim: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value,
        }
        claims
    }
}

fn refused(verifier: &Verifier, what: &str, token: &str) {
    match verifier.verify(token) {
        Err(error) => assert_eq!(error.reason(), "UNAUTHENTICATED", "{what}"),
        Ok(principal) => panic!("{what} passed as {principal:?}"),
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn tokens_of_every_allowed_algorithm_name_their_user() {
    let rig = Rig::start().await;
    let verifier = rig.verifier(&rig.config()).await;
    for (kid, alg) in [("rsa-1", "RS256"), ("ec-1", "ES256"), ("ed-1", "EdDSA")] {
        let claims = rig.claims();
        let token = rig.token(kid, alg, &claims).await;
        let Principal::User { key, expires_at, .. } = verifier.verify(&token).unwrap() else {
            panic!("a user")
        };
        let expected = ("ana", claims["exp"].as_i64().unwrap());
        assert_eq!((key.as_str(), expires_at.unix_timestamp()), expected, "{alg}");
    }
    // A token has one identity by its `jti`, however often it is signed, and another without it.
    let id = |token: &str| match verifier.verify(token).unwrap() {
        Principal::User { token_id, .. } => token_id,
        Principal::Service { .. } => panic!("a user"),
    };
    let named = rig.with("jti", json!("one"));
    let (first, second) =
        (rig.token("ec-1", "ES256", &named).await, rig.token("ec-1", "ES256", &named).await);
    assert_ne!(first, second, "ECDSA signs differently each time");
    assert_eq!(id(&first), id(&second));
    assert_ne!(id(&first), id(&rig.token("ec-1", "ES256", &rig.with("jti", json!("two"))).await));
    // Several audiences, and another claim for the user's key.
    assert!(
        verifier
            .verify(&rig.token("rsa-1", "RS256", &rig.with("aud", json!(["otro", "hilo"]))).await)
            .is_ok()
    );
    let mut config = rig.config();
    config.oidc.as_mut().unwrap().subject_claim = "preferred_username".into();
    let by_name = rig.verifier(&config).await;
    refused(&by_name, "without the claim", &rig.token("rsa-1", "RS256", &rig.claims()).await);
    let token = rig.token("rsa-1", "RS256", &rig.with("preferred_username", json!("luis"))).await;
    assert!(matches!(by_name.verify(&token).unwrap(), Principal::User { key, .. } if key == "luis"));
}

#[tokio::test]
async fn whatever_is_not_exactly_right_is_unauthenticated() {
    let rig = Rig::start().await;
    let verifier = rig.verifier(&rig.config()).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let good = rig.token("rsa-1", "RS256", &rig.claims()).await;
    assert!(verifier.verify(&good).is_ok());
    for (what, claim, value) in [
        ("expired", "exp", json!(now - 60)),
        ("expiry as text", "exp", json!((now + 600).to_string())),
        ("no expiry", "exp", Value::Null),
        ("not yet valid", "nbf", json!(now + 300)),
        ("of another issuer", "iss", json!("https://otro.example")),
        ("without issuer", "iss", Value::Null),
        ("for somebody else", "aud", json!("otro")),
        ("without audience", "aud", Value::Null),
        ("without subject", "sub", Value::Null),
        ("with a number as subject", "sub", json!(7)),
        ("with a subject that is no key", "sub", json!("Ana Quispe")),
        ("with an empty subject", "sub", json!("")),
    ] {
        refused(&verifier, what, &rig.token("rsa-1", "RS256", &rig.with(claim, value)).await);
    }
    let claims = rig.claims();
    for (what, kid, alg, header) in [
        ("signed by an unpublished key", "rsa-hidden", "RS256", json!({})),
        ("with an unknown kid", "rsa-1", "RS256", json!({"kid": "nadie"})),
        ("without kid", "rsa-1", "RS256", json!({"kid": null})),
        ("with the kid of another key", "rsa-1", "RS256", json!({"kid": "ec-1"})),
        ("of an unpublished key under a published kid", "rsa-hidden", "RS256", json!({"kid": "rsa-1"})),
        ("of an algorithm that is not allowed", "rsa-1", "RS512", json!({})),
        ("by a key that is too short", "rsa-short", "RS256", json!({})),
        ("by a key for encryption", "rsa-1", "RS256", json!({"kid": "rsa-enc"})),
    ] {
        refused(&verifier, what, &rig.issuer.token(kid, alg, &claims, &header).await.unwrap());
    }
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, body) = signed.split_once('.').unwrap();
    let none = part(&json!({"alg": "none", "kid": "rsa-1"}));
    for (what, token) in [
        ("unsigned", format!("{none}.{body}.")),
        ("unsigned with a signature", format!("{none}.{body}.{signature}")),
        ("without its signature", format!("{signed}.")),
        (
            "with another body",
            format!(
                "{}.{}.{signature}",
                signed.split_once('.').unwrap().0,
                part(&rig.with("sub", json!("luis")))
            ),
        ),
        ("junk", "x.y.z".to_owned()),
        ("nothing", String::new()),
    ] {
        refused(&verifier, what, &token);
    }
    // The classical confusion: the published key as an HMAC secret, for a user and for a service.
    let pem = rig.issuer.public_pem().await.unwrap();
    let mut confused = rig.keys.auth_config(&rig.issuer.issuer());
    confused.service_secret = hilo_kit::config::Secret::new(pem);
    refused(
        &verifier,
        "HS256 with the public key",
        &ServiceTokens::new(&confused, "routing").token().unwrap(),
    );
    // With a provider, our own tokens for users are none; services keep theirs.
    let own = Issuer::new(rig.keys.signing_key.expose(), "hilo").unwrap();
    let own = own.issue("ana", OffsetDateTime::now_utc(), std::time::Duration::from_secs(60)).unwrap().token;
    refused(&verifier, "of the local issuer", &own);
    let service = ServiceTokens::new(&rig.config(), "routing").token().unwrap();
    assert!(matches!(verifier.verify(&service).unwrap(), Principal::Service { .. }));
}

#[tokio::test]
async fn leeway_is_kept_to_and_an_algorithm_that_is_not_configured_is_refused() {
    let rig = Rig::start().await;
    let mut config = rig.config();
    let oidc = config.oidc.as_mut().unwrap();
    (oidc.leeway_seconds, oidc.algorithms) = (60, vec!["ES256".to_owned()]);
    let verifier = rig.verifier(&config).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let late = rig.with("exp", json!(now - 20));
    assert!(verifier.verify(&rig.token("ec-1", "ES256", &late).await).is_ok());
    refused(
        &verifier,
        "beyond the leeway",
        &rig.token("ec-1", "ES256", &rig.with("exp", json!(now - 90))).await,
    );
    refused(
        &verifier,
        "RS256 where only ES256 is allowed",
        &rig.token("rsa-1", "RS256", &rig.claims()).await,
    );
}

#[tokio::test]
async fn a_new_key_is_found_soon_after_a_token_names_it() {
    let rig = Rig::start().await;
    let verifier = rig.verifier(&rig.config()).await;
    rig.issuer.rotate().await.unwrap();
    let token = rig.token("rsa-2", "RS256", &rig.claims()).await;
    refused(&verifier, "a key that was not read yet", &token);
    eventually("the new key is read", std::time::Duration::from_secs(60), async || {
        verifier.verify(&token).is_ok()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_provider_that_describes_another_issuer_is_not_believed() {
    let rig = Rig::start().await;
    let mut config = rig.config();
    let oidc = config.oidc.as_mut().unwrap();
    oidc.issuer = rig.issuer.issuer().replace("127.0.0.1", "localhost");
    let verifier = Verifier::new(&config).unwrap();
    verifier.follow(&rig.shutdown);
    // Its description is fetched and refused, so no key is ever known; the same keys by their own address are.
    let token = rig.token("rsa-1", "RS256", &rig.with("iss", json!(oidc_issuer(&config)))).await;
    let error = verifier.verify(&token).unwrap_err();
    assert_eq!(error.reason(), "OIDC_KEYS_UNKNOWN");
    config.oidc.as_mut().unwrap().jwks_url = format!("{}/jwks", rig.issuer.issuer());
    let named = rig.verifier(&config).await;
    assert!(named.verify(&token).is_ok());
    assert_eq!(verifier.verify(&token).unwrap_err().reason(), "OIDC_KEYS_UNKNOWN", "still");
}

fn oidc_issuer(config: &AuthConfig) -> String {
    config.oidc.as_ref().map(|oidc| oidc.issuer.clone()).unwrap_or_default()
}

/// What the service answers to a token, when it refuses it.
fn refusal(verifier: &Verifier, token: &str) -> Option<(Code, String)> {
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    verifier.check(request).err().map(|status| (status.code(), status.message().to_owned()))
}

#[tokio::test]
async fn whom_the_provider_knows_and_the_directory_does_not_is_told_so() {
    let rig = Rig::start().await;
    let user = |key: &str, active| User { key: key.into(), active, ..User::default() };
    let literal = hilo_proto::directory::v1::Directory {
        users: vec![user("ana", true), user("gone", false)],
        ..Default::default()
    };
    let known = |verifier: Verifier, version, revoked: Vec<String>| {
        verifier.with_directory(DirectoryCache::fixed(Directory::new(version, literal.clone(), revoked)))
    };
    let verifier = rig.verifier(&rig.config()).await;
    let serving = known(verifier.clone(), 1, Vec::new());
    let ana = rig.token("rsa-1", "RS256", &rig.claims()).await;
    assert_eq!(refusal(&serving, &ana), None);
    for who in ["nadie", "gone"] {
        let token = rig.token("rsa-1", "RS256", &rig.with("sub", json!(who))).await;
        let text = format!("the directory has no active user `{who}`");
        assert_eq!(refusal(&serving, &token), Some((Code::Unauthenticated, text)));
        assert_eq!(refusal(&known(verifier.clone(), 0, Vec::new()), &token), None, "before it was read");
    }
    let Principal::User { token_id, .. } = verifier.verify(&ana).unwrap() else { panic!("a user") };
    let revoked = Some((Code::Unauthenticated, "the token was revoked".to_owned()));
    assert_eq!(refusal(&known(verifier, 1, vec![token_id.to_string()]), &ana), revoked);
    // Of our own tokens it is not said which it was.
    let own = Issuer::new(rig.keys.signing_key.expose(), "hilo").unwrap();
    let own =
        own.issue("nadie", OffsetDateTime::now_utc(), std::time::Duration::from_secs(60)).unwrap().token;
    let local = known(Verifier::new(&rig.keys.auth_config("hilo")).unwrap(), 1, Vec::new());
    assert_eq!(refusal(&local, &own), revoked);
}
