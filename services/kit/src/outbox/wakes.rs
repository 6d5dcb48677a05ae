//! Who is told that rows were committed: the relays of their partitions here, and other replicas for partitions not owned here.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::PARTITIONS;

/// A set of partitions, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partitions(u32);

impl Partitions {
    /// All there are.
    pub(crate) const ALL: Self = Self((1 << PARTITIONS) - 1);

    pub(crate) fn of(partitions: impl IntoIterator<Item = i16>) -> Self {
        partitions.into_iter().fold(Self::default(), |set, one| set.and(Self(1 << one.unsigned_abs())))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, partition: i16) -> Self {
        Self(self.0 & !(1 << partition.unsigned_abs()))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As a ping carries it.
    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// What a ping carried; everything when it says nothing, as those of an earlier release.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(Self::ALL, |bytes| Self(u32::from_be_bytes(bytes) & Self::ALL.0))
    }
}

/// The bells of one process.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    partitions: [Notify; PARTITIONS as usize],
    /// Committed here and not yet told to other replicas.
    untold: AtomicU32,
    tell: Notify,
}

impl Wakes {
    /// Rows of these partitions were committed here.
    pub(crate) fn committed(&self, partitions: Partitions) {
        self.ring(partitions);
        self.untold.fetch_or(partitions.0, Ordering::AcqRel);
        self.tell.notify_one();
    }

    /// Rows of these partitions were committed somewhere.
    pub(super) fn ring(&self, partitions: Partitions) {
        for (partition, bell) in self.partitions.iter().enumerate() {
            if partitions.0 & (1 << partition) != 0 {
                bell.notify_one();
            }
        }
    }

    /// Resolves when rows of the partition were committed.
    pub(super) async fn rung(&self, partition: i16) {
        match self.partitions.get(usize::from(partition.unsigned_abs())) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves with the partitions that other replicas have not been told of.
    pub(super) async fn untold(&self) -> Partitions {
        self.tell.notified().await;
        Partitions(self.untold.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn only_the_partitions_with_rows_are_woken_and_told_once() {
        let wakes = Wakes::default();
        wakes.committed(Partitions::of([2]));
        wakes.committed(Partitions::of([2, 3]));
        assert!(wakes.rung(0).now_or_never().is_none());
        assert!(wakes.rung(2).now_or_never().is_some());
        assert!(wakes.rung(2).now_or_never().is_none(), "two commits are one look");
        assert!(wakes.rung(3).now_or_never().is_some());
        assert_eq!(wakes.untold().now_or_never(), Some(Partitions::of([2, 3])));
        assert!(wakes.untold().now_or_never().is_none());
    }

    #[test]
    fn a_ping_that_says_nothing_means_all() {
        let some = Partitions::of([0, 3]);
        assert_eq!(Partitions::from_bytes(&some.to_bytes()), some);
        assert_eq!(Partitions::from_bytes(&[]), Partitions::ALL);
        assert_eq!(Partitions::from_bytes(&[0xff; 4]), Partitions::ALL);
        assert_eq!(some.without(3), Partitions::of([0]));
        assert!(Partitions::default().is_empty() && !some.is_empty());
    }
}
