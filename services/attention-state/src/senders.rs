//! The readers of OUTBOUND: each channel's service takes its own sends, and one row of the outbox is known to one of them.

use std::collections::HashSet;

use async_trait::async_trait;
use hilo_kit::error::Error;
use hilo_kit::outbox::HandoverPeer;
use uuid::Uuid;

/// Asks one reader after the other about what those before did not know. Nothing is known while one that must be asked does not
/// answer: taken for unknown, a send that it has would be published again.
pub(crate) struct Senders(pub Vec<Box<dyn HandoverPeer>>);

#[async_trait]
impl HandoverPeer for Senders {
    async fn known(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        let mut known = HashSet::new();
        for reader in &self.0 {
            let rest: Vec<Uuid> = ids.iter().filter(|id| !known.contains(*id)).copied().collect();
            if rest.is_empty() {
                break;
            }
            known.extend(reader.known(&rest).await?);
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows some ids, or cannot be asked.
    struct Reader(Option<Vec<u128>>);

    #[async_trait]
    impl HandoverPeer for Reader {
        async fn known(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
            let away = || Error::unavailable("AWAY", "the reader is away");
            let mine = self.0.as_ref().ok_or_else(away)?;
            Ok(ids.iter().filter(|id| mine.contains(&id.as_u128())).copied().collect())
        }
    }

    #[tokio::test]
    async fn what_any_reader_has_is_known_and_one_that_is_away_is_not_passed_over() {
        let asked: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        for (readers, known) in [
            (vec![Some(vec![1]), Some(vec![3])], Some(vec![1, 3])),
            (vec![Some(vec![1, 2, 3]), None], Some(vec![1, 2, 3])),
            (vec![Some(vec![1]), None], None),
            (vec![None, Some(vec![1])], None),
        ] {
            let senders = Senders(readers.iter().cloned().map(|one| Box::new(Reader(one)) as _).collect());
            let found = senders.known(&asked).await.ok().map(|found| {
                let mut found: Vec<u128> = found.iter().map(Uuid::as_u128).collect();
                found.sort_unstable();
                found
            });
            assert_eq!(found, known, "{readers:?}");
        }
    }
}
