//! A body taken apart, and everything in it given to the account it is for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::accounts::Numbers;
use crate::domain::webhook::{self, Find, What};
use crate::store::{Claimed, ItemAt, Parsed, StrayAt, Waits};

/// Numbers kept of what cannot be handed over for one reason; by one that is left out it is not found again. Meta puts at most a
/// thousand updates into a webhook.
const NUMBERS: usize = 1_000;

/// Takes a body apart and gives everything its account; `None` when it is no webhook. What only a newer directory can place is
/// left out and waits while the body is younger than `patience`.
pub(super) fn take_apart(claimed: Claimed, numbers: &Numbers, patience: Duration) -> Option<Parsed> {
    let finds = webhook::read(&claimed.body, claimed.received_at)?;
    let mut parsed = Parsed::of(&claimed);
    let young = claimed.age < patience;
    let mut strays: BTreeMap<&'static str, StrayAt<'static>> = BTreeMap::new();
    for find in finds {
        let (place, number) = (find.place.clone(), find.phone_number_id.clone());
        let Err(reason) = assign(&mut parsed, find, numbers, &claimed.signed_by) else { continue };
        if young && may_be_behind(reason) {
            let until = patience.saturating_sub(claimed.age);
            parsed.waits = Some(Waits { directory_version: numbers.version(), at_most: until });
            continue;
        }
        let stray = strays.entry(reason).or_insert(StrayAt { reason, place, count: 0, numbers: Vec::new() });
        stray.count += 1;
        if stray.numbers.len() < NUMBERS && !number.is_empty() && !stray.numbers.contains(&number) {
            stray.numbers.push(number);
        }
    }
    parsed.strays = strays.into_values().collect();
    Some(parsed)
}

/// Reasons that a newer directory may do away with.
pub(super) const MAY_BE_BEHIND: [&str; 3] = ["UNKNOWN_NUMBER", "OTHER_APP", "NUMBER_SWITCHED_OFF"];

pub(super) fn may_be_behind(reason: &str) -> bool {
    MAY_BE_BEHIND.contains(&reason)
}

/// The account that a body with these signatures may speak to under this number.
///
/// # Errors
/// One of [`MAY_BE_BEHIND`].
pub(super) fn account<'a>(
    numbers: &'a Numbers,
    phone_number_id: &str,
    signed_by: &[String],
) -> Result<&'a str, &'static str> {
    let number = numbers.by_phone_number_id(phone_number_id).ok_or("UNKNOWN_NUMBER")?;
    // An app speaks for its own numbers, whoever else's it names.
    if !signed_by.contains(&number.app_secret) {
        return Err("OTHER_APP");
    }
    if number.active { Ok(&number.key) } else { Err("NUMBER_SWITCHED_OFF") }
}

/// Puts a find where it belongs.
///
/// # Errors
/// The reason why it belongs nowhere.
fn assign(
    parsed: &mut Parsed,
    find: Find,
    numbers: &Numbers,
    signed_by: &[String],
) -> Result<(), &'static str> {
    let Find { place, phone_number_id, what } = find;
    let account = || account(numbers, &phone_number_id, signed_by).map(str::to_owned);
    match what {
        What::Item(item) => {
            let account_key = account()?;
            parsed.items.push(ItemAt { account_key, phone_number_id, place, item: *item });
        }
        What::Status(status) => {
            let key = match account() {
                // What was sent while the number was on may still be read.
                Err("NUMBER_SWITCHED_OFF") => {
                    numbers.by_phone_number_id(&phone_number_id).map(|number| number.key.clone())
                }
                other => Some(other?),
            };
            parsed.statuses.extend(key.map(|key| (key, status)));
        }
        What::Notice(notice) => parsed.notices.push((place, notice)),
        What::Stray(reason) => return Err(reason),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hilo_kit::ids::Uuid;
    use hilo_proto::directory::v1::{Account, WhatsAppSettings};
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;

    fn numbers(version: i64, known: &[(&str, bool)]) -> Numbers {
        let account = |(id, active): &(&str, bool)| Account {
            key: format!("key-{id}"),
            channel: "whatsapp".into(),
            active: *active,
            whatsapp: Some(WhatsAppSettings {
                phone_number_id: (*id).into(),
                app_secret_secret: "app".into(),
                ..WhatsAppSettings::default()
            }),
            ..Account::default()
        };
        Numbers::new(version, &known.iter().map(account).collect::<Vec<_>>())
    }

    fn claimed(age: u64) -> Claimed {
        let change = |number: &str, wamid: &str| {
            json!({"field": "messages", "value": {"metadata": {"phone_number_id": number}, "messages": [
                {"from": "51987654321", "id": wamid, "timestamp": "1", "type": "text", "text": {"body": "x"}}]}})
        };
        let changes = [change("1", "a"), change("2", "b"), change("3", "c"), change("2", "d"), json!(7)];
        Claimed {
            id: Uuid::now_v7(),
            attempts: 0,
            alone: false,
            body: json!({"entry": [{"id": "9", "changes": changes}]}).to_string().into_bytes(),
            signed_by: vec!["app".into()],
            traceparent: None,
            received_at: OffsetDateTime::UNIX_EPOCH,
            age: Duration::from_secs(age),
        }
    }

    #[test]
    fn what_a_newer_directory_may_place_waits_and_holds_up_nothing_else() {
        let known = numbers(7, &[("1", true), ("3", false)]);
        let young = take_apart(claimed(20), &known, Duration::from_secs(60)).unwrap();
        assert_eq!(young.items.iter().map(|at| &*at.item.content.wamid).collect::<Vec<_>>(), ["a"]);
        assert_eq!(young.waits, Some(Waits { directory_version: 7, at_most: Duration::from_secs(40) }));
        assert_eq!(young.strays.iter().map(|one| one.reason).collect::<Vec<_>>(), ["CHANGE_UNREADABLE"]);
        let old = take_apart(claimed(60), &known, Duration::from_secs(60)).unwrap();
        assert_eq!((old.items.len(), old.waits), (1, None));
        let of = |reason: &str| old.strays.iter().find(|one| one.reason == reason).unwrap().clone();
        assert_eq!((of("UNKNOWN_NUMBER").count, of("UNKNOWN_NUMBER").numbers), (2, vec!["2".to_owned()]));
        assert_eq!(of("NUMBER_SWITCHED_OFF").numbers, ["3"]);
        let all = numbers(8, &[("1", true), ("2", true), ("3", true)]);
        let whole = take_apart(claimed(20), &all, Duration::from_secs(60)).unwrap();
        assert_eq!((whole.items.len(), whole.waits), (4, None));
    }
}
