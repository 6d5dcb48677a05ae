//! The people and campaigns of a load run: teams, each the members of a campaign of its own with an account of its own.
//!
//! Campaigns that share a member compete and are routed together, so some have a member in common who never comes: how many
//! campaigns a group has decides how the work spreads over partitions.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};

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
}

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
        let installation = Installation::start(Options { agents: 1, ..Options::default() }).await?;
        self.apply(&installation).await?;
        Ok(installation)
    }

    /// Applies the directory, and waits until the processes that let people in know it.
    ///
    /// # Errors
    /// When it is refused or does not get known.
    pub async fn apply(&self, installation: &Installation) -> Result<()> {
        installation.change_directory(|yaml| self.directory(yaml)).await?;
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

    fn directory(&self, yaml: &str) -> String {
        let (mut accounts, mut campaigns, mut users) = (String::new(), String::new(), String::new());
        for index in 0..self.campaigns + self.waiting_campaigns {
            let key = Self::campaign(index);
            let _ = writeln!(
                accounts,
                "  - {{key: {key}, channel: email, address: {key}@hilo.example, \
                 accept_unauthenticated_replies: true}}"
            );
            let common = format!("comun-{}", index / self.group.max(1));
            let mut members = if index < self.campaigns { self.members(index) } else { Vec::new() };
            members.push(common);
            let _ = writeln!(
                campaigns,
                "  - {{key: {key}, name: Equipo {index}, channel: email, accounts: [{key}], members: [{}], \
                 assignment_mode: {}}}",
                members.join(", "),
                self.mode
            );
        }
        let groups = (self.campaigns + self.waiting_campaigns).div_ceil(self.group.max(1));
        let people =
            (0..self.agents()).map(Self::agent).chain((0..groups).map(|group| format!("comun-{group}")));
        for key in people {
            let _ = writeln!(
                users,
                "  - {{key: {key}, name: {key}, roles: [agent], email_capacity: {}}}",
                self.capacity
            );
        }
        yaml.replacen("\naccounts:\n", &format!("\naccounts:\n{accounts}"), 1)
            .replacen("\ncampaigns:\n", &format!("\ncampaigns:\n{campaigns}"), 1)
            .replacen("\nusers:\n", &format!("\nusers:\n{users}"), 1)
    }
}
