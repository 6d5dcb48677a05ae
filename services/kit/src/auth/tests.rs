//! Tokens that are right pass; whatever is not exactly right is refused.

use jsonwebtoken::{EncodingKey, Header};

use super::*;
use serde_json::{Value, json};

struct Setup {
    keys: Keys,
    verifier: Verifier,
    issuer: Issuer,
}

fn setup() -> Setup {
    let keys = generate_keys().unwrap();
    let verifier = Verifier::new(&keys.auth_config("hilo")).unwrap();
    let issuer = Issuer::new(keys.signing_key.expose(), "hilo").unwrap();
    Setup { keys, verifier, issuer }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn claims() -> Value {
    let now = now().unix_timestamp();
    json!({"iss": "hilo", "aud": "hilo", "sub": "ana", "iat": now, "nbf": now, "exp": now + 60, "jti": Uuid::nil()})
}

fn signed(setup: &Setup, algorithm: Algorithm, claims: &Value) -> String {
    let key = match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(setup.keys.service_secret.expose().as_bytes()),
        _ => EncodingKey::from_ed_pem(setup.keys.signing_key.expose().as_bytes()).unwrap(),
    };
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

#[test]
fn users_and_services_are_told_apart() {
    let setup = setup();
    let issued = setup.issuer.issue("ana", now(), Duration::from_secs(3600 * 24 * 30)).unwrap();
    assert!(issued.expires_at <= now() + MAX_USER_TTL, "never longer than allowed");
    let Principal::User { key, token_id, .. } = setup.verifier.verify(&issued.token).unwrap() else {
        panic!()
    };
    assert_eq!((key.as_str(), token_id), ("ana", issued.token_id));
    let tokens = ServiceTokens::new(&setup.keys.auth_config("hilo"), "routing");
    let token = tokens.token().unwrap();
    assert_eq!(token, tokens.token().unwrap(), "kept while fresh");
    assert_eq!(setup.verifier.verify(&token).unwrap(), Principal::Service { name: "routing".into() });
}

#[test]
fn whatever_is_not_exactly_right_is_refused() {
    let setup = setup();
    assert!(setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &claims())).is_ok());
    let hour = now().unix_timestamp() + 3600;
    let wrong: Vec<(&str, Value)> = vec![
        ("exp", json!(now().unix_timestamp() - 60)),
        ("nbf", json!(hour)),
        ("iss", json!("another")),
        ("aud", json!(SERVICE_AUDIENCE)),
        ("exp", Value::Null),
        ("nbf", Value::Null),
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("jti", json!("no uuid")),
    ];
    for (claim, value) in wrong {
        let mut bad = claims();
        if value.is_null() {
            bad.as_object_mut().unwrap().remove(claim);
        } else {
            bad[claim] = value.clone();
        }
        let refused = setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &bad)).unwrap_err();
        assert_eq!(refused.reason(), "UNAUTHENTICATED", "{claim} = {value}");
    }
}

#[test]
fn one_algorithm_per_audience() {
    let setup = setup();
    // A user's claims under the service key, a service's claims under the user key.
    assert!(setup.verifier.verify(&signed(&setup, Algorithm::HS256, &claims())).is_err());
    let mut service = claims();
    service["aud"] = json!(SERVICE_AUDIENCE);
    assert!(setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &service)).is_err());
    // The public key used as an HMAC secret.
    let confused = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &service,
        &EncodingKey::from_secret(setup.keys.verify_key.as_bytes()),
    );
    assert!(setup.verifier.verify(&confused.unwrap()).is_err());
    // No algorithm at all, and a foreign key.
    let token = signed(&setup, Algorithm::EdDSA, &claims());
    let body = token.split('.').nth(1).unwrap();
    assert!(setup.verifier.verify(&format!("eyJhbGciOiJub25lIn0.{body}.")).is_err());
    let other = Issuer::new(generate_keys().unwrap().signing_key.expose(), "hilo").unwrap();
    assert!(
        setup.verifier.verify(&other.issue("ana", now(), Duration::from_secs(60)).unwrap().token).is_err()
    );
}

#[test]
fn requests_without_a_token_are_anonymous_and_with_a_bad_one_refused() {
    let setup = setup();
    let anonymous = setup.verifier.check(Request::new(())).unwrap();
    assert!(principal(&anonymous).is_none());
    assert_eq!(require_user(&anonymous).unwrap_err().reason(), "UNAUTHENTICATED");
    for header in ["Basic x", "Bearer ", "Bearer x.y.z", "bearer"] {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        assert_eq!(
            setup.verifier.check(request).unwrap_err().code(),
            tonic::Code::Unauthenticated,
            "{header}"
        );
    }
    let token = setup.issuer.issue("ana", now(), Duration::from_secs(60)).unwrap().token;
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let request = setup.verifier.check(request).unwrap();
    assert_eq!(require_user(&request).unwrap(), "ana");
    let revoked = [match principal(&request) {
        Some(Principal::User { token_id, .. }) => token_id.to_string(),
        _ => panic!("a user"),
    }];
    let ana = crate::directory::User { key: "ana".into(), active: true, ..Default::default() };
    let literal = hilo_proto::directory::v1::Directory { users: vec![ana], ..Default::default() };
    let with = |revoked: &[String]| {
        let directory = crate::directory::Directory::new(1, literal.clone(), revoked.iter().cloned());
        setup.verifier.clone().with_directory(DirectoryCache::fixed(directory))
    };
    let again = || {
        let mut again = Request::new(());
        again.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        again
    };
    assert!(with(&[]).check(again()).is_ok());
    assert_eq!(with(&revoked).check(again()).unwrap_err().code(), tonic::Code::Unauthenticated);
    assert_eq!(require_service(&request).unwrap_err().reason(), "SERVICE_REQUIRED");
}
