//! Tokens that are not quite right (RFC 8725, RFC 7519): each is refused by each RPC of each process, and says nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tonic::Code;

use crate::matrix::Matrix;
use crate::requests::{body, hosts};
use crate::table;
use crate::world::{THEIRS, World, fresh};

fn claims(change: Value) -> Value {
    let now = hilo_kit::clock::wall().unix_timestamp();
    let mut claims = json!({
        "iss": "hilo", "aud": "hilo", "sub": format!("agente-{}", THEIRS[0]),
        "iat": now, "nbf": now - 5, "exp": now + 600, "jti": fresh(),
    });
    for (name, value) in change.as_object().into_iter().flatten() {
        match value {
            Value::Null => claims.as_object_mut().map(|all| all.remove(name)),
            _ => claims.as_object_mut().map(|all| all.insert(name.clone(), value.clone())),
        };
    }
    claims
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// What is wrong, and the token.
pub fn false_ones(world: &World) -> Vec<(&'static str, String)> {
    let keys = world.installation.keys();
    let own = EncodingKey::from_ed_pem(keys.signing_key.expose().as_bytes()).unwrap();
    let other = hilo_kit::auth::generate_keys().unwrap();
    let other = EncodingKey::from_ed_pem(other.signing_key.expose().as_bytes()).unwrap();
    let shared = EncodingKey::from_secret(keys.service_secret.expose().as_bytes());
    let public = EncodingKey::from_secret(keys.verify_key.as_bytes());
    let user = |change: Value| encode(&Header::new(Algorithm::EdDSA), &claims(change), &own).unwrap();
    let service = json!({"aud": "hilo-internal", "sub": "routing"});
    let by = |algorithm, change: Value, key: &EncodingKey| {
        encode(&Header::new(algorithm), &claims(change), key).unwrap()
    };
    let now = hilo_kit::clock::wall().unix_timestamp();
    let right = user(json!({}));
    let (head, _) = right.rsplit_once('.').unwrap();
    let mut of_a_file = Header::new(Algorithm::EdDSA);
    of_a_file.kid = Some("../../../../dev/null".to_owned());
    vec![
        ("no token at all", "abc".to_owned()),
        ("algorithm none", unsigned(&json!({"alg": "none", "typ": "JWT"}), &claims(json!({})))),
        ("algorithm none for a service", unsigned(&json!({"alg": "none"}), &claims(service.clone()))),
        ("signature taken off", format!("{head}.")),
        ("another key", by(Algorithm::EdDSA, json!({}), &other)),
        ("another key, named by a path", encode(&of_a_file, &claims(json!({})), &other).unwrap()),
        ("expired", user(json!({"nbf": now - 700, "exp": now - 60}))),
        ("not yet valid", user(json!({"nbf": now + 600, "exp": now + 1_200}))),
        ("end as a text", user(json!({"exp": "9999999999"}))),
        ("no end", user(json!({"exp": null}))),
        ("no beginning", user(json!({"nbf": null}))),
        ("no audience", user(json!({"aud": null}))),
        ("another audience", user(json!({"aud": "otra"}))),
        ("audience of services", user(json!({"aud": "hilo-internal"}))),
        ("another issuer", user(json!({"iss": "otra"}))),
        ("nobody", user(json!({"sub": null}))),
        ("a user who does not exist", user(json!({"sub": "nadie"}))),
        ("the public key as a secret", by(Algorithm::HS256, json!({}), &public)),
        ("the public key as a service's secret", by(Algorithm::HS256, service.clone(), &public)),
        ("a user by the services' secret", by(Algorithm::HS256, json!({}), &shared)),
        ("a service by a user's key", by(Algorithm::EdDSA, service.clone(), &own)),
        ("a service by another algorithm", by(Algorithm::HS384, service, &shared)),
        (
            "an expired service",
            by(Algorithm::HS256, json!({"aud": "hilo-internal", "sub": "routing", "exp": now - 60}), &shared),
        ),
    ]
}

/// Every false token on every RPC.
pub async fn refused(matrix: &mut Matrix<'_>) {
    let false_ones = false_ones(matrix.world);
    for method in table::methods().keys() {
        for host in hosts(method) {
            for (what, token) in &false_ones {
                let request = body(method, &matrix.world.theirs).unwrap();
                let answer = matrix.ask(*host, method, Some(token), request).await;
                let right = answer.code == Code::Unauthenticated && answer.reason == "UNAUTHENTICATED";
                matrix.expect(right && !answer.says(&THEIRS), || {
                    format!("{method}, {what}: {}", answer.brief())
                });
            }
        }
    }
}
