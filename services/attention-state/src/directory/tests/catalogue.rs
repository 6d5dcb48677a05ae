//! Tags, quick replies, extra fields of contacts, hours: stored, compared, and who may see them.

use hilo_proto::directory::v1::GetDirectoryRequest;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;

use crate::directory;
use crate::directory::apply::Mode;
use crate::directory::domain::key::CampaignKey;
use crate::directory::testing::{Served, admin, apply, database, example};

#[tokio::test]
async fn what_was_applied_is_read_back_and_applying_it_again_changes_nothing() {
    let db = database().await;
    apply(&db, &example()).await;
    let (tags, replies, fields, campaign) = db
        .snapshot(|conn| {
            Box::pin(async move {
                Ok((
                    directory::tags(conn).await?,
                    directory::quick_replies(conn).await?,
                    directory::contact_fields(conn).await?,
                    directory::campaign(conn, "soporte-tecnico").await?.unwrap(),
                ))
            })
        })
        .await
        .unwrap();
    let (support, sales) = (CampaignKey::unchecked("soporte-tecnico"), CampaignKey::unchecked("ventas"));
    let scopes: Vec<_> = tags
        .iter()
        .map(|one| {
            let usable = |campaign| directory::in_scope(&one.campaigns, campaign);
            (one.key.as_str(), one.color.as_str(), usable(&support), usable(&sales))
        })
        .collect();
    assert_eq!(scopes, [("garantia", "", true, false), ("urgente", "#c0392b", true, true)]);
    let html: Vec<&str> = replies.iter().map(|one| one.html.as_str()).collect();
    assert_eq!(html, ["<p>Envíenos la <b>boleta</b> y una foto del producto.</p>", ""]);
    let fields: Vec<_> = fields.iter().map(|one| (one.key(), one.active)).collect();
    assert_eq!(fields, [("documento", true), ("segmento", true)]);
    assert_eq!((campaign.orphan_timeout_seconds, campaign.service_level_seconds), (300, 1800));
    let hours = campaign.hours.unwrap();
    assert_eq!((hours.weekly[0].len(), hours.weekly[1].len(), hours.holidays.len()), (2, 0, 2));
    let again =
        admin(&db).apply(example(), Mode { dry_run: true, prune: true }, "user:coco".into()).await.unwrap();
    assert_eq!(again.differences, Vec::<String>::new());
}

#[tokio::test]
async fn changes_are_named_and_omitted_things_are_switched_off() {
    let db = database().await;
    apply(&db, &example()).await;
    let saludo = "  - key: saludo\n    title: Saludo\n    text: Buenos días, gracias por escribirnos.\n";
    let edited = example()
        .replacen("name: Urgente", "name: Muy urgente", 1)
        .replacen("saturday: [\"09:00-13:00\"]", "saturday: [\"09:00-12:00\"]", 1)
        .replacen("  - {key: documento, label: DNI o RUC, type: text, minimum: 8, maximum: 11}\n", "", 1)
        .replacen(saludo, "", 1);
    let outcome = apply(&db, &edited).await;
    assert_eq!(
        outcome.differences,
        [
            "~ campaign soporte-tecnico: hours changed",
            "~ tag urgente: name Urgente -> Muy urgente",
            "- quick reply saludo (inactive)",
            "~ contact field segmento: position 2 -> 1",
            "- contact field documento (inactive)",
        ]
    );
    let fields = db.snapshot(|conn| Box::pin(directory::contact_fields(conn))).await.unwrap();
    let fields: Vec<_> = fields.iter().map(|one| (one.key(), one.active)).collect();
    assert_eq!(fields, [("segmento", true), ("documento", false)]);
    let retyped = example().replacen("label: DNI o RUC, type: text", "label: DNI o RUC, type: number", 1);
    let outcome = admin(&db).apply(retyped, Mode::default(), "user:coco".into()).await.unwrap();
    assert_eq!(outcome.errors.len(), 1);
    assert_eq!(
        (outcome.errors[0].path.as_str(), outcome.errors[0].reason),
        ("contact_fields[0].type", "IMMUTABLE_CHANGED")
    );
}

#[tokio::test]
async fn of_what_is_limited_to_campaigns_a_user_sees_only_his_own() {
    let served = Served::start().await;
    let others = "  - {key: jorge, name: Jorge, roles: [agent]}\n";
    let yaml = example()
        .replacen("    members: [luis]\n", "    members: [luis, jorge]\n", 1)
        .replacen("\nforms:", &format!("{others}\nforms:"), 1)
        .replacen(
            "Garantía, campaigns: [soporte-tecnico]",
            "Garantía, campaigns: [soporte-tecnico, ventas]",
            1,
        );
    apply(&served.db, &yaml).await;
    let seen = async |user: &str| {
        let mut client = DirectoryServiceClient::new(served.user(user));
        client.get_directory(GetDirectoryRequest {}).await.unwrap().into_inner().directory.unwrap()
    };
    let jorge = seen("jorge").await;
    let replies: Vec<&str> = jorge.quick_replies.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(replies, ["saludo"]);
    let tags: Vec<_> = jorge
        .tags
        .iter()
        .map(|one| (one.key.as_str(), one.all_campaigns, one.campaign_keys.join(",")))
        .collect();
    assert_eq!(tags, [("garantia", false, "ventas".to_owned()), ("urgente", true, String::new())]);
    assert_eq!(jorge.contact_fields.len(), 2);
    let ana = seen("ana").await;
    let hours = ana.campaigns[0].hours.clone().unwrap();
    assert_eq!((hours.time_zone.as_str(), hours.weekly.len()), ("America/Lima", 2));
    assert_eq!((hours.weekly[0].day.as_str(), hours.weekly[0].open[1].to.as_str()), ("monday", "18:00"));
}
