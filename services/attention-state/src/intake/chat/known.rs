//! What a batch reads before it decides, in few statements however long it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hilo_kit::error::Error;
use hilo_kit::ids;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Item, Sort};
use crate::attention::domain::{AttentionId, CampaignKey, ContactId, Phase};
use crate::attention::store;
use crate::attention::store::chat::{self, StoredItem, Target, Waiting};
use crate::attention::store::message::Key;
use crate::attention::store::window;
use crate::attention::threads::{self, Lineage, LiveChat};
use crate::attention::work::Work;
use crate::contact::lock_number;
use crate::contact::whatsapp::{self as customers, identities};
use crate::dialer::{self, Sent, Unanswered};
use crate::directory;

/// What an account feeds.
#[derive(Clone, Debug)]
pub(super) enum Feeds {
    /// A campaign of the channel.
    Campaign(CampaignKey),
    /// A campaign of another channel: the envelope is not what it says.
    OtherChannel,
    /// Nothing.
    Nothing,
}

/// What is known of a batch.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub contacts: customers::Known,
    pub campaigns: HashMap<String, Feeds>,
    pub lineages: BTreeMap<Uuid, Lineage>,
    /// Live conversations of the customers, also those that we began.
    pub live: Vec<LiveChat>,
    /// What dialers sent to customers whose answers are waited for, by attention.
    pub dialled: HashMap<AttentionId, Sent>,
    /// What customers did not answer in time.
    pub unanswered: Vec<Unanswered>,
    pub targets: HashMap<Vec<u8>, Target>,
    pub waiting: HashMap<Vec<u8>, Vec<Waiting>>,
    /// Items that are altered, by message.
    pub stored: HashMap<Uuid, StoredItem>,
    /// Hours of the campaigns that have some.
    pub closings: HashMap<CampaignKey, directory::Closing>,
    /// Until when which customers may be written to freely, by account and id, whatever attention they wrote in.
    windows: HashMap<window::Named, (ContactId, OffsetDateTime)>,
    /// Ledger ids that were taken under another delivery.
    taken: HashSet<Uuid>,
}

/// Locks the keys of the batch and reads what they lead to.
///
/// # Errors
/// Database errors; `LOCK_TIMEOUT`.
pub(super) async fn read(tx: &mut PgConnection, items: &[Item]) -> Result<Known, Error> {
    lock_keys(tx, items).await?;
    let named: Vec<_> = items.iter().flat_map(|item| identities(&item.customer)).collect();
    let replacing = items.iter().filter_map(Item::new_identity).flat_map(|one| identities(&one));
    let named: Vec<_> = named.into_iter().chain(replacing).collect();
    let contacts = customers::known(tx, &named).await?;
    let who = contacts.all();
    let accounts: BTreeSet<String> = items.iter().map(|item| item.account.clone()).collect();
    let live = threads::live_chats(tx, &accounts.into_iter().collect::<Vec<_>>(), &who).await?;
    let lineages: BTreeSet<Uuid> =
        items.iter().flat_map(|item| lineages_of(item, &contacts, &live)).collect();
    let lineages: Vec<Uuid> = lineages.into_iter().collect();
    let keys: BTreeSet<Vec<u8>> = items.iter().flat_map(Item::keys).map(|key| key.bytes()).collect();
    let own: Vec<Vec<u8>> = items.iter().map(|item| item.own.bytes()).collect();
    let ledgers: Vec<Uuid> = items.iter().map(|item| item.ledger).collect();
    let mut taken: HashSet<Uuid> = chat::known_alterations(tx, &ledgers).await?.into_iter().collect();
    taken.extend(store::message::known_externals(tx, &ledgers).await?);
    Ok(Known {
        contacts,
        live,
        unanswered: dialer::unanswered(tx, &who).await?,
        campaigns: campaigns(tx, items).await?,
        lineages: threads::lineages(tx, &lineages).await?,
        targets: chat::targets(tx, &keys.into_iter().collect::<Vec<_>>()).await?,
        waiting: chat::waiting(tx, &own).await?,
        taken,
        ..Known::default()
    })
}

