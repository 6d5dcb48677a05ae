//! What becomes of a message that was taken: sent, delivered, read, played, failed, told by webhook.
//!
//! Fields as in <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status>
//! and, for user ids, in the page on business-scoped user ids.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::StatusPlan;
use crate::customer::Customer;
use crate::errors::GraphError;
use crate::webhook::{Event, Item};
use crate::world::{Core, Sent, World};

/// The course a message takes after it was accepted.
#[derive(Clone, Debug)]
pub(crate) enum Course {
    /// As the behaviour says.
    Planned,
    /// No status ever.
    Silent,
    /// `failed` after so many milliseconds.
    Fails(GraphError, u64),
}

/// Lets a message take its course.
pub(crate) fn begin(core: &Arc<Core>, wamid: &str, course: Course) {
    let (plan, voice) = {
        let world = core.world.lock();
        let voice =
            world.sent.get(wamid).is_some_and(|sent| sent.body.pointer("/audio/voice") == Some(&json!(true)));
        (world.behaviour.statuses.clone(), voice)
    };
    let steps = match course {
        Course::Silent => return,
        Course::Fails(error, after) => vec![(after, "failed", Some(error))],
        Course::Planned => steps(&plan, voice),
    };
    core.outbox.expect(steps.len());
    let (inner, wamid) = (Arc::clone(core), wamid.to_owned());
    core.spawn(async move {
        let begun = Instant::now();
        for (after, status, error) in steps {
            tokio::time::sleep_until(begun + Duration::from_millis(after)).await;
            tell(&inner, &wamid, status, error.as_ref());
            inner.outbox.done(1);
        }
    });
}

fn steps(plan: &StatusPlan, voice: bool) -> Vec<(u64, &'static str, Option<GraphError>)> {
    let played = if voice { plan.played_ms } else { None };
    let all = [
        (plan.sent_ms, "sent"),
        (plan.delivered_ms, "delivered"),
        (plan.read_ms, "read"),
        (played, "played"),
    ];
    let mut steps: Vec<_> = all.into_iter().filter_map(|(after, name)| Some((after?, name, None))).collect();
    steps.sort_by_key(|(after, _, _)| *after);
    steps
}

/// Tells one status, if the customer's phone and wishes allow it. Gives whether it was told.
pub(crate) fn tell(core: &Core, wamid: &str, status: &str, error: Option<&GraphError>) -> bool {
    let event = {
        let mut world = core.world.lock();
        let now = world.now_ms();
        if !allowed(&mut world, wamid, status) {
            return false;
        }
        world.changes += 1;
        let Some(sent) = world.sent.get_mut(wamid) else { return false };
        if !sent.statuses.iter().any(|(known, _)| known == status) {
            sent.statuses.push((status.to_owned(), now));
        }
        let sent = sent.clone();
        let customer = world.customers.get(&sent.customer).cloned();
        event(&world, &sent, customer.as_ref(), status, now, error)
    };
    let Some((event, copies)) = event else { return false };
    for _ in 0..copies {
        core.outbox.push(event.clone());
    }
    true
}

fn allowed(world: &mut World, wamid: &str, status: &str) -> bool {
    let Some(sent) = world.sent.get_mut(wamid) else { return false };
    let Some(customer) = world.customers.get(&sent.customer) else { return status == "failed" };
    match status {
        "delivered" | "read" | "played" if customer.blocks => false,
        "delivered" | "read" | "played" if customer.offline => {
            sent.awaits_phone = true;
            false
        }
        "read" | "played" => !customer.hides_reading,
        _ => true,
    }
}

fn event(
    world: &World,
    sent: &Sent,
    customer: Option<&Customer>,
    status: &str,
    now: i64,
    error: Option<&GraphError>,
) -> Option<(Event, usize)> {
    let number = world.number(&sent.number)?;
    let contact = customer
        .filter(|_| status != "failed")
        .map(|customer| customer.contact(status != "sent", sent.to_phone.is_some()));
    let event = Event {
        app: number.app.clone(),
        account: number.business_account_id.clone(),
        metadata: json!({
            "display_phone_number": number.display_phone_number,
            "phone_number_id": number.phone_number_id,
        }),
        field: "messages".to_owned(),
        contact,
        item: Item::Status(object(sent, customer, status, now, error)),
        time: None,
        label: format!("{}:{status}", sent.wamid),
    };
    Some((event, world.behaviour.statuses.copies.max(1)))
}

fn object(
    sent: &Sent,
    customer: Option<&Customer>,
    status: &str,
    now: i64,
    error: Option<&GraphError>,
) -> Value {
    let mut fields = vec![
        ("id", json!(sent.wamid)),
        ("status", json!(status)),
        ("timestamp", json!((now / 1_000).to_string())),
    ];
    let shown = customer.filter(|customer| !customer.hides_phone).map(|customer| customer.wa_id().to_owned());
    if let Some(digits) = sent.to_phone.clone().or(shown) {
        fields.push(("recipient_id", json!(digits)));
    }
    if let Some(customer) = customer
        && (status != "failed" || sent.to_phone.is_none())
    {
        fields.push(("recipient_user_id", json!(customer.user_id)));
        if let Some(parent) = &customer.parent_user_id {
            fields.push(("recipient_parent_user_id", json!(parent)));
        }
    }
    if let Some(opaque) = &sent.opaque {
        fields.push(("biz_opaque_callback_data", json!(opaque)));
    }
    if status == "sent" || status == "delivered" {
        let free = sent.category == "service";
        let of = if free { "free_customer_service" } else { "regular" };
        let pricing =
            json!({"billable": !free, "pricing_model": "PMP", "type": of, "category": sent.category});
        fields.push(("pricing", pricing));
    }
    if let Some(error) = error {
        fields.push(("errors", json!([error.in_status()])));
    }
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
