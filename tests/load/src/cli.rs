//! The command line of the routing scenarios.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use hilo_load::routing::{self, Disturbance, Phase, Scenario, Summary, Work, World};

/// Where figures and pages are kept.
const FOLDER: &str = ".hilo/load";

/// Size of a routing scenario; what is left out is as the scenario has it.
#[derive(Args)]
pub struct Routing {
    /// Routing: campaigns that receive.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    campaigns: Option<u32>,
    /// Routing: agents of each campaign.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    team: Option<u32>,
    /// Routing: campaigns that share a member and so a routing group.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    group: u32,
    /// Routing: messages per second.
    #[arg(long)]
    per_second: Option<f64>,
    /// Routing: seconds.
    #[arg(long = "for", value_parser = clap::value_parser!(u32).range(1..=7_200))]
    lasting: Option<u32>,
    /// Routing: messages that wait (backlog: for the agents who come; otherwise in other campaigns).
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    waiting: Option<u32>,
    /// Routing: mode of all campaigns.
    #[arg(long, value_enum, default_value_t = Mode::RoundRobin)]
    mode: Mode,
    /// Routing: skills, weights, ageing, VIPs and preferred agents.
    #[arg(long)]
    selection: bool,
    /// Routing: what happens in the middle.
    #[arg(long, value_enum)]
    disturb: Option<Disturb>,
    /// Routing: what agents do with what rings.
    #[arg(long, value_enum)]
    work: Option<Act>,
    /// Routing: longest wait for the last ring, in seconds.
    #[arg(long, default_value_t = 120)]
    settle: u32,
    /// Routing: the broker syncs every write before it acknowledges it (`sync_interval: always`).
    #[arg(long)]
    sync_always: bool,
    /// Routing: seconds for the floor and for the peer after the scenario; 0 leaves them out.
    #[arg(long, default_value_t = 10)]
    compare: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    RoundRobin,
    LeastBusy,
    Random,
    LongestIdle,
}

#[derive(Clone, Copy, ValueEnum)]
enum Act {
    None,
    End,
    Answer,
}

#[derive(Clone, Copy, ValueEnum)]
enum Disturb {
    KillRouting,
    EndRouting,
    PauseRouting,
    ScaleRouting,
    KillOutbox,
    KillNats,
    KillPostgres,
    Reconfigure,
}

impl From<Disturb> for Disturbance {
    fn from(disturb: Disturb) -> Self {
        match disturb {
            Disturb::KillRouting => Self::KillRouting,
            Disturb::EndRouting => Self::EndRouting,
            Disturb::PauseRouting => Self::PauseRouting,
            Disturb::ScaleRouting => Self::ScaleRouting,
            Disturb::KillOutbox => Self::KillOutbox,
            Disturb::KillNats => Self::KillNats,
            Disturb::KillPostgres => Self::KillPostgres,
            Disturb::Reconfigure => Self::Reconfigure,
        }
    }
}

/// A routing scenario: sizes that suit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One rate.
    Assign,
    /// Ten times the rate for ten seconds.
    Burst,
    /// All wait, then the agents come.
    Backlog,
    /// Half an hour at one rate, items are ended.
    Soak,
    /// Skills, weights, ageing, VIPs, preferred agents.
    Mixed,
    /// A new configuration in the middle.
    Reconfigure,
    /// A part is killed or stopped in the middle.
    Disturb,
    /// Items are opened, answered, ended and found in the history.
    Cycles,
    /// Many agents, and much that waits elsewhere.
    Pace,
}

/// Sizes unless the command line says otherwise.
struct Usual {
    per_second: f64,
    lasting: u32,
    campaigns: u32,
    team: u32,
    waiting: u32,
    work: Work,
    disturb: Option<Disturbance>,
}

