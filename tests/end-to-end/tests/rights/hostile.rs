//! Hostile file names and markup: what comes back, to the agent or as a link, carries none of it on.

use hilo_end_to_end::download;
use hilo_end_to_end::{Agent, Service};
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::inbound::v1::EmailAddress;

use crate::matrix::Matrix;
use crate::variants::HOSTILE;
use crate::world::fresh;

/// Markup that runs something in each of its parts.
const MARKUP: &str = "<p onclick=\"alert(1)\">Hola</p><script>alert(2)</script><img src=x onerror=alert(3)>\
                      <a href=\"javascript:alert(4)\">x</a><iframe src=\"https://x.example\"></iframe><svg onload=alert(5)>";
/// What none of it may leave behind.
const RUNS: [&str; 6] = ["onclick", "<script", "onerror", "javascript:", "<iframe", "onload"];

/// Names of files, in the answer and in the header of a download.
pub async fn file_names(matrix: &mut Matrix<'_>) {
    let world = matrix.world;
    let agent = world.installation.signed_in(&world.theirs.agent).unwrap();
    let mut client = agent.attention();
    let begin = attention::BeginUploadRequest {
        file_name: HOSTILE.to_owned(),
        media_type: "text/html\r\nset-cookie: a=b".to_owned(),
        size_bytes: 5,
        sha256: hilo_kit::objects::Digest256::of(b"12345").to_string(),
        request_id: fresh(),
    };
    let upload = client.begin_upload(begin).await.unwrap().into_inner().upload.unwrap();
    let harmless = |name: &str| !name.contains(['/', '\\']) && !name.chars().any(char::is_control);
    matrix.expect(harmless(&upload.file_name), || format!("an upload is called {:?}", upload.file_name));
    matrix.expect(upload.media_type == "application/octet-stream", || {
        format!("of type {:?}", upload.media_type)
    });
    let chunk = attention::PutChunkRequest {
        upload_id: upload.upload_id.clone(),
        offset: 0,
        content: b"12345".to_vec(),
    };
    client.put_chunk(chunk).await.unwrap();
    let finish = attention::FinishUploadRequest { upload_id: upload.upload_id.clone() };
    client.finish_upload(finish).await.unwrap();
    let attachment = attention::AttachmentRef {
        source: Some(Source::UploadId(upload.upload_id)),
        content_id: String::new(),
    };
    let link = attention::GetDownloadUrlRequest { attachment: Some(attachment), inline: true };
    let link = client.get_download_url(link).await.unwrap().into_inner().url;
    let endpoint = world.installation.endpoint(Service::AttentionState);
    let file = download::get(&endpoint, &link, "").await.unwrap();
    let safe = file.status == 200
        && file.head.contains("content-disposition: attachment;")
        && file.head.contains("x-content-type-options: nosniff")
        && !file.head.contains("\r\nbcc:")
        && !file.head.contains("\r\nset-cookie:");
    matrix.expect(safe, || format!("a download answers {}", file.head));
}

async fn shown(agent: &Agent, attention: &str) -> Vec<(&'static str, String)> {
    let messages = agent.messages(attention).await.unwrap();
    messages.into_iter().map(|message| ("ListMessages", message.html)).collect()
}

/// Markup of an agent, wherever it is handed out again.
pub async fn markup(matrix: &mut Matrix<'_>) {
    let world = matrix.world;
    let agent = world.installation.signed_in(&world.theirs.agent).unwrap();
    let mut client = agent.attention();
    let open = &world.theirs.open;
    let letter = attention::SendMessageRequest {
        interaction_id: open.interaction.clone(),
        request_id: fresh(),
        text: "Hola".into(),
        html: MARKUP.into(),
        ..Default::default()
    };
    let sent = client.send_message(letter).await.unwrap().into_inner().message.unwrap();
    let start = attention::StartAttentionRequest {
        campaign_key: world.theirs.key.clone(),
        request_id: fresh(),
        to: vec![EmailAddress { address: "marcas@cliente.example".into(), name: "<b>x</b>".into() }],
        subject: "<script>alert(6)</script>".into(),
        text: "Hola".into(),
        html: MARKUP.into(),
        ..Default::default()
    };
    let started = client.start_attention(start).await.unwrap().into_inner();
    let mut handed_out = vec![("SendMessage", sent.html), ("StartAttention", started.message.unwrap().html)];
    handed_out.extend(shown(&agent, &open.attention).await);
    handed_out.extend(shown(&agent, &started.attention_id).await);
    let opened = agent.open(&open.interaction).await.unwrap();
    handed_out.extend(opened.messages.into_iter().map(|message| ("OpenInteraction", message.html)));
    matrix.expect(handed_out.iter().any(|(_, html)| html.contains("Hola")), || {
        "no markup came back".to_owned()
    });
    for (by, html) in handed_out {
        let lower = html.to_lowercase();
        matrix.expect(!RUNS.iter().any(|word| lower.contains(word)), || format!("{by} hands out {html}"));
    }
}
