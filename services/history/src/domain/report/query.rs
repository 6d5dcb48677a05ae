//! What may be asked of a report, checked: every problem at once, with its field.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hilo_kit::error::Error;
use sha2::{Digest as _, Sha256};
use time::Date;

use super::kind::Kind;
use crate::domain::criteria::{is_key, parse_day};
use crate::domain::thread::Direction;

/// Days of one report.
pub const MAX_DAYS: i64 = 366;
/// Campaigns, or agents, of one filter.
pub const MAX_KEYS: usize = 100;
/// Rows of a page when none is asked for.
pub const DEFAULT_PAGE: i32 = 200;
/// Most rows of a page.
pub const LARGEST_PAGE: i32 = 1_000;
const FINGERPRINT: usize = 16;

/// Present state, as reports tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportState {
    /// Queued.
    Queued,
    /// Open.
    Open,
    /// Ended, the attention still open.
    Ended,
    /// Ended, the attention closed.
    Closed,
}

/// What may have happened to an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Passed to another.
    Reassigned,
    /// Its agent had gone.
    Orphaned,
    /// Came in outside of the hours.
    OutOfHours,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grouping {
    /// A day.
    Day,
    /// A campaign.
    Campaign,
    /// An agent.
    Agent,
}

/// A query as it was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// First day.
    pub from: String,
    /// Last day.
    pub to: String,
    /// Campaigns.
    pub campaigns: Vec<String>,
    /// Agents.
    pub agents: Vec<String>,
    /// States.
    pub states: Vec<ReportState>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Direction.
    pub direction: Option<Direction>,
    /// What a row stands for.
    pub group_by: Vec<Grouping>,
    /// Rows of a page.
    pub page_size: i32,
    /// Fields that the contract does not know, found while reading it.
    pub unknown: Vec<&'static str>,
}

/// A checked query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// Campaigns; empty for all.
    pub campaigns: BTreeSet<String>,
    /// Agents; empty for all.
    pub agents: BTreeSet<String>,
    /// States; empty for all.
    pub states: BTreeSet<ReportState>,
    /// Conditions, all of which hold.
    pub conditions: BTreeSet<Condition>,
    /// Direction.
    pub direction: Option<Direction>,
    /// What a row stands for.
    pub group_by: BTreeSet<Grouping>,
    /// Rows of a page.
    pub page_size: i32,
}

/// What a row stands for; what was not grouped by is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// Campaign.
    pub campaign: String,
    /// Agent.
    pub agent: String,
}

impl Query {
    /// Checks a query.
    ///
    /// # Errors
    /// `INVALID_REPORT` with one violation per malformed field.
    pub fn parse(asked: Asked) -> Result<Self, Error> {
        let mut faults: Vec<(&str, String)> = asked
            .unknown
            .iter()
            .map(|field| (*field, "holds what the contract does not know".to_owned()))
            .collect();
        let mut day = |field, text: &str| {
            let day = parse_day(text);
            if day.is_none() {
                faults.push((field, "must be an existing day as YYYY-MM-DD".to_owned()));
            }
            day
        };
        let days = (day("query.filter.from_date", &asked.from), day("query.filter.to_date", &asked.to));
        match days {
            (Some(from), Some(to)) if from > to => {
                faults.push(("query.filter.to_date", "must not be before from_date".to_owned()));
            }
            (Some(from), Some(to)) if (to - from).whole_days() >= MAX_DAYS => {
                faults.push(("query.filter.to_date", format!("must be at most {MAX_DAYS} days in all")));
            }
            _ => {}
        }
        for (field, keys) in
            [("query.filter.campaign_keys", &asked.campaigns), ("query.filter.agent_keys", &asked.agents)]
        {
            if keys.len() > MAX_KEYS || !keys.iter().all(|key| is_key(key)) {
                faults.push((field, format!("must be at most {MAX_KEYS} keys of [a-z0-9-]{{1,40}}")));
            }
        }
        if !(0..=LARGEST_PAGE).contains(&asked.page_size) {
            faults.push(("query.page_size", format!("must be between 0 and {LARGEST_PAGE}")));
        }
        let (Some(from), Some(to), true) = (days.0, days.1, faults.is_empty()) else {
            let error = Error::invalid("INVALID_REPORT", "the report is malformed");
            return Err(faults.into_iter().fold(error, |error, (field, why)| error.field(field, why)));
        };
        Ok(Self {
            from,
            to,
            campaigns: asked.campaigns.into_iter().collect(),
            agents: asked.agents.into_iter().collect(),
            states: asked.states.into_iter().collect(),
            conditions: asked.conditions.into_iter().collect(),
            direction: asked.direction,
            group_by: asked.group_by.into_iter().collect(),
            page_size: if asked.page_size == 0 { DEFAULT_PAGE } else { asked.page_size },
        })
    }

