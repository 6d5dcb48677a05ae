//! Signing in and out, the throttle, and every wrong token and wrong kind of caller.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{Issuer, ServiceTokens, generate_keys};
use hilo_kit::clock::wall;
use hilo_kit::config::{AuthConfig, OidcConfig};
use hilo_kit::error::reason_of;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::directory::v1::{ApplyDirectoryRequest, GetDirectoryRequest, ListAuditRequest};
use hilo_proto::identity::v1::identity_service_client::IdentityServiceClient;
use hilo_proto::identity::v1::{ChangePasswordRequest, LoginRequest, LogoutRequest, WhoAmIRequest};
use hilo_proto::internal::v1::assignment_service_client::AssignmentServiceClient;
use hilo_proto::internal::v1::directory_feed_service_client::DirectoryFeedServiceClient;
use hilo_proto::internal::v1::queue_service_client::QueueServiceClient;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, GetDirectoryRequest as FeedRequest, GetRoutingConfigRequest, HoldPartitionsRequest,
    ListDecisionsRequest, ListLiveInteractionsRequest, ReadQueuesRequest, ReportPresenceRequest,
    SetAgentStatusRequest,
};
use hilo_test_support::{OidcIssuer, eventually};
use secrecy::SecretString;
use serde_json::json;
use tonic::{Code, Status};

use crate::directory::testing::{Client, Served, apply, example};
use crate::identity::Identity;
use crate::identity::password::Hasher;

const PASSWORD: &str = "una-frase-larga";

async fn served() -> Served {
    let served = Served::start().await;
    apply(&served.db, &example()).await;
    served
}

async fn login(served: &Served, user: &str, password: &str) -> Result<String, Status> {
    let request = LoginRequest { user: user.to_owned(), password: password.to_owned() };
    let answer = IdentityServiceClient::new(served.anonymous()).login(request).await?;
    Ok(answer.into_inner().token)
}

async fn who(client: Client) -> Result<String, Status> {
    Ok(IdentityServiceClient::new(client).who_am_i(WhoAmIRequest {}).await?.into_inner().user_key)
}

fn shown(status: &Status) -> (Code, Option<String>, String) {
    (status.code(), reason_of(status), status.message().to_owned())
}

#[tokio::test]
async fn who_signs_in_is_known_until_he_signs_out() {
    let served = served().await;
    let token = login(&served, "ana", PASSWORD).await.unwrap();
    let mut client = IdentityServiceClient::new(served.with_token(&token));
    let me = client.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((me.user_key.as_str(), me.name.as_str()), ("ana", "Ana Quispe"));
    assert_eq!((me.roles, me.campaign_keys), (vec!["agent".to_owned()], vec!["soporte-tecnico".to_owned()]));
    let mut changes = served.announcer.watch();
    changes.mark_unchanged();
    client.logout(LogoutRequest {}).await.unwrap();
    assert_eq!(who(served.with_token(&token)).await.unwrap_err().code(), Code::Unauthenticated);
    assert!(changes.has_changed().unwrap(), "the other services are told at once");
    let mut feed = DirectoryFeedServiceClient::new(served.service());
    let answer = feed.get_directory(FeedRequest { known_version: 2 }).await.unwrap().into_inner();
    assert_eq!((answer.changed, answer.revoked_token_ids.len()), (false, 1));
    let other = login(&served, "ana", PASSWORD).await.unwrap();
    assert_eq!(who(served.with_token(&other)).await.unwrap(), "ana", "only the one token was revoked");
}

#[tokio::test]
async fn unknown_users_and_wrong_passwords_are_answered_and_throttled_alike() {
    let served = served().await;
    let execute = async |sql: &'static str| {
        sqlx::query(sql).execute(served.db.pool()).await.unwrap();
    };
    let mut courses = Vec::new();
    for user in ["ana", "nadie", "luis-sin"] {
        let mut course = Vec::new();
        for _ in 0..5 {
            course.push(shown(&login(&served, user, "una-frase-falsa").await.unwrap_err()));
        }
        // A slow machine must not let the first delay, a second, pass.
        execute(
            "UPDATE identity.login_throttle SET blocked_until = blocked_until + interval '1 h'
             WHERE failures = 5 AND blocked_until < now() + interval '1 min'",
        )
        .await;
        for _ in 0..2 {
            course.push(shown(&login(&served, user, "una-frase-falsa").await.unwrap_err()));
        }
        courses.push(course);
    }
    assert_eq!(courses[0], courses[1]);
    assert_eq!(courses[0], courses[2]);
    let codes: Vec<Code> = courses[0].iter().map(|(code, _, _)| *code).collect();
    assert_eq!(codes[..5], [Code::Unauthenticated; 5]);
    assert_eq!(codes[5..], [Code::ResourceExhausted; 2], "the fifth failure blocks");
    let blocked = login(&served, "ana", PASSWORD).await.unwrap_err();
    assert_eq!(reason_of(&blocked).as_deref(), Some("LOGIN_THROTTLED"), "also with the right password");
    // The delay grows with every failure; time is moved in the database instead of waited for.
    let blocked_for = async || {
        sqlx::query_scalar::<_, f64>(
            "SELECT extract(epoch FROM blocked_until - attempted_at)::float8 FROM identity.login_throttle WHERE user_key = 'ana'",
        )
        .fetch_one(served.db.pool())
        .await
        .unwrap()
    };
    let mut delays = vec![blocked_for().await - 3600.0];
    for _ in 0..11 {
        execute("UPDATE identity.login_throttle SET blocked_until = now()").await;
        login(&served, "ana", "una-frase-falsa").await.unwrap_err();
        delays.push(blocked_for().await);
    }
    assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]);
    execute("UPDATE identity.login_throttle SET blocked_until = now()").await;
    login(&served, "ana", PASSWORD).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM identity.login_throttle WHERE user_key = 'ana'")
        .fetch_one(served.db.pool())
        .await
        .unwrap();
    assert_eq!(left, 0, "a right password forgives");
}

