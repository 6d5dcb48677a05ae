//! A file, the templates and a row of a dialer when the broker or the database dies under them: processes stand at a step of each, all at
//! once, go on without the part and find it again.

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::installation::Part;
use hilo_simulators::{File, Say};

use crate::channel;
use crate::chat::media::picture;
use crate::dialers::{List, QUICKLY, arrived};
use crate::round::{self, Tally};
use crate::steps::BESIDE;

/// The parts that die.
pub const PARTS: [Part; 2] = [Part::Nats, Part::Postgres];
/// A picture that nobody has sent before.
const FIRST: usize = 10;
/// Rows of a list.
const ROWS: usize = 2;

/// Attentions that this begins.
pub const ATTENTIONS: usize = PARTS.len() * (1 + ROWS);

/// For each part: the file arrives once, the list of templates is whole, each row is sent once. It goes on where
/// [`channel::files_and_templates`] ended.
///
/// # Errors
/// When no kill landed; what does not hold.
pub async fn parts(house: &Chat, tally: &mut Tally) -> Result<()> {
    let people = house.installation.login("coordinadora").await?;
    for (n, part) in PARTS.into_iter().enumerate() {
        let list = List::filled(house, &people, "cae otro", (50 + n, ROWS), QUICKLY).await?;
        round::arm(&house.installation, BESIDE)?;
        let (sender, shot) = (house.customer(&format!("5190300000{n}"), "Cliente")?, FIRST + n);
        sender.says(&Say::media("image", File::new("image/jpeg", &picture(shot))).caption("Mi foto"))?;
        let names = channel::approve_another(house, n)?;
        people.start_dialer(&list.dialer).await?;
        tally.strike_beside(&house.installation, BESIDE, part).await.with_context(|| format!("{part:?}"))?;

        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let senders = [(shot, sender)];
        let rows = people.dialer_rows_are("all have it", &list.dialer, arrived);
        let (came, read, rows) =
            tokio::join!(channel::came(house, &senders), house.templates_are(&names), rows);
        let once = list.customers.iter().map(hilo_end_to_end::chat::Customer::templates);
        let once: Vec<usize> = once.collect();
        let each = || {
            ensure!(once.iter().all(|got| *got == 1), "the phones got {once:?} templates");
            Ok(())
        };
        round::all([
            ("a file", came),
            ("the list of templates", read),
            ("rows", rows.map(drop)),
            ("each once", each()),
        ])
        .with_context(|| format!("{part:?}"))?;
    }
    Ok(())
}
