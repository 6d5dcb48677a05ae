//! Sets the stage: the stack, the mail servers, the directory, two agents and a subscriber; and clears it again.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::super::DemoArgs;
use super::super::agents::Agent;
use super::super::clock::{Clock, demand, wrong};
use super::super::customers::Customers;
use super::super::dovecot::Dovecot;
use super::super::house::House;
use super::super::overlay::{self, AGENTS, Servers};
use super::super::scratch::Scratch;
use super::super::sink::Sink;
use super::super::subscriber::Subscriber;
use crate::cli::Failure;
use crate::cli::phone::remote::Simulator;
use crate::stack::meta;

/// A change of the directory takes effect within a second; a loaded machine gets more.
const READY: Duration = Duration::from_secs(15);

/// Whatever has been started so far.
#[derive(Debug, Default)]
pub struct Stage {
    house: Option<House>,
    dovecot: Option<Dovecot>,
    sink: Option<Sink>,
    subscriber: Option<Subscriber>,
    agents: Vec<Agent>,
    customers: Option<Customers>,
    overlaid: bool,
    secret_file: Option<PathBuf>,
}

/// The set stage, as the play uses it.
pub struct Play<'a> {
    /// The stack.
    pub house: &'a House,
    /// The IMAP server.
    pub dovecot: &'a Dovecot,
    /// The receiving SMTP server.
    pub sink: &'a Sink,
    /// The subscriber.
    pub subscriber: &'a Subscriber,
    /// Both agents in their fixed order.
    pub agents: [&'a Agent; 2],
    /// The customers.
    pub customers: &'a Customers,
    /// Where the phones of WhatsApp are played.
    pub(crate) phones: Simulator,
}

fn random_password() -> SecretString {
    SecretString::from(uuid::Uuid::new_v4().simple().to_string())
}

