//! What routing reads: configuration, live interactions page by page, agents.

use hilo_proto::internal::v1::assignment_service_client::AssignmentServiceClient;
use hilo_proto::internal::v1::{
    AssignmentMode, GetRoutingConfigRequest, HoldPartitionsRequest, ListDecisionsRequest,
    ListLiveInteractionsRequest, SetAgentStatusRequest,
};
use tonic::Code;

use super::{apply, batch, offer, open, queue};
use crate::attention::domain::{Command, UserKey};
use crate::directory::domain::groups::partition_of;
use crate::directory::testing::{self, Served, directory_of};

#[tokio::test]
async fn the_configuration_names_campaigns_partitions_agents_and_loads() {
    let served = Served::start().await;
    testing::apply(&served.db, &directory_of(&[("a", &["luis", "ana"]), ("b", &["rosa"])], "")).await;
    let ids = queue(&served.db, "a", 1).await;
    apply(&served.db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap();
    let mut client = AssignmentServiceClient::new(served.service());
    let config =
        client.get_routing_config(GetRoutingConfigRequest { known_version: 0 }).await.unwrap().into_inner();
    assert_eq!((config.config_version, config.changed), (2, true));
    let a = &config.campaigns[0];
    assert_eq!(
        (a.campaign_key.as_str(), a.partition, a.mode()),
        ("a", partition_of("a"), AssignmentMode::RoundRobin)
    );
    assert_eq!(
        (a.member_keys.as_slice(), a.rotation_pointer.as_str()),
        (&["luis".to_owned(), "ana".to_owned()][..], "ana")
    );
    let agents: Vec<&str> = config.agents.iter().map(|one| one.agent_key.as_str()).collect();
    assert_eq!(agents, ["ana", "luis", "rosa"]);
    let ana = &config.agents[0];
    let loads: Vec<(&str, i32, i32)> =
        ana.loads.iter().map(|one| (one.channel.as_str(), one.load, one.capacity)).collect();
    assert_eq!(loads, [("email", 1, 5), ("whatsapp", 0, 5)]);
    assert!(ana.loads[0].last_offered_at.is_some() && ana.loads[1].last_offered_at.is_none());
    let known =
        client.get_routing_config(GetRoutingConfigRequest { known_version: 2 }).await.unwrap().into_inner();
    assert_eq!((known.changed, known.campaigns.len(), known.agents.len()), (false, 0, 0));
    let paused = SetAgentStatusRequest { agent_key: "ana".to_owned(), paused: true };
    let agent = client.set_agent_status(paused).await.unwrap().into_inner().agent.unwrap();
    assert_eq!((agent.paused, agent.version), (true, ana.version + 1));
    let nobody = SetAgentStatusRequest { agent_key: "nadie".to_owned(), paused: true };
    assert_eq!(client.set_agent_status(nobody).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn live_interactions_come_in_pages_without_gap_or_repetition() {
    let served = Served::start().await;
    // One group, two campaigns, so that a page ends inside and between them.
    testing::apply(&served.db, &directory_of(&[("a", &["ana"]), ("b", &["ana"]), ("c", &["rosa"])], ""))
        .await;
    let mut wanted = queue(&served.db, "a", 5).await;
    wanted.extend(queue(&served.db, "b", 4).await);
    queue(&served.db, "c", 3).await;
    open(&served.db, wanted[1], "ana").await;
    let ended = queue(&served.db, "a", 1).await[0];
    open(&served.db, ended, "ana").await;
    let end = Command::End { agent: UserKey::new("ana"), close: true, problems: Vec::new() };
    super::command(&served.db, ended, end).await;
    let mut client = AssignmentServiceClient::new(served.service());
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListLiveInteractionsRequest {
            partition: partition_of("a"),
            page_size: 2,
            page_token: token,
            attention_ids: Vec::new(),
        };
        let page = client.list_live_interactions(request).await.unwrap().into_inner();
        pages += 1;
        found.extend(page.interactions);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let ids: Vec<String> =
        found.iter().map(|one| one.interaction.as_ref().unwrap().interaction_id.clone()).collect();
    assert_eq!(ids, wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(pages, 5);
    assert_eq!(found[1].interaction.as_ref().unwrap().agent_key, "ana");
    assert_eq!(found[1].sequence, 4, "opened, queued, received, opened by ana");
    // By attention, whatever the partition; an ended one is missing from the answer.
    let by_id = ListLiveInteractionsRequest {
        partition: partition_of("c"),
        page_size: 1,
        page_token: String::new(),
        attention_ids: found.iter().take(2).map(|one| one.attention_id.clone()).collect(),
    };
    let mut again = client.list_live_interactions(by_id).await.unwrap().into_inner();
    again.interactions.sort_by_key(|one| one.sequence);
    assert_eq!((again.interactions, again.next_page_token.as_str()), (found[..2].to_vec(), ""));
    let bad = ListLiveInteractionsRequest {
        partition: 0,
        page_size: 0,
        page_token: "x".to_owned(),
        attention_ids: Vec::new(),
    };
    assert_eq!(client.list_live_interactions(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn decisions_are_listed_with_the_campaign_and_bad_requests_are_named() {
    let served = Served::start().await;
    testing::apply(&served.db, &directory_of(&[("a", &["ana"])], "")).await;
    let ids = queue(&served.db, "a", 1).await;
    apply(&served.db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap();
    let mut client = AssignmentServiceClient::new(served.service());
    let request = ListDecisionsRequest { interaction_id: ids[0].to_string(), ..Default::default() };
    let answer = client.list_decisions(request).await.unwrap().into_inner();
    assert_eq!((answer.campaign_key.as_str(), answer.decisions.len()), ("a", 1));
    let unknown =
        ListDecisionsRequest { interaction_id: uuid::Uuid::now_v7().to_string(), ..Default::default() };
    assert_eq!(client.list_decisions(unknown).await.unwrap_err().code(), Code::NotFound);
    let bad = HoldPartitionsRequest { replica_id: String::new(), release: false, term_millis: 5 };
    let status = client.hold_partitions(bad).await.unwrap_err();
    let error = hilo_kit::Error::from(status);
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["replica_id", "term_millis"]);
    let hold = HoldPartitionsRequest { replica_id: "r".to_owned(), release: false, term_millis: 4_000 };
    let held = client.hold_partitions(hold).await.unwrap().into_inner();
    assert_eq!((held.partitions.len(), held.partition_count, held.term_millis), (64, 64, 4_000));
    let release = HoldPartitionsRequest { replica_id: "r".to_owned(), release: true, term_millis: 0 };
    assert!(client.hold_partitions(release).await.unwrap().into_inner().partitions.is_empty());
}