impl Kind {
    fn usual(self) -> Usual {
        let usual = Usual {
            per_second: 2_500.0,
            lasting: 60,
            campaigns: 500,
            team: 5,
            waiting: 0,
            work: Work::None,
            disturb: None,
        };
        match self {
            Self::Assign => usual,
            Self::Burst => Usual { per_second: 500.0, lasting: 70, ..usual },
            Self::Backlog => Usual { waiting: 50_000, ..usual },
            Self::Soak => Usual { per_second: 500.0, lasting: 1_800, work: Work::End, ..usual },
            Self::Mixed => Usual { per_second: 1_250.0, ..usual },
            Self::Reconfigure => {
                Usual { per_second: 500.0, disturb: Some(Disturbance::Reconfigure), ..usual }
            }
            Self::Disturb => Usual { per_second: 500.0, disturb: Some(Disturbance::KillRouting), ..usual },
            Self::Cycles => Usual { per_second: 300.0, work: Work::Answer, ..usual },
            Self::Pace => Usual { per_second: 500.0, team: 20, waiting: 50_000, ..usual },
        }
    }

    /// The schedule: a second before and much after a burst at the usual rate.
    fn phases(self, per_second: f64, lasting: u32) -> Vec<Phase> {
        let phase = |rate, seconds| Phase { rate, lasting: Duration::from_secs(u64::from(seconds)) };
        match self {
            Self::Burst => {
                let ten = (lasting / 7).max(1);
                vec![
                    phase(per_second, ten),
                    phase(per_second * 10.0, ten),
                    phase(per_second, lasting.saturating_sub(ten * 2).max(1)),
                ]
            }
            Self::Assign
            | Self::Backlog
            | Self::Soak
            | Self::Mixed
            | Self::Reconfigure
            | Self::Disturb
            | Self::Cycles
            | Self::Pace => vec![phase(per_second, lasting)],
        }
    }
}

impl Routing {
    fn scenario(&self, kind: Kind) -> Result<Scenario> {
        let usual = kind.usual();
        let work = self.work.map_or(usual.work, |act| match act {
            Act::None => Work::None,
            Act::End => Work::End,
            Act::Answer => Work::Answer,
        });
        let mode = match self.mode {
            Mode::RoundRobin => "round_robin",
            Mode::LeastBusy => "least_busy",
            Mode::Random => "random",
            Mode::LongestIdle => "longest_idle",
        };
        let (late, waiting) = (kind == Kind::Backlog, self.waiting.unwrap_or(usual.waiting));
        let elsewhere = if late { 0 } else { usize::try_from(waiting)? };
        let world = World {
            campaigns: usize::try_from(self.campaigns.unwrap_or(usual.campaigns))?,
            team: usize::try_from(self.team.unwrap_or(usual.team))?,
            group: usize::try_from(self.group)?,
            capacity: 500,
            mode,
            waiting_campaigns: if elsewhere > 0 { 50 } else { 0 },
            answers: work == Work::Answer,
            selection: self.selection || kind == Kind::Mixed,
            synced: self.sync_always,
        };
        let (per_second, lasting) =
            (self.per_second.unwrap_or(usual.per_second), self.lasting.unwrap_or(usual.lasting));
        let phases = if late {
            let lasting = Duration::from_secs_f64(f64::from(waiting) / per_second);
            vec![Phase { rate: per_second, lasting }]
        } else {
            kind.phases(per_second, lasting)
        };
        let sync = if self.sync_always { "-always" } else { "" };
        Ok(Scenario {
            name: format!("{}{sync}", format!("{kind:?}").to_lowercase()),
            world,
            waiting: elsewhere,
            phases,
            late,
            work,
            disturbance: self.disturb.map(Disturbance::from).or(usual.disturb),
            settle: Duration::from_secs(u64::from(self.settle)),
            compare: (self.compare > 0).then(|| Duration::from_secs(u64::from(self.compare))),
        })
    }
}

/// Runs a scenario; true when nothing was lost, doubled or out of order, and every cycle came to its end.
///
/// # Errors
/// When the installation cannot be used, or the figures cannot be kept.
pub async fn run(kind: Kind, arguments: &Routing) -> Result<bool> {
    let size = arguments.scenario(kind)?;
    let outcome = routing::run(&size).await?;
    let summary = Summary::of(&size, &outcome);
    println!("\n{summary}");
    println!("page: {}", summary.keep(Path::new(FOLDER))?.display());
    Ok(outcome.is_exact())
}
