//! Clients that are not ours and not Rust against the one public port, the SMTP port and the broker of `hilo run`: a Python
//! agent (grpcio), a desk over Connect-Web (gRPC-web, in Node), `buf curl`, and a subscriber (nats-py and the CloudEvents SDK).
//! Each fails by itself when the contract on the wire breaks; here their evidence is held against each other.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hilo_end_to_end::binary;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::embedded::Embedded;
use hilo_end_to_end::foreign::{Foreign, Workbench};
use prost::Message as _;
use serde_json::{Value, json};

/// Generous: the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(90);
/// What a case served from first to last looks like to a subscriber, offers aside: a slow machine may let one pass.
const SERVED: [&str; 9] = [
    "attention_opened",
    "interaction_queued",
    "message_received",
    "interaction_opened",
    "message_queued",
    "message_status_changed",
    "form_saved",
    "interaction_ended",
    "attention_closed",
];

async fn write(stack: &Embedded, from: &str, subject: &str, text: &str) -> Result<()> {
    let mail = Mail::new(from, "soporte@demo.hilo.example", subject, text);
    customer::send_until_accepted(stack.smtp()?, &mail, SOON).await.map(drop)
}

/// The mail with this Message-ID reached the customer, with these words.
fn reached(stack: &Embedded, evidence: &Value, customer: &str) -> Result<()> {
    let id = evidence["message_id"].as_str().context("message_id")?;
    let mails = stack.received()?;
    let sent: Vec<&String> =
        mails.iter().filter(|mail| mail.contains(&format!("Message-ID: <{id}>"))).collect();
    ensure!(sent.len() == 1, "{} mails with <{id}> among {}", sent.len(), mails.len());
    ensure!(sent.iter().all(|mail| mail.contains(customer)), "to {customer}: {sent:?}");
    Ok(())
}

/// A Python agent serves one customer with the generated stubs.
async fn python_agent(stack: &Embedded, bench: &Workbench) -> Result<Value> {
    let front = stack.front()?.trim_start_matches("http://");
    let passwords = stack.passwords()?.display().to_string();
    let customer = "nunez@cliente.example";
    let arguments = ["--front", front, "--passwords", &passwords, "--customer", customer];
    let mut agent = bench.python("agent", stack.folder(), &arguments)?;
    agent.until("watching").await?;
    write(stack, customer, "Mi colchón", "¿Dónde está mi colchón? Señora Núñez.").await?;
    let evidence = agent.evidence().await?;
    let refusals = json!({
        "sign in with a wrong password": "UNAUTHENTICATED",
        "open without a token": "UNAUTHENTICATED",
        "watch without a token": "UNAUTHENTICATED",
        "open what does not exist": "INTERACTION_NOT_FOUND",
        "open what another has open": "ALREADY_TAKEN",
        "save a draft over another": "DRAFT_CHANGED",
        "send nothing": "INVALID_REQUEST",
        "end without the form": "FORM_INCOMPLETE",
    });
    ensure!(evidence["refusals"] == refusals, "{evidence:#}");
    reached(stack, &evidence, customer)?;
    Ok(evidence)
}

/// A desk in Node, over gRPC-web.
async fn web_desk(stack: &Embedded, bench: &Workbench) -> Result<Value> {
    let passwords = stack.passwords()?.display().to_string();
    let contracts = bench.contracts.display().to_string();
    let customer = "pena@cliente.example";
    let arguments = [
        ["--front", stack.front()?],
        ["--user", "luis"],
        ["--passwords", &passwords],
        ["--contracts", &contracts],
        ["--customer", customer],
    ];
    let mut desk = bench.node("desk", stack.folder(), arguments.as_flattened())?;
    desk.until("watching").await?;
    write(stack, customer, "Reclamo", "Mi reclamo: llegó roto. ¡Señorita Ñandú!").await?;
    let evidence = desk.evidence().await?;
    let refusals = json!({
        "sign in with a wrong password": "UNAUTHENTICATED",
        "watch without a token": "UNAUTHENTICATED",
        "end without the form": "FORM_INCOMPLETE",
        "open what does not exist": "INTERACTION_NOT_FOUND",
    });
    ensure!(evidence["refusals"] == refusals, "{evidence:#}");
    reached(stack, &evidence, customer)?;
    Ok(evidence)
}

/// `buf curl`: the front and the protocol, then how the call ended and what it printed.
async fn buf_curl(
    stack: &Embedded,
    options: &[&str],
    method: &str,
    token: Option<&str>,
    request: &Value,
) -> Result<(bool, Value)> {
    let url = format!("{}/{method}", stack.front()?);
    let (request, bearer) =
        (request.to_string(), token.map(|token| format!("authorization: Bearer {token}")));
    let mut arguments = vec!["curl", "--data", &request];
    arguments.extend(options);
    arguments.extend(bearer.iter().flat_map(|header| ["--header", header]));
    arguments.push(&url);
    let cache = stack.folder().join("buf").display().to_string();
    // Each call has a file of its own.
    let call = tempfile::tempdir_in(stack.folder())?;
    let program = binary::python_tool("buf")?;
    let buf = Foreign::start("buf", call.path(), program, &arguments, &[("BUF_CACHE_DIR", &cache)])?;
    let (status, said) = buf.ended().await?;
    let answer =
        serde_json::from_str(&said).with_context(|| format!("buf curl {method}: {status}: {said}"))?;
    Ok((status.success(), answer))
}

