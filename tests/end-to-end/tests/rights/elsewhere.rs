//! The other ways out of the house: gRPC-web, signed links, the public event stream, the logs.

use hilo_end_to_end::download;
use hilo_end_to_end::{Installation, Service};
use hilo_proto::attention::v1 as attention;
use hilo_proto::history::v1 as history;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::matrix::Matrix;
use crate::requests::{ENDLESS, body, hosts};
use crate::table;
use crate::wire::{PATIENCE, holds};
use crate::world::{OURS, Seeds, THEIRS, World};

/// Every RPC by gRPC-web over HTTP/1.1, as a browser calls it: the same answers to a stranger and to nobody.
pub async fn grpc_web(matrix: &mut Matrix<'_>) {
    let user = format!("agente-{}", OURS[0]);
    for method in table::methods().keys() {
        let host = hosts(method)[0];
        for token in [None, Some(())] {
            // A stream would not end, and failed sign-ins are counted.
            let skipped = token.is_some() && ENDLESS.contains(&method.as_str());
            if skipped || method.ends_with("/Login") {
                continue;
            }
            let token = token.map(|()| matrix.world.token(&user));
            let request = body(method, &matrix.world.theirs).unwrap();
            let answer =
                web(&matrix.world.installation.endpoint(host), method, token.as_deref(), &request).await;
            let token = token.map(|_| matrix.world.token(&user));
            let direct = matrix.ask(host, method, token.as_deref(), request).await;
            let status = format!("grpc-status:{}", direct.code as i32);
            let text = String::from_utf8_lossy(&answer).replace(": ", ":");
            let said = text
                .split_once(&status)
                .is_some_and(|(_, rest)| !rest.starts_with(|c: char| c.is_ascii_digit()));
            matrix.expect(said && !holds(&answer, &THEIRS), || {
                format!("{method} by gRPC-web: {text:?} instead of {}", direct.brief())
            });
        }
    }
}

async fn web(endpoint: &str, method: &str, token: Option<&str>, message: &[u8]) -> Vec<u8> {
    let address = endpoint.trim_start_matches("http://");
    let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let length = u32::try_from(message.len()).unwrap();
    let head = format!(
        "POST /{method} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n",
        length + 5
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0]).await.unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(message).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    answer
}

/// The link of an attachment, live and in the history.
async fn links(world: &World, of: &Seeds) -> Vec<String> {
    let token = world.token(&of.agent);
    let mut links = Vec::new();
    for method in
        ["hilo.attention.v1.AttentionService/GetDownloadUrl", "hilo.history.v1.HistoryService/GetDownloadUrl"]
    {
        let host = hosts(method)[0];
        let request = body(method, of).unwrap();
        let answer =
            crate::wire::call(&world.channel(host), &format!("/{method}"), Some(&token), request, false)
                .await;
        let url = match host {
            Service::History => {
                history::GetDownloadUrlResponse::decode(answer.messages[0].as_slice()).unwrap().url
            }
            _ => attention::GetDownloadUrlResponse::decode(answer.messages[0].as_slice()).unwrap().url,
        };
        links.push(url);
    }
    links
}

fn digest(link: &str) -> &str {
    link.trim_start_matches('/').split('/').nth(2).unwrap()
}

/// A link gives its own file and nothing else.
pub async fn downloads(matrix: &mut Matrix<'_>) {
    let world = matrix.world;
    let endpoint = world.installation.endpoint(Service::AttentionState);
    let (ours, theirs) = (links(world, &world.ours).await, links(world, &world.theirs).await);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let answer = download::get(&endpoint, theirs, "").await.unwrap();
        matrix.expect(answer.status == 200 && holds(&answer.body, &THEIRS), || {
            format!("{theirs}: {}", answer.head)
        });
        let wrong = [
            ours.replace(digest(ours), digest(theirs)),
            theirs.replace("sig=", "sig=A"),
            theirs.split("&sig=").next().unwrap().to_owned(),
            theirs.split('?').next().unwrap().to_owned(),
            theirs.replace(".txt", ".html"),
            theirs.replace("show=attachment", "show=inline"),
            format!(
                "/files/v1/{}/x?type=text%2Fplain&show=attachment&until=99999999999&sig=",
                digest(theirs)
            ),
            "/files/v1/../../etc/passwd".to_owned(),
        ];
        for link in wrong {
            let answer = download::get(&endpoint, &link, "").await.unwrap();
            let refused = matches!(answer.status, 400..=404);
            matrix.expect(refused && !holds(&answer.body, &THEIRS), || format!("{link}: {}", answer.head));
        }
    }
}

/// Public events say what happened and to which id; nothing that a customer or an agent wrote, and in a campaign's
/// subjects nothing of another campaign.
pub async fn events(matrix: &mut Matrix<'_>) {
    let world = matrix.world;
    let client = async_nats::connect(world.installation.nats_url()).await.unwrap();
    let prefix = world.installation.prefix();
    let stream =
        async_nats::jetstream::new(client).get_stream(format!("{}_EVENTS", prefix.to_uppercase())).await;
    let stream = stream.unwrap();
    let state = stream.cached_info().state.clone();
    let mut of_ours = 0;
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(event) = stream.get_raw_message(sequence).await else { continue };
        let all = [format!("{} {:?} ", event.subject, event.headers).as_bytes(), &event.payload].concat();
        let shown = || String::from_utf8_lossy(&all).into_owned();
        matrix.expect(!holds(&all, &[OURS[1], THEIRS[1], "cliente.example"]), || {
            format!("an event says: {}", shown())
        });
        if event.subject.starts_with(&format!("{prefix}.attention.v1.{}.", OURS[0])) {
            of_ours += 1;
            matrix.expect(!holds(&all, &THEIRS), || format!("an event of another campaign: {}", shown()));
        }
    }
    matrix.expect(of_ours > 10, || format!("only {of_ours} events"));
}

/// No service writes down what people wrote.
pub fn logs(matrix: &mut Matrix<'_>) {
    let folder = Installation::folder(&matrix.world.installation);
    for service in Service::ALL {
        let log = std::fs::read(folder.join(format!("{}.log", service.name()))).unwrap();
        let lines = log.split(|byte| *byte == b'\n').filter(|line| holds(line, &[OURS[1], THEIRS[1]]));
        let told: Vec<String> =
            lines.map(|line| String::from_utf8_lossy(line).into_owned()).take(3).collect();
        matrix.expect(told.is_empty() && !log.is_empty(), || format!("{} logged {told:?}", service.name()));
    }
}