/// The conversations an item may go on with. A number that passed to another person has the same conversation in the channel's
/// ledger at first, so a second one is named after the contact. What we began ourselves is found by the contact.
fn lineages_of(item: &Item, contacts: &customers::Known, live: &[LiveChat]) -> Vec<Uuid> {
    let contact = contacts.find(&item.customer);
    let his = |one: &&LiveChat| contact.is_some_and(|who| one.takes(&item.account, who, &item.customer));
    std::iter::once(item.conversation)
        .chain(contact.map(|one| derived(item.conversation, one)))
        .chain(live.iter().filter(his).map(|one| one.lineage))
        .collect()
}

/// The conversation of another contact under the same key.
pub(super) fn derived(conversation: Uuid, contact: ContactId) -> Uuid {
    ids::derived("hilo.conversation", [conversation.as_bytes().as_slice(), contact.uuid().as_bytes()])
}

/// Locks every identity and wamid that the items have or refer to, in one order for all transactions.
async fn lock_keys(tx: &mut PgConnection, items: &[Item]) -> Result<(), Error> {
    let mut numbers = BTreeSet::new();
    for item in items {
        let replacing = item.new_identity();
        for who in std::iter::once(&item.customer).chain(&replacing) {
            for one in identities(who) {
                numbers.insert(lock_number(one.kind.word().as_bytes(), one.value.as_bytes()));
            }
        }
        numbers.insert(lock_number(b"conversation", item.conversation.as_bytes()));
        numbers.extend(item.keys().map(|key| lock_number(b"wamid", &key.bytes())));
    }
    super::super::plan::lock_numbers(tx, numbers).await
}

/// What accounts feed.
async fn campaigns(tx: &mut PgConnection, items: &[Item]) -> Result<HashMap<String, Feeds>, Error> {
    let mut found = HashMap::new();
    for item in items {
        if !found.contains_key(&item.account) {
            let feeds = match directory::campaign_for_account(tx, &item.account).await? {
                None => Feeds::Nothing,
                Some(campaign) if campaign.channel.as_str() == "whatsapp" => {
                    Feeds::Campaign(CampaignKey::new(campaign.key.as_str()))
                }
                Some(_) => Feeds::OtherChannel,
            };
            found.insert(item.account.clone(), feeds);
        }
    }
    Ok(found)
}

impl Known {
    /// Attentions the batch may change.
    pub(super) fn attentions(&self, items: &[Item]) -> Vec<Uuid> {
        let open = self.lineages.values().filter_map(|lineage| lineage.open);
        let altered = items.iter().filter_map(Item::target).filter_map(|key| self.targets.get(&key.bytes()));
        let all: BTreeSet<Uuid> =
            open.chain(altered.map(|target| target.attention)).map(|id| id.uuid()).collect();
        all.into_iter().collect()
    }

    /// Reads what must be read under the attentions' locks.
    ///
    /// # Errors
    /// Database errors.
    pub(super) async fn read_locked(
        &mut self,
        tx: &mut PgConnection,
        work: &Work,
        items: &[Item],
    ) -> Result<(), Error> {
        let altered = items.iter().filter_map(Item::target).filter_map(|key| self.targets.get(&key.bytes()));
        let altered: BTreeSet<Uuid> = altered.map(|target| target.message).collect();
        if !altered.is_empty() {
            let altered: Vec<Uuid> = altered.into_iter().collect();
            self.stored =
                chat::items(tx, &altered).await?.into_iter().map(|one| (one.message, one)).collect();
        }
        let fed = self.campaigns.values().filter_map(|feeds| match feeds {
            Feeds::Campaign(key) => Some(key.clone()),
            Feeds::OtherChannel | Feeds::Nothing => None,
        });
        let open = self.lineages.values().filter_map(|lineage| lineage.open);
        let held = open.filter_map(|id| work.state(id, None)).map(|state| state.campaign);
        let keys: BTreeSet<String> = fed.chain(held).map(|key| key.to_string()).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let found = directory::closings(tx, &keys).await?;
        self.closings = found.into_iter().map(|(key, closing)| (CampaignKey::new(&key), closing)).collect();
        self.read_dialled(tx, work).await
    }