const LOGIN: &str = "hilo.identity.v1.IdentityService/Login";
const LIST: &str = "hilo.attention.v1.AttentionService/ListInteractions";
const OPEN: &str = "hilo.attention.v1.AttentionService/OpenInteraction";

/// The reason in the `google.rpc.ErrorInfo` of an error as buf prints it: base64, for it does not know that contract.
fn reason(refused: &Value) -> Option<String> {
    let details = refused["details"].as_array()?;
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo")?;
    let encoded = STANDARD_NO_PAD.decode(info["value"].as_str()?).ok()?;
    let info = tonic_types::pb::ErrorInfo::decode(encoded.as_slice()).ok()?;
    (info.domain == "hilo").then_some(info.reason)
}

/// `buf curl` over gRPC-web with the contracts from their folder, and over gRPC with nothing but reflection.
async fn by_buf(stack: &Embedded, bench: &Workbench) -> Result<()> {
    let customer = "salas@cliente.example";
    write(stack, customer, "¿Y mi factura?", "No llegó la factura.").await?;
    let proto = bench.proto.display().to_string();
    let by_web = ["--protocol", "grpcweb", "--schema", &proto];
    let by_grpc = ["--protocol", "grpc", "--http2-prior-knowledge"];
    let login = json!({"user": "rosa", "password": stack.password("ana")?});
    for options in [&by_web[..], &by_grpc[..]] {
        let (fine, refused) = buf_curl(stack, options, LOGIN, None, &login).await?;
        ensure!(!fine && refused["code"] == "unauthenticated", "{options:?}: {refused}");
        let login = json!({"user": "ana", "password": stack.password("ana")?});
        let (fine, answer) = buf_curl(stack, options, LOGIN, None, &login).await?;
        ensure!(fine, "{options:?}: {answer}");
        let token = answer["token"].as_str().context("token")?;
        let (list, started) = (json!({"channel": "email"}), Instant::now());
        loop {
            let (fine, list) = buf_curl(stack, options, LIST, Some(token), &list).await?;
            ensure!(fine && started.elapsed() < SOON, "{options:?}: {list}");
            // Accepted by the SMTP server, it reaches the list a moment later.
            let mut items = list["items"].as_array().into_iter().flatten();
            if items.any(|item| item["customerAddress"] == customer) {
                ensure!(list["counters"] == json!({"queued": 1}), "{options:?}: {list}");
                break;
            }
        }
        let id = "019a0000-0000-7000-8000-000000000002";
        let open = json!({"interactionId": id, "requestId": id});
        let (fine, refused) = buf_curl(stack, options, OPEN, Some(token), &open).await?;
        ensure!(!fine && refused["code"] == "not_found", "{options:?}: {refused}");
        ensure!(reason(&refused).as_deref() == Some("INTERACTION_NOT_FOUND"), "{options:?}: {refused:#}");
    }
    Ok(())
}

/// What the subscriber saw of a client's case.
fn seen_as_served(subscriber: &Value, client: &Value) -> Result<()> {
    let attention = client["attention"].as_str().context("attention")?;
    let kinds = subscriber["attentions"][attention].as_array();
    let kinds: Vec<&str> = kinds.context("a case it never saw")?.iter().filter_map(Value::as_str).collect();
    let offers = ["interaction_offered", "offer_withdrawn"];
    ensure!(kinds.contains(&"interaction_offered"), "it never rang: {kinds:?}");
    let others: Vec<&str> = kinds.iter().copied().filter(|kind| !offers.contains(kind)).collect();
    ensure!(others == SERVED, "{kinds:?}");
    Ok(())
}

async fn all(stack: &Embedded, folder: &Path) -> Result<()> {
    let bench = Workbench::prepare(folder).await?;
    let arguments = ["--nats", stack.nats()?, "--closed", "2"];
    let mut subscriber = bench.python("subscriber", folder, &arguments)?;
    subscriber.until("subscribed").await?;
    let ana = python_agent(stack, &bench).await.context("the Python agent")?;
    // It went away when the first case was closed, and comes back to what it left.
    subscriber.until("connected again").await?;
    let luis = web_desk(stack, &bench).await.context("the desk in Node")?;
    let saw = subscriber.evidence().await?;
    seen_as_served(&saw, &ana).context("the Python agent's case")?;
    seen_as_served(&saw, &luis).context("the case of the desk in Node")?;
    ensure!(saw["delivered_again"].as_u64() >= Some(1), "{saw}");
    by_buf(stack, &bench).await.context("buf curl")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_not_ours_do_all_of_it_by_the_contracts_alone() {
    let stack = Embedded::start().await.unwrap();
    all(&stack, stack.folder()).await.unwrap_or_else(|error| panic!("{error:?}"));
    stack.stop().await.unwrap();
}