#[tokio::test]
async fn many_attempts_at_one_instant_do_not_slip_through() {
    let served = served().await;
    let started = std::time::Instant::now();
    let attempts: Vec<_> = (0..30).map(|_| login(&served, "ana", "una-frase-falsa")).collect();
    let tried = futures::future::join_all(attempts).await;
    let checked =
        tried.iter().filter(|one| one.as_ref().unwrap_err().code() == Code::Unauthenticated).count();
    // On a very slow machine the first delay, a second, may pass meanwhile and one more may be tried.
    let allowed = 5 + started.elapsed().as_secs() as usize;
    assert!(
        (5..=allowed).contains(&checked),
        "{checked} passwords were looked at in {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_user_who_is_switched_off_is_refused_at_once() {
    let served = served().await;
    let token = login(&served, "ana", PASSWORD).await.unwrap();
    let without = example().replacen(
        "    active: true                   # optional\n  - key: luis",
        "    active: false\n  - key: luis",
        1,
    );
    apply(&served.db, &without).await;
    assert_eq!(who(served.with_token(&token)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(login(&served, "ana", PASSWORD).await.unwrap_err().code(), Code::Unauthenticated);
}

async fn change(served: &Served, token: &str, current: &str, new: &str) -> Result<String, Status> {
    let request =
        ChangePasswordRequest { current_password: current.to_owned(), new_password: new.to_owned() };
    let answer = IdentityServiceClient::new(served.with_token(token)).change_password(request).await?;
    Ok(answer.into_inner().token)
}

#[tokio::test]
async fn a_new_password_ends_every_token_of_before() {
    let served = served().await;
    let (first, second) =
        (login(&served, "ana", PASSWORD).await.unwrap(), login(&served, "ana", PASSWORD).await.unwrap());
    for (current, new, reason, field) in [
        (PASSWORD, "corta", "INVALID_REQUEST", "new_password"),
        (PASSWORD, PASSWORD, "INVALID_REQUEST", "new_password"),
        ("una-frase-falsa", "otra-frase-larga", "WRONG_PASSWORD", "current_password"),
    ] {
        let status = change(&served, &first, current, new).await.unwrap_err();
        assert_eq!(reason_of(&status).as_deref(), Some(reason), "{new}");
        let violations = tonic_types::StatusExt::get_details_bad_request(&status).unwrap().field_violations;
        assert_eq!(violations[0].field, field);
    }
    assert_eq!(who(served.with_token(&first)).await.unwrap(), "ana", "nothing happened yet");
    let mut changes = served.announcer.watch();
    changes.mark_unchanged();
    let third = change(&served, &first, PASSWORD, "otra-frase-larga").await.unwrap();
    assert!(changes.has_changed().unwrap(), "the other services are told at once");
    for (what, token) in [("the one used", &first), ("another one", &second)] {
        let status = who(served.with_token(token)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{what}");
    }
    assert_eq!(who(served.with_token(&third)).await.unwrap(), "ana");
    login(&served, "ana", PASSWORD).await.unwrap_err();
    login(&served, "ana", "otra-frase-larga").await.unwrap();
    // The administrator sets another one.
    let set = example().replacen("password: una-frase-larga", "password: la-del-administrador", 1);
    apply(&served.db, &set).await;
    assert_eq!(who(served.with_token(&third)).await.unwrap_err().code(), Code::Unauthenticated);
    let trail: Vec<(String, String)> = sqlx::query_as(
        "SELECT actor, action FROM directory.audit WHERE action LIKE 'password%' AND key = 'ana' ORDER BY audit_id",
    )
    .fetch_all(served.db.pool())
    .await
    .unwrap();
    let row = |actor: &str, action: &str| (actor.to_owned(), action.to_owned());
    assert_eq!(
        trail,
        [
            row("service:test", "password_set"),
            row("user:ana", "password_changed"),
            row("service:test", "password_set")
        ]
    );
}

#[tokio::test]
async fn a_providers_token_names_a_user_of_the_directory_and_lives_no_longer_than_he() {
    let provider = OidcIssuer::start().await.unwrap();
    let issuer = provider.issuer();
    let oidc = OidcConfig { issuer: issuer.clone(), audience: "hilo".into(), ..OidcConfig::default() };
    let served = Served::configured(|auth| AuthConfig { oidc: Some(oidc), ..auth }).await;
    apply(&served.db, &example()).await;
    let token = async |user: &str| {
        let now = wall().unix_timestamp();
        let claims = json!({"iss": issuer, "aud": "hilo", "sub": user, "exp": now + 600});
        provider.token("rsa-1", "RS256", &claims, &json!({})).await.unwrap()
    };
    let ana = token("ana").await;
    eventually("the provider's keys are read", Duration::from_secs(60), async || {
        who(served.with_token(&ana)).await.is_ok()
    })
    .await
    .unwrap();
    assert_eq!(who(served.with_token(&ana)).await.unwrap(), "ana");
    let refused = async |what: &str, token: &str| {
        let status = who(served.with_token(token)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{what}");
    };
    refused("of somebody who is not in the directory", &token("nadie").await).await;
    let own = Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    refused("of our own issuer", &own.issue("ana", wall(), Duration::from_secs(600)).unwrap().token).await;
    IdentityServiceClient::new(served.with_token(&ana)).logout(LogoutRequest {}).await.unwrap();
    refused("signed out", &ana).await;
    let luis = token("luis").await;
    assert_eq!(who(served.with_token(&luis)).await.unwrap(), "luis");
    let off = example().replacen(
        "    roles: [agent, supervisor]",
        "    roles: [agent, supervisor]\n    active: false",
        1,
    );
    apply(&served.db, &off).await;
    refused("of somebody who was switched off", &luis).await;
}

#[tokio::test]
async fn nobody_signs_in_here_when_a_provider_does_it() {
    let served = served().await;
    let issuer = Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    let identity =
        Identity::new(served.db.clone(), Arc::new(issuer), Hasher::default(), served.announcer.clone());
    let identity = identity.by_provider(true);
    let error = identity.login("ana", SecretString::from(PASSWORD)).await.unwrap_err();
    assert_eq!(error.reason(), "SIGN_IN_ELSEWHERE");
    let new = SecretString::from("otra-frase-larga");
    let error = identity.change_password("ana", SecretString::from(PASSWORD), new).await.unwrap_err();
    assert_eq!(error.reason(), "SIGN_IN_ELSEWHERE");
}

#[tokio::test]
async fn guessing_by_changing_the_password_is_throttled_like_signing_in() {
    let served = served().await;
    let token = login(&served, "ana", PASSWORD).await.unwrap();
    for _ in 0..5 {
        let status = change(&served, &token, "una-frase-falsa", "otra-frase-larga").await.unwrap_err();
        assert_eq!(reason_of(&status).as_deref(), Some("WRONG_PASSWORD"));
    }
    sqlx::query("UPDATE identity.login_throttle SET blocked_until = now() + interval '1 h'")
        .execute(served.db.pool())
        .await
        .unwrap();
    let status = change(&served, &token, PASSWORD, "otra-frase-larga").await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("LOGIN_THROTTLED"));
}

#[tokio::test]
async fn a_role_that_was_taken_away_is_gone_with_the_next_call() {
    let served = served().await;
    let with = |roles: &str| {
        let coco = format!("  - {{key: coco, name: Coco, roles: [{roles}]}}\n\nforms:");
        example().replacen("\nforms:", &coco, 1)
    };
    apply(&served.db, &with("coordinator")).await;
    let mut client = DirectoryServiceClient::new(served.user("coco"));
    client.list_audit(ListAuditRequest::default()).await.unwrap();
    apply(&served.db, &with("monitor")).await;
    let status = client.list_audit(ListAuditRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("COORDINATOR_REQUIRED"));
}

#[tokio::test]
async fn wrong_tokens_are_refused() {
    let served = served().await;
    let day = Duration::from_secs(600);
    let own = Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    let foreign = Issuer::new(generate_keys().unwrap().signing_key.expose(), "hilo").unwrap();
    let other_issuer = Issuer::new(served.keys.signing_key.expose(), "other").unwrap();
    let good = own.issue("ana", wall(), day).unwrap().token;
    assert_eq!(who(served.with_token(&good)).await.unwrap(), "ana");
    let (head, rest) = good.split_once('.').unwrap();
    let (body, _) = rest.split_once('.').unwrap();
    let hour_ago = wall() - time::Duration::hours(2);
    let wrong = [
        ("of another key", foreign.issue("ana", wall(), day).unwrap().token),
        ("of another issuer", other_issuer.issue("ana", wall(), day).unwrap().token),
        ("expired", own.issue("ana", hour_ago, day).unwrap().token),
        ("not valid yet", own.issue("ana", wall() + time::Duration::hours(2), day).unwrap().token),
        ("of an unknown user", own.issue("nadie", wall(), day).unwrap().token),
        ("without signature", format!("{head}.{body}.")),
        ("alg none", format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.")),
        ("a changed body", format!("{head}.{}.{}", body.replace('a', "b"), good.rsplit('.').next().unwrap())),
        ("junk", "x.y.z".to_owned()),
    ];
    for (what, token) in wrong {
        let status = who(served.with_token(&token)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{what}");
    }
    let anonymous =
        IdentityServiceClient::new(served.anonymous()).who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let service = who(served.service()).await.unwrap_err();
    assert_eq!(reason_of(&service).as_deref(), Some("USER_REQUIRED"));
    // A service token made with the users' public key as HMAC secret: the classical confusion of algorithms.
    let mut confused = served.keys.auth_config("hilo");
    confused.service_secret = hilo_kit::config::Secret::new(served.keys.verify_key.clone());
    let token = ServiceTokens::new(&confused, "routing").token().unwrap();
    assert_eq!(who(served.with_token(&token)).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn internal_rpcs_refuse_an_agents_token_and_applying_needs_a_coordinator() {
    let served = served().await;
    let mut refused = Vec::new();
    for (who, client) in [("agent", served.user("ana")), ("supervisor", served.user("luis"))] {
        let mut assignment = AssignmentServiceClient::new(client.clone());
        let mut feed = DirectoryFeedServiceClient::new(client.clone());
        let mut queues = QueueServiceClient::new(client.clone());
        refused.extend([
            (who, assignment.hold_partitions(HoldPartitionsRequest::default()).await.map(drop)),
            (who, assignment.get_routing_config(GetRoutingConfigRequest::default()).await.map(drop)),
            (who, assignment.list_live_interactions(ListLiveInteractionsRequest::default()).await.map(drop)),
            (who, assignment.apply_offers(ApplyOffersRequest::default()).await.map(drop)),
            (who, assignment.report_presence(ReportPresenceRequest::default()).await.map(drop)),
            (who, assignment.set_agent_status(SetAgentStatusRequest::default()).await.map(drop)),
            (who, assignment.list_decisions(ListDecisionsRequest::default()).await.map(drop)),
            (who, queues.read_queues(ReadQueuesRequest::default()).await.map(drop)),
            (who, feed.get_directory(FeedRequest::default()).await.map(drop)),
        ]);
    }
    assert_eq!(refused.len(), 18);
    for (who, result) in refused {
        let status = result.unwrap_err();
        assert_eq!(
            (status.code(), reason_of(&status).as_deref()),
            (Code::PermissionDenied, Some("SERVICE_REQUIRED")),
            "{who}"
        );
    }
    let anonymous =
        AssignmentServiceClient::new(served.anonymous()).apply_offers(ApplyOffersRequest::default()).await;
    assert_eq!(anonymous.unwrap_err().code(), Code::Unauthenticated);
    let request = ApplyDirectoryRequest { yaml: String::new(), dry_run: true, prune: false };
    let status =
        DirectoryServiceClient::new(served.user("luis")).apply_directory(request.clone()).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("COORDINATOR_REQUIRED"));
    let status = DirectoryServiceClient::new(served.anonymous()).apply_directory(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = DirectoryServiceClient::new(served.anonymous())
        .get_directory(GetDirectoryRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

/// Guard: `AND password_hash = $2` of `replace_hash`. Without it a change begun with a stolen password undoes the new one.
#[tokio::test]
async fn a_password_that_was_set_meanwhile_is_not_replaced() {
    let served = served().await;
    let replaced = async |before: String, after: &str| {
        let mut conn = served.db.pool().acquire().await.unwrap();
        super::store::replace_hash(&mut conn, "ana", &before, after).await.unwrap()
    };
    let stored = async || {
        let hash = served.db.read(|conn| Box::pin(async move { super::store::hash_of(conn, "ana").await }));
        hash.await.unwrap().unwrap()
    };
    let known = stored().await;
    assert!(replaced(known.clone(), "$argon2id$set-by-the-coordinator").await);
    assert!(!replaced(known, "$argon2id$set-by-who-knew-the-old-one").await);
    assert_eq!(stored().await, "$argon2id$set-by-the-coordinator");
}
