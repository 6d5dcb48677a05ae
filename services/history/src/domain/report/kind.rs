//! The reports and their figures. A figure is a name, as in the contract and in the CSV, and the expression it is counted
//! by; the contract's rows, the CSV's columns and the statement are made from this one list.

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How much there was.
    Volumes,
    /// In which state it is.
    States,
    /// What passed to another.
    Reassigned,
    /// What came back because its agent had gone.
    Orphaned,
    /// What came in outside of the hours.
    OutOfHours,
    /// Messages.
    Messages,
    /// How long customers waited for an answer.
    FirstResponse,
    /// How long it took to ring and to be opened.
    TimeToAssign,
}

/// Name and SQL expression over the columns of the facts.
pub type Figure = (&'static str, &'static str);

/// Milliseconds from the beginning to an instant, as an aggregate of the inbound interactions that have it (`greatest` would
/// count the others as 0).
macro_rules! wait {
    ($aggregate:literal, $column:literal) => {
        concat!(
            "coalesce(round(",
            $aggregate,
            "(greatest(extract(epoch FROM ",
            $column,
            " - began_at), 0) * 1000) FILTER (WHERE direction = 1 AND ",
            $column,
            " IS NOT NULL)), 0)::bigint"
        )
    };
}

impl Kind {
    /// Every report.
    pub const ALL: [Self; 8] = [
        Self::Volumes,
        Self::States,
        Self::Reassigned,
        Self::Orphaned,
        Self::OutOfHours,
        Self::Messages,
        Self::FirstResponse,
        Self::TimeToAssign,
    ];

    /// Its figures, in the order of the contract's fields.
    pub fn figures(self) -> &'static [Figure] {
        match self {
            Kind::Volumes => &[
                ("attentions", "count(*) FILTER (WHERE ordinal = 1)"),
                ("interactions", "count(*)"),
                ("inbound", "count(*) FILTER (WHERE direction = 1)"),
                ("outbound", "count(*) FILTER (WHERE direction = 2)"),
                ("ended", "count(*) FILTER (WHERE state = 3)"),
                ("closed", "count(*) FILTER (WHERE state = 3 AND attention_closed)"),
            ],
            Kind::States => &[
                ("queued", "count(*) FILTER (WHERE state = 1)"),
                ("open", "count(*) FILTER (WHERE state = 2)"),
                ("ended", "count(*) FILTER (WHERE state = 3 AND NOT attention_closed)"),
                ("closed", "count(*) FILTER (WHERE state = 3 AND attention_closed)"),
            ],
            Kind::Reassigned => &[
                ("reassigned", "count(*) FILTER (WHERE reassigned_times > 0)"),
                ("times", "coalesce(sum(reassigned_times), 0)::bigint"),
                ("interactions", "count(*)"),
            ],
            Kind::Orphaned => &[
                ("orphaned", "count(*) FILTER (WHERE orphaned_times > 0)"),
                ("times", "coalesce(sum(orphaned_times), 0)::bigint"),
                ("interactions", "count(*)"),
            ],
            Kind::OutOfHours => {
                &[("out_of_hours", "count(*) FILTER (WHERE out_of_hours)"), ("interactions", "count(*)")]
            }
            Kind::Messages => &[
                ("received", "count(*) FILTER (WHERE kind = 13)"),
                (
                    "sent",
                    "count(*) FILTER (WHERE kind = 14 AND delivery_state IN ('sent', 'delivered', 'read', 'played'))",
                ),
                (
                    "pending",
                    "count(*) FILTER (WHERE kind = 14 AND delivery_state NOT IN ('sent', 'delivered', 'read', 'played', 'failed', 'unknown'))",
                ),
                ("failed", "count(*) FILTER (WHERE kind = 14 AND delivery_state = 'failed')"),
                ("unknown", "count(*) FILTER (WHERE kind = 14 AND delivery_state = 'unknown')"),
            ],
            Kind::FirstResponse => &[
                ("answered", "count(first_response_at) FILTER (WHERE direction = 1)"),
                ("unanswered", "count(*) FILTER (WHERE direction = 1 AND first_response_at IS NULL)"),
                ("average_milliseconds", wait!("avg", "first_response_at")),
                ("longest_milliseconds", wait!("max", "first_response_at")),
            ],
            Kind::TimeToAssign => &[
                ("offered", "count(first_offered_at) FILTER (WHERE direction = 1)"),
                ("average_to_offer_milliseconds", wait!("avg", "first_offered_at")),
                ("opened", "count(first_opened_at) FILTER (WHERE direction = 1)"),
                ("average_to_open_milliseconds", wait!("avg", "first_opened_at")),
                ("longest_to_open_milliseconds", wait!("max", "first_opened_at")),
            ],
        }
    }
}
