//! Page tokens where they do not belong: of another call, of another caller, made up. And request ids used twice.

use hilo_proto::attention::v1::{AddNoteRequest, AddNoteResponse};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tonic::Code;

use crate::bad::{caller, is_clear};
use crate::matrix::Matrix;
use crate::requests::{body, hosts};
use crate::table;
use crate::world::{OURS, THEIRS, fresh};

/// The request with this page size and token; `None` when it has no pages. A report has them one message deeper.
fn paged(descriptor: &MessageDescriptor, right: &[u8], size: i32, token: &str) -> Option<Vec<u8>> {
    let mut message = DynamicMessage::decode(descriptor.clone(), right).ok()?;
    let set = |message: &mut DynamicMessage| {
        message.try_set_field_by_name("page_size", Value::I32(size)).ok()?;
        message.try_set_field_by_name("page_token", Value::String(token.to_owned())).ok()
    };
    if set(&mut message).is_none() {
        let field = descriptor.get_field_by_name("query")?;
        let Value::Message(mut query) = message.get_field(&field).into_owned() else { return None };
        set(&mut query)?;
        message.set_field(&field, Value::Message(query));
    }
    Some(message.encode_to_vec())
}

/// Tokens that calls gave out, and some that none did.
async fn collected(matrix: &mut Matrix<'_>) -> Vec<(String, String)> {
    let mut tokens: Vec<(String, String)> =
        ["0", "-1", "9223372036854775807", "a.b", "AAAA", "q.1.x", "1.1.1", "ñ", "=", "1.\u{0}"]
            .into_iter()
            .map(|token| ("nobody".to_owned(), token.to_owned()))
            .collect();
    let table = table::read();
    for (name, method) in table::methods() {
        let right = body(&name, &matrix.world.theirs).unwrap();
        let Some(request) = paged(&method.input(), &right, 1, "") else { continue };
        let token = caller(matrix.world, &table[&name]);
        let answer = matrix.ask(hosts(&name)[0], &name, Some(&token), request).await;
        let Some(message) = answer.messages.first() else { continue };
        let page = DynamicMessage::decode(method.output(), message.as_slice()).unwrap();
        let next =
            page.get_field_by_name("next_page_token").and_then(|next| next.as_str().map(str::to_owned));
        tokens.extend(next.filter(|next| !next.is_empty()).map(|next| (name, next)));
    }
    tokens
}

/// Every token in every call that has pages, by who may and by a stranger.
pub async fn tokens_of_others(matrix: &mut Matrix<'_>) {
    let tokens = collected(matrix).await;
    let given = tokens.iter().filter(|(of, _)| of != "nobody").count();
    matrix.expect(given >= 4, || format!("only {given} calls gave out tokens"));
    let table = table::read();
    for (name, method) in table::methods() {
        let right = body(&name, &matrix.world.theirs).unwrap();
        for (of, token) in &tokens {
            let Some(request) = paged(&method.input(), &right, 1, token) else { break };
            let own = caller(matrix.world, &table[&name]);
            let answer = matrix.ask(hosts(&name)[0], &name, Some(&own), request.clone()).await;
            matrix.expect(is_clear(&answer), || format!("{name} with the token of {of}: {}", answer.brief()));
            let stranger = matrix.world.token(&format!("agente-{}", OURS[0]));
            let answer = matrix.ask(hosts(&name)[0], &name, Some(&stranger), request).await;
            matrix.expect(is_clear(&answer) && !answer.says(&THEIRS), || {
                format!("{name} by a stranger with the token of {of}: {}", answer.brief())
            });
        }
    }
}

/// The same request gets the same answer, another one under its id is refused, and another caller's id is his own.
pub async fn request_ids_used_twice(matrix: &mut Matrix<'_>) {
    let method = "hilo.attention.v1.AttentionService/AddNote";
    let host = hosts(method)[0];
    let request_id = fresh();
    let note = |interaction_id: &str, text: &str| {
        let (interaction_id, request_id) = (interaction_id.to_owned(), request_id.clone());
        AddNoteRequest { interaction_id, request_id, text: text.to_owned() }.encode_to_vec()
    };
    let world = matrix.world;
    let (own, other) = (world.token(&world.theirs.agent), world.token(&world.ours.agent));
    let open = &world.theirs.open.interaction;
    let first = matrix.ask(host, method, Some(&own), note(open, "Una vez")).await;
    let again = matrix.ask(host, method, Some(&own), note(open, "Una vez")).await;
    matrix.expect(first.code == Code::Ok && first == again, || {
        format!("{} then {}", first.brief(), again.brief())
    });
    let changed = matrix.ask(host, method, Some(&own), note(open, "Otra cosa")).await;
    matrix.expect(changed.reason == "REQUEST_ID_REUSED", || changed.brief());
    let foreign = matrix.ask(host, method, Some(&other), note(open, "Una vez")).await;
    matrix.expect(foreign.code == Code::NotFound && !foreign.says(&THEIRS), || foreign.brief());
    let theirs = matrix.ask(host, method, Some(&other), note(&world.ours.open.interaction, "Una vez")).await;
    let written =
        theirs.messages.first().and_then(|message| AddNoteResponse::decode(message.as_slice()).ok());
    let author = written.and_then(|written| written.note).map(|note| note.agent_key);
    matrix.expect(author.as_deref() == Some(world.ours.agent.as_str()), || theirs.brief());
}