    /// The token of the page after `group`.
    pub fn token(&self, kind: Kind, group: &Group) -> String {
        let mut bytes = self.fingerprint(kind);
        bytes.extend([&*group.day, &*group.campaign, &*group.agent].join("\n").into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The group in a token that was given out for the same question.
    ///
    /// # Errors
    /// `PAGE_TOKEN_INVALID`.
    pub fn after(&self, kind: Kind, token: &str) -> Result<Option<Group>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let (print, rest) = bytes.split_at_checked(FINGERPRINT)?;
            let mut parts = std::str::from_utf8(rest).ok()?.split('\n').map(str::to_owned);
            let group = Group { day: parts.next()?, campaign: parts.next()?, agent: parts.next()? };
            (print == self.fingerprint(kind) && !rest.contains(&0) && parts.next().is_none()).then_some(group)
        };
        let refused = || {
            Error::invalid("PAGE_TOKEN_INVALID", "the page token belongs to another report, or to none")
                .field("query.page_token", "must come from the page before")
        };
        read().map(Some).ok_or_else(refused)
    }

    fn fingerprint(&self, kind: Kind) -> Vec<u8> {
        let question = Self { page_size: 0, ..self.clone() };
        let digest: [u8; 32] = Sha256::digest(format!("{kind:?} {question:?}")).into();
        digest.into_iter().take(FINGERPRINT).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { from: "2026-01-01".into(), to: "2026-12-31".into(), ..Asked::default() }
    }

    fn refused(asked: Asked) -> Vec<String> {
        let error = Query::parse(asked).unwrap_err();
        assert_eq!(error.reason(), "INVALID_REPORT");
        error.violations().iter().map(|one| one.field.clone()).collect()
    }

    #[test]
    fn every_malformed_field_is_named_at_once() {
        assert!(Query::parse(asked()).is_ok());
        let wrong = Asked {
            from: "ayer".into(),
            to: String::new(),
            campaigns: vec!["Ventas".into()],
            agents: (0..101).map(|n| format!("a{n}")).collect(),
            page_size: 1_001,
            unknown: vec!["query.group_by"],
            ..Asked::default()
        };
        let expected =
            ["group_by", "filter.from_date", "filter.to_date", "filter.campaign_keys", "filter.agent_keys"];
        let mut expected: Vec<_> = expected.iter().map(|field| format!("query.{field}")).collect();
        expected.push("query.page_size".into());
        assert_eq!(refused(wrong), expected);
        assert_eq!(refused(Asked { to: "2025-12-31".into(), ..asked() }), ["query.filter.to_date"]);
        assert_eq!(refused(Asked { to: "2027-01-02".into(), ..asked() }), ["query.filter.to_date"]);
        assert!(Query::parse(Asked { to: "2027-01-01".into(), ..asked() }).is_ok(), "366 days");
    }

    #[test]
    fn a_token_leads_back_only_with_its_question() {
        let query = Query::parse(asked()).unwrap();
        let group = Group { day: "2026-01-05".into(), campaign: String::new(), agent: "ana".into() };
        let token = query.token(Kind::Volumes, &group);
        assert_eq!(query.after(Kind::Volumes, &token).unwrap(), Some(group));
        assert_eq!(query.after(Kind::Volumes, "").unwrap(), None);
        let larger = Query { page_size: 7, ..query.clone() };
        assert!(larger.after(Kind::Volumes, &token).is_ok());
        let other = Query { direction: Some(Direction::Inbound), ..query.clone() };
        assert!(other.after(Kind::Volumes, &token).is_err());
        assert!(query.after(Kind::States, &token).is_err());
        for bad in ["x", "%%", &token[2..], &format!("{token}AAAA")] {
            assert_eq!(query.after(Kind::Volumes, bad).unwrap_err().reason(), "PAGE_TOKEN_INVALID", "{bad}");
        }
    }
}
