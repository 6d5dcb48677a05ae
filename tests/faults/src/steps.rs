//! The named steps of the path at which the matrix kills.

use hilo_end_to_end::Service;

/// A place between two source points.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The fault point at which the process stops.
    pub point: &'static str,
    /// The service whose process stops there.
    pub service: Service,
    /// The two source points between which a kill lands.
    pub between: (&'static str, &'static str),
}

const fn step(point: &'static str, service: Service, between: (&'static str, &'static str)) -> Step {
    Step { point, service, between }
}

/// The path, in order.
pub const STEPS: &[Step] = &[
    step("email.smtp.before_commit", Service::EmailIngest, ("final dot read", "ledger commit")),
    step("email.smtp.after_commit", Service::EmailIngest, ("ledger commit", "250 written")),
    step("email.parse.after_commit", Service::EmailIngest, ("parse and outbox commit", "relay woken")),
    step("attention.intake.before_commit", Service::AttentionState, ("batch written", "batch commit")),
    step("attention.intake.after_commit", Service::AttentionState, ("batch commit", "broker ack")),
    step("routing.offers.before_apply", Service::Routing, ("offers decided", "ApplyOffers sent")),
    step("attention.open.after_commit", Service::AttentionState, ("claim commit", "answer to the agent")),
    step(
        "attention.send.after_commit",
        Service::AttentionState,
        ("message and OUTBOUND commit", "answer to the agent"),
    ),
    step("email.sender.after_commit", Service::EmailIngest, ("send committed to the ledger", "broker ack")),
    step(
        "email.send.before_final_dot",
        Service::EmailIngest,
        ("content written", "permission for the final dot"),
    ),
    step(
        "email.send.final_dot_released",
        Service::EmailIngest,
        ("permission committed", "final dot written"),
    ),
    step("email.send.after_final_dot", Service::EmailIngest, ("final dot written", "sent state commit")),
    step("attention.end.after_commit", Service::AttentionState, ("end commit", "answer to the agent")),
    step("history.store.after_commit", Service::History, ("thread stored", "ConfirmStored sent")),
];

/// The way of a long thread into the history, out of the hot tables, and back when it is opened again.
pub const ARCHIVE: &[Step] = &[
    step("history.store.after_page", Service::History, ("page of a thread committed", "next page fetched")),
    step("attention.purge.before_commit", Service::AttentionState, ("bodies taken out", "purge commit")),
    step("attention.purge.after_commit", Service::AttentionState, ("purge commit", "next round")),
    step(
        "attention.reload.after_page",
        Service::AttentionState,
        ("page of bodies committed", "next page fetched"),
    ),
];

/// Files of WhatsApp both ways, and the templates. Each is on a way of its own, so one process stands at all of them at once.
pub const CHANNEL: &[Step] = &[
    step(
        "whatsapp.media.before_store",
        Service::WhatsappIngest,
        ("file fetched and checked", "object stored"),
    ),
    step("whatsapp.media.before_commit", Service::WhatsappIngest, ("object stored", "content handed over")),
    step(
        "whatsapp.media.after_commit",
        Service::WhatsappIngest,
        ("content committed to the outbox", "fetcher told"),
    ),
    step("whatsapp.upload.before_kept", Service::WhatsappIngest, ("Meta's id for an upload", "id recorded")),
    step("whatsapp.send.after_upload", Service::WhatsappIngest, ("id recorded", "message sent")),
    step("whatsapp.templates.after_page", Service::WhatsappIngest, ("page of templates read", "next page")),
];

/// One step each of a file, of the templates and of a dialer: processes stand at all of them at once while the broker or the database dies.
pub const BESIDE: &[Step] = &[
    step("whatsapp.media.before_commit", Service::WhatsappIngest, ("object stored", "content handed over")),
    step("whatsapp.templates.after_page", Service::WhatsappIngest, ("page of templates read", "next page")),
    step("attention.dialer.before_commit", Service::AttentionState, ("row handed over", "its commit")),
];

/// Dialers, in three rounds: rows go through one runner one after the other, so it stands before a commit in one round and after it
/// in the next. The sweep begins with its process: the second round kills it in its first attention, the third behind it.
pub const DIALERS: [&[Step]; 3] = [
    &[
        step(
            "attention.dialer.import.before_commit",
            Service::AttentionState,
            ("rows written", "import commit"),
        ),
        step("attention.dialer.before_commit", Service::AttentionState, ("row handed over", "its commit")),
    ],
    &[
        step(
            "attention.dialer.sweep.before_commit",
            Service::AttentionState,
            ("unanswered attention closed", "its commit"),
        ),
        step(
            "attention.dialer.import.after_commit",
            Service::AttentionState,
            ("import commit", "answer to the supervisor"),
        ),
        step("attention.dialer.after_commit", Service::AttentionState, ("commit of a row", "next row")),
    ],
    &[step(
        "attention.dialer.sweep.after_commit",
        Service::AttentionState,
        ("commit of an unanswered attention", "next one"),
    )],
];