    /// What was sent in the attentions that wait for an answer, and what customers have done to it already.
    async fn read_dialled(&mut self, tx: &mut PgConnection, work: &Work) -> Result<(), Error> {
        let waits =
            |id: &AttentionId| work.state(*id, None).is_some_and(|state| state.phase == Phase::Waiting);
        let waiting: Vec<Uuid> = self
            .lineages
            .values()
            .filter_map(|lineage| lineage.open)
            .filter(waits)
            .map(AttentionId::uuid)
            .collect();
        let rows = dialer::waiting_rows(tx, &waiting).await?;
        let keys: Vec<Vec<u8>> = rows
            .iter()
            .filter_map(|row| Key::wamid(&row.account, &row.wamid))
            .map(|key| key.bytes())
            .collect();
        if !keys.is_empty() {
            self.waiting.extend(chat::waiting(tx, &keys).await?);
        }
        self.dialled = rows.into_iter().map(|row| (row.attention, row)).collect();
        Ok(())
    }

    /// Conversations that an item may go on with.
    fn lineages_of(&self, item: &Item) -> Vec<Uuid> {
        lineages_of(item, &self.contacts, &self.live)
    }

    /// Notes the windows of those who wrote; `contacts` has them by ledger id, items that are taken now only.
    ///
    /// # Errors
    /// Database errors.
    pub(super) async fn note_windows(
        &mut self,
        tx: &mut PgConnection,
        items: &[Item],
        contacts: &HashMap<Uuid, ContactId>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let mut wrote: BTreeMap<window::Named, (ContactId, OffsetDateTime)> = BTreeMap::new();
        for item in items.iter().filter(|item| item.sort == Sort::Said && item.window_ends_at() > now) {
            let Some(contact) = contacts.get(&item.ledger).copied() else { continue };
            for named in item.names() {
                let ends_at = item.window_ends_at();
                let known = wrote.entry(named).or_insert((contact, ends_at));
                if known.1 < ends_at {
                    *known = (contact, ends_at);
                }
            }
        }
        self.windows = window::note(tx, &wrote).await?;
        Ok(())
    }

    /// Until when this customer may be written to freely: he may have written later, in a conversation that ended before this item came.
    /// What the one wrote who has his number by now is not his.
    pub(super) fn window_ends_at(&self, item: &Item, contact: ContactId) -> OffsetDateTime {
        let known = item.names().into_iter().filter_map(|named| self.windows.get(&named).copied());
        let his = known.filter(|(whose, _)| *whose == contact).map(|(_, ends_at)| ends_at);
        his.chain([item.window_ends_at()]).max().unwrap_or_else(|| item.window_ends_at())
    }

    /// What this customer did not answer in time, once.
    pub(super) fn take_unanswered(&mut self, item: &Item, contact: ContactId) -> Option<Unanswered> {
        let at = self.unanswered.iter().position(|one| {
            one.account == item.account
                && one.contact == contact
                && customers::meets(&item.customer, one.reached_at.as_deref())
        })?;
        Some(self.unanswered.remove(at))
    }

    /// True when it was taken in before: by its ledger id, or as a message with the same wamid.
    pub(super) fn taken_before(&self, item: &Item) -> bool {
        let again = match item.sort {
            Sort::Said | Sort::Notice => self.targets.contains_key(&item.own.bytes()),
            Sort::Alters { .. } | Sort::Prefers { .. } => false,
        };
        again || self.taken.contains(&item.ledger)
    }

    /// True when another transaction holds an attention that the item may change.
    pub(super) fn is_busy(&self, work: &Work, item: &Item) -> bool {
        let wanted: Vec<AttentionId> = match &item.sort {
            Sort::Said | Sort::Notice => {
                let lineages = self.lineages_of(item);
                lineages.iter().filter_map(|id| self.lineages.get(id)?.open).collect()
            }
            Sort::Alters { target, .. } => {
                self.targets.get(&target.bytes()).map(|target| target.attention).into_iter().collect()
            }
            Sort::Prefers { .. } => Vec::new(),
        };
        wanted.into_iter().any(|id| !work.holds(id))
    }
}

impl Item {
    /// Keys that it has or refers to.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let context = self.whatsapp.context.as_ref();
        let context = context.and_then(|context| Key::wamid(&self.account, &context.wamid));
        [Some(self.own.clone()), self.target().cloned(), context].into_iter().flatten()
    }

    /// The customer as the account knows him.
    fn names(&self) -> Vec<window::Named> {
        let names = customers::names(&self.customer);
        names.into_iter().map(|name| (self.account.clone(), name)).collect()
    }

    /// Key of the item it alters.
    pub(super) fn target(&self) -> Option<&Key> {
        match &self.sort {
            Sort::Alters { target, .. } => Some(target),
            Sort::Said | Sort::Notice | Sort::Prefers { .. } => None,
        }
    }
}
