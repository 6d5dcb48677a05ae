//! Mails that begin an interaction while its campaign is closed: marked, and noted for an automatic reply when a person
//! with a proved address wrote.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::DmarcResult;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::mail::Mail;
use super::{Known, Work, Written};
use crate::attention::domain::{AttentionId, CampaignKey, MailClass};
use crate::directory;

/// A reply that may be sent.
#[derive(Clone, Debug)]
pub(in crate::intake) struct Due {
    pub attention: Uuid,
    pub interaction: Uuid,
    /// Whom it goes to, normalised.
    pub address: String,
}

/// Reads the hours of every campaign the batch may begin an interaction in.
pub(super) async fn read(tx: &mut PgConnection, known: &mut Known, work: &Work) -> Result<(), Error> {
    let fed = known.campaigns.values().flatten().cloned();
    let held = known.threads.keys().filter_map(|id| work.state(*id, None)).map(|state| state.campaign);
    let open = known.lineages.values().filter_map(|lineage| lineage.open);
    let open = open.filter_map(|id| work.state(id, None)).map(|state| state.campaign);
    let keys: BTreeSet<String> = fed.chain(held).chain(open).map(|key| key.to_string()).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let found = directory::closings(tx, &keys).await?;
    known.closings = found.into_iter().map(|(key, closing)| (CampaignKey::new(&key), closing)).collect();
    Ok(())
}

/// Marks the interaction when this mail began it out of hours.
pub(super) fn mark(
    work: &mut Work,
    known: &Known,
    written: &mut Written,
    mail: &Mail,
    attention: AttentionId,
    verified: bool,
) {
    let Some(interaction) = work.state(attention, None).and_then(|state| state.interaction) else { return };
    let begun = interaction.message_count == 1 && interaction.version == 1;
    let closing = known.closings.get(&interaction.campaign);
    let Some(closing) = closing.filter(|closing| begun && !closing.is_open(mail.received_at)) else { return };
    work.mark_out_of_hours(interaction.id);
    written.out_of_hours.push(interaction.id.uuid());
    if closing.replies() && may_be_answered(mail, verified) {
        written.due.push(Due {
            attention: attention.uuid(),
            interaction: interaction.id.uuid(),
            address: mail.from.clone(),
        });
    }
}

/// Whether a machine of ours may answer at all (RFC 3834 section 2, RFC 5230 section 4.2): a person wrote, he has proved
/// his address or the account's switch stands for that, and nothing says that nobody reads there.
fn may_be_answered(mail: &Mail, verified: bool) -> bool {
    let human = match mail.class {
        MailClass::Human => true,
        MailClass::AutoReply
        | MailClass::DeliveryReport
        | MailClass::Complaint
        | MailClass::Bulk
        | MailClass::OwnLoop => false,
    };
    let proved = verified && (mail.dmarc == DmarcResult::Pass || mail.unauthenticated_accepted);
    human && proved && !mail.null_sender && !mail.from.is_empty() && !nobody_reads(&mail.from)
}

/// Local parts that machines write from (RFC 3834 section 2, RFC 2142, and habit).
fn nobody_reads(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default();
    let exact =
        ["mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply", "bounce"];
    exact.contains(&local)
        || local.starts_with("owner-")
        || local.ends_with("-request")
        || local.starts_with("noreply")
        || local.starts_with("no-reply")
        || local.starts_with("bounce")
}

/// Writes marks and notes; an attention that has a note already keeps it.
pub(in crate::intake) async fn write(
    tx: &mut PgConnection,
    marked: &[Uuid],
    due: &[Due],
) -> Result<(), Error> {
    if marked.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE attention.interaction SET out_of_hours = true WHERE interaction_id = ANY($1)",
        marked
    )
    .execute(&mut *tx)
    .await?;
    let attentions: Vec<Uuid> = due.iter().map(|one| one.attention).collect();
    let interactions: Vec<Uuid> = due.iter().map(|one| one.interaction).collect();
    let addresses: Vec<String> = due.iter().map(|one| one.address.clone()).collect();
    sqlx::query!(
        "INSERT INTO attention.automatic_reply (attention_id, interaction_id, address)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) ON CONFLICT (attention_id) DO NOTHING",
        &attentions,
        &interactions,
        &addresses
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_names_are_known() {
        for machine in [
            "mailer-daemon@x.pe",
            "postmaster@x.pe",
            "no-reply@x.pe",
            "noreply+7@x.pe",
            "owner-lista@x.pe",
            "lista-request@x.pe",
            "bounces+1@x.pe",
        ] {
            assert!(nobody_reads(machine), "{machine}");
        }
        for person in ["eva@x.pe", "owner@x.pe", "requests@x.pe", "post@x.pe"] {
            assert!(!nobody_reads(person), "{person}");
        }
    }
}
