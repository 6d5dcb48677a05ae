//! The people and campaigns of a load run: teams, each the members of a campaign of its own with an account of its own.
//!
//! Campaigns that share a member compete and are routed together, so some have a member in common who never comes: how many
//! campaigns a group has decides how the work spreads over partitions.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use sqlx::{Connection as _, PgConnection};

/// Who works where.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Campaigns that receive, each with an account.
    pub campaigns: usize,
    /// Agents of each.
    pub team: usize,
    /// Campaigns of a routing group.
    pub group: usize,
    /// Items an agent takes at once.
    pub capacity: usize,
    /// Assignment mode of all campaigns.
    pub mode: &'static str,
    /// Campaigns whose members never come: their items wait.
    pub waiting_campaigns: usize,
    /// Accounts can send, so agents can answer.
    pub answers: bool,
    /// Campaigns ask for skills that four of five agents have, items age, weigh 1 to 3, and are kept for who served the customer last;
    /// every tenth customer is a VIP.
    pub selection: bool,
    /// The broker syncs every write before it acknowledges it.
    pub synced: bool,
}

/// Skills asked for, by campaign in turn.
const SKILLS: usize = 4;

impl World {
    /// All agents who come.
    pub fn agents(&self) -> usize {
        self.campaigns * self.team
    }

    /// Key of a campaign and of its account; those that wait come after those that are served.
    pub fn campaign(index: usize) -> String {
        format!("equipo-{index}")
    }

    /// Key of an agent.
    pub fn agent(index: usize) -> String {
        format!("persona-{index}")
    }

    /// Keys of the members of a campaign who come.
    fn members(&self, campaign: usize) -> Vec<String> {
        (campaign * self.team..(campaign + 1) * self.team).map(Self::agent).collect()
    }

    /// Starts an installation with these people in it.
    ///
    /// # Errors
    /// When it does not come up or refuses the directory.
    pub async fn start(&self) -> Result<Installation> {
        let options = Options { agents: 1, synced_broker: self.synced, ..Options::default() };
        let installation = Installation::start(options).await?;
        self.apply(&installation).await?;
        Ok(installation)
    }

    /// Applies the directory.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn change(&self, installation: &Installation) -> Result<()> {
        let smtp = installation.sink().port;
        installation.change_directory(|yaml| self.directory(yaml, smtp)).await
    }

    /// Makes every tenth of so many customers a VIP before he writes for the first time.
    ///
    /// # Errors
    /// When the database refuses it.
    pub async fn important(&self, installation: &Installation, customers: usize) -> Result<()> {
        let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
        sqlx::query(
            "WITH vip AS (SELECT gen_random_uuid() AS id, 'cliente-' || n || '@cliente.example' AS address
               FROM generate_series(0, $1, 10) AS n),
             known AS (INSERT INTO contact.contact (contact_id, vip) SELECT id, true FROM vip)
             INSERT INTO contact.identity (kind, value, contact_id) SELECT 'email', address, id FROM vip
             ON CONFLICT DO NOTHING",
        )
        .bind(i64::try_from(customers)?)
        .execute(&mut session)
        .await?;
        Ok(())
    }

    /// Applies the directory, and waits until the processes that let people in know it.
    ///
    /// # Errors
    /// When it is refused or does not get known.
    pub async fn apply(&self, installation: &Installation) -> Result<()> {
        self.change(installation).await?;
        let last = installation.signed_in(&Self::agent(self.agents().saturating_sub(1)))?;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let leave =
                hilo_proto::routing::v1::HeartbeatRequest { session_id: "nobody".into(), leave: true };
            match last.routing().heartbeat(leave).await {
                Ok(_) => return Ok(()),
                Err(status) if tokio::time::Instant::now() > until => return Err(status.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// What a campaign asks for.
    fn asks(&self, campaign: usize) -> String {
        if !self.selection {
            return String::new();
        }
        let (skill, weight) = (campaign % SKILLS, campaign % 3 + 1);
        format!(
            ", required_skills: [{{skill: destreza-{skill}, level: 50}}], ageing_seconds: 60, vip_bonus: 5, item_weight: {weight}, \
             preferred_agent_seconds: 5, relaxation: [{{after_seconds: 30, skill: destreza-{skill}, level: 20}}]"
        )
    }

    /// What an agent masters: all skills, the fifth of each team not well enough.
    fn masters(&self, agent: usize) -> String {
        if !self.selection {
            return String::new();
        }
        let level = if agent % 5 == 4 { 20 } else { 80 };
        let skills: Vec<String> =
            (0..SKILLS).map(|skill| format!("{{skill: destreza-{skill}, level: {level}}}")).collect();
        format!(", skills: [{}]", skills.join(", "))
    }

    fn directory(&self, yaml: &str, smtp_port: u16) -> String {
        let sender = match self.answers {
            true => format!(", smtp: {{host: 127.0.0.1, port: {smtp_port}, security: plain}}"),
            false => String::new(),
        };
        let (mut accounts, mut campaigns, mut users) = (String::new(), String::new(), String::new());
        for index in 0..self.campaigns + self.waiting_campaigns {
            let key = Self::campaign(index);
            let _ = writeln!(
                accounts,
                "  - {{key: {key}, channel: email, address: {key}@hilo.example, \
                 accept_unauthenticated_replies: true{sender}}}"
            );
            let common = format!("comun-{}", index / self.group.max(1));
            let mut members = if index < self.campaigns { self.members(index) } else { Vec::new() };
            members.push(common);
            let _ = writeln!(
                campaigns,
                "  - {{key: {key}, name: Equipo {index}, channel: email, accounts: [{key}], members: [{}], \
                 assignment_mode: {}{}}}",
                members.join(", "),
                self.mode,
                self.asks(index)
            );
        }
        let groups = (self.campaigns + self.waiting_campaigns).div_ceil(self.group.max(1));
        let people =
            (0..self.agents()).map(Self::agent).chain((0..groups).map(|group| format!("comun-{group}")));
        for (index, key) in people.enumerate() {
            let _ = writeln!(
                users,
                "  - {{key: {key}, name: {key}, roles: [agent], email_capacity: {}{}}}",
                self.capacity,
                self.masters(index)
            );
        }
        yaml.replacen("\naccounts:\n", &format!("\naccounts:\n{accounts}"), 1)
            .replacen("\ncampaigns:\n", &format!("\ncampaigns:\n{campaigns}"), 1)
            .replacen("\nusers:\n", &format!("\nusers:\n{users}"), 1)
    }
}