impl Stage {
    /// Sets everything up, a step at a time.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn set(
        &mut self,
        args: &DemoArgs,
        clock: &mut Clock,
        scratch: &Scratch,
    ) -> Result<(), Failure> {
        let run = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect::<String>();
        self.customers = Some(Customers::new(&format!("r{run}")));
        let imap_password = random_password();
        self.servers(clock, scratch, &imap_password).await?;
        self.stack(args, clock, scratch, &imap_password).await?;
        let agents_password = random_password();
        self.directory(clock, &agents_password).await?;
        self.people(clock, &agents_password).await
    }

    async fn servers(
        &mut self,
        clock: &mut Clock,
        scratch: &Scratch,
        imap_password: &SecretString,
    ) -> Result<(), Failure> {
        let (dovecot, sink) = clock
            .step("mail servers that are not our code", async {
                let dovecot = Dovecot::start(scratch, imap_password.expose_secret()).await?;
                let sink = Sink::start(scratch).await?;
                let evidence = format!(
                    "Dovecot {} answers IMAP on 127.0.0.1:{}, aiosmtpd answers SMTP on 127.0.0.1:{}",
                    dovecot.version, dovecot.port, sink.port
                );
                Ok(((dovecot, sink), evidence))
            })
            .await?;
        self.dovecot = Some(dovecot);
        self.sink = Some(sink);
        Ok(())
    }

    async fn stack(
        &mut self,
        args: &DemoArgs,
        clock: &mut Clock,
        scratch: &Scratch,
        imap_password: &SecretString,
    ) -> Result<(), Failure> {
        let house = clock
            .step("stack", async {
                let running = if args.private { None } else { House::running(&args.installation).await };
                let house = match running {
                    Some(house) => house,
                    None => House::private(scratch).await?,
                };
                let kind = if house.found { "the running one" } else { "a private one" };
                let evidence = format!("{kind} signed {} in on {}", house.coordinator.user, house.endpoint);
                Ok((house, evidence))
            })
            .await?;
        self.secret_file = Some(place_secret(&house, imap_password)?);
        self.house = Some(house);
        Ok(())
    }

    async fn directory(&mut self, clock: &mut Clock, password: &SecretString) -> Result<(), Failure> {
        let (Some(house), Some(dovecot), Some(sink)) = (&self.house, &self.dovecot, &self.sink) else {
            return Err(wrong("the stage is not set"));
        };
        self.overlaid = true;
        number_at_the_simulator(house).await?;
        clock
            .step("directory", async {
                let servers = Servers { imap: dovecot.port, imap_user: dovecot.user(), smtp: sink.port };
                let version = overlay::put_on(&house.coordinator, servers, password.expose_secret()).await?;
                let there = overlay::present(&house.coordinator).await?;
                let campaign = there.campaigns.iter().find(|one| one.key == overlay::CAMPAIGN && one.active);
                let campaign = campaign.ok_or_else(|| wrong("the demo's campaign is not in force"))?;
                let accounts = there.accounts.iter().filter(|one| campaign.account_keys.contains(&one.key) && one.active);
                let switched = accounts.filter(|one| one.accept_unauthenticated_replies).count();
                demand(switched == 2, "the accounts' policy switch is not in force")?;
                let evidence = format!(
                    "version {version}: campaign {} ({}), accounts {}; the joining rule is production's, with the policy switch \
                     accept_unauthenticated_replies: true on both (there is no DNS for .example)",
                    campaign.key,
                    campaign.assignment_mode,
                    campaign.account_keys.join(" and "),
                );
                Ok(((), evidence))
            })
            .await
    }

    async fn people(&mut self, clock: &mut Clock, password: &SecretString) -> Result<(), Failure> {
        let Some(house) = &self.house else { return Err(wrong("the stage is not set")) };
        let agents = &mut self.agents;
        clock
            .step("agents", async {
                for key in AGENTS {
                    agents.push(Agent::sign_in(&house.endpoint, key, password, READY).await?);
                }
                Ok((
                    (),
                    format!(
                        "{} signed in; each has the snapshot of its WatchDesk stream",
                        AGENTS.join(" and ")
                    ),
                ))
            })
            .await?;
        let (nats, prefix) = (house.local.nats(), house.local.prefix());
        let subscriber = clock
            .step("subscriber", async {
                let subscriber = Subscriber::start(&nats, &prefix).await?;
                Ok((subscriber, format!("reads {prefix}.attention.v1.> on {nats}")))
            })
            .await?;
        self.subscriber = Some(subscriber);
        Ok(())
    }

    /// Everything, for the play.
    ///
    /// # Errors
    /// When the stage is not set.
    pub fn play(&self) -> Result<Play<'_>, Failure> {
        let (Some(house), Some(dovecot), Some(sink)) = (&self.house, &self.dovecot, &self.sink) else {
            return Err(wrong("the stage is not set"));
        };
        let (Some(subscriber), Some(customers), [first, second]) =
            (&self.subscriber, &self.customers, self.agents.as_slice())
        else {
            return Err(wrong("the stage is not set"));
        };
        let phones = Simulator::at(&house.local.phone());
        Ok(Play { house, dovecot, sink, subscriber, agents: [first, second], customers, phones })
    }

    /// Stops what was started; in a stack that was found running, the demo's campaign, accounts and agents become inactive.
    pub async fn clear(&mut self, clock: &mut Clock) {
        for agent in self.agents.drain(..) {
            agent.leave().await;
        }
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.stop();
        }
        if let Some(house) = self.house.take() {
            if house.found && self.overlaid {
                let outcome =
                    tokio::time::timeout(Duration::from_secs(10), overlay::take_off(&house.coordinator))
                        .await;
                let said = match outcome {
                    Ok(Ok(version)) => format!(
                        "directory version {version}: the demo's campaign, accounts and agents are inactive again"
                    ),
                    Ok(Err(failure)) => {
                        format!("the demo's part of the directory could not be taken off: {failure}")
                    }
                    Err(_) => "the demo's part of the directory could not be taken off in time".to_owned(),
                };
                // The reader may be gone; what is started must be stopped all the same.
                let _ = clock.line(&said);
            }
            house.stop().await;
        }
        if let Some(file) = self.secret_file.take() {
            let _ = std::fs::remove_file(file);
        }
        if let Some(sink) = self.sink.take() {
            sink.stop().await;
        }
        if let Some(dovecot) = self.dovecot.take() {
            dovecot.stop().await;
        }
    }
}

/// Puts the IMAP password where the stack looks for secrets.
fn place_secret(house: &House, password: &SecretString) -> Result<PathBuf, Failure> {
    let folder = house.local.secrets_folder();
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(overlay::IMAP_SECRET);
    crate::stack::folder::write_private(&file, password.expose_secret())?;
    Ok(file)
}

/// Gives the demo a business number of its own at the simulator of the Cloud API, under the app whose secrets the stack knows.
async fn number_at_the_simulator(house: &House) -> Result<(), Failure> {
    let number = serde_json::json!({
        "phone_number_id": overlay::NUMBER, "business_account_id": meta::BUSINESS_ACCOUNT,
        "display_phone_number": overlay::DISPLAY_NUMBER, "verified_name": "Mensajes de prueba", "app": meta::APP,
    });
    Simulator::at(&house.local.phone()).post("/numbers", &number).await.map(drop)
}
