//! What a desk does in WhatsApp alone: templates, and files as the kinds WhatsApp has.

use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{ChatContent, SendMessageRequest};
use hilo_proto::inbound::v1::MediaKind;

use super::{DeskCalls, Driver, Failure};
use crate::cli::Exit;
use crate::cli::desk::command::{Filled, FirstChat};
use crate::cli::desk::template::{self, send_template};
use crate::cli::desk::watch;

impl<C: DeskCalls> Driver<C> {
    pub(super) async fn templates(&mut self) -> Result<(), Failure> {
        self.current_id()?;
        let templates = self.calls.templates(&self.campaign()).await?;
        if templates.is_empty() {
            return self.output.line("there is no template that may be sent");
        }
        let mut lines = templates.iter().flat_map(template::shown);
        lines.try_for_each(|line| self.output.line(line))
    }

    pub(super) async fn template(&mut self, filled: Filled) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        let template = send_template(&filled, &self.calls.templates(&self.campaign()).await?)?;
        let whatsapp = Some(ChatContent { kind: Some(Kind::Template(template)), ..Default::default() });
        self.send(SendMessageRequest { whatsapp, ..Default::default() }, "sent").await?;
        self.list.replied(&interaction_id);
        Ok(())
    }

    pub(super) async fn start_chat(&mut self, first: &FirstChat) -> Result<(), Failure> {
        let template = send_template(&first.template, &self.calls.templates(&first.campaign).await?)?;
        let started = self.calls.start_chat(first, template).await?;
        self.output.line(format!("attention #{} started", started.attention_number))?;
        self.show_opened(started.interaction.unwrap_or_default().interaction_id).await
    }

    /// True while the item worked on is one of WhatsApp.
    pub(super) fn in_whatsapp(&self) -> bool {
        let item = self.current.as_ref().and_then(|current| current.answer.item.as_ref());
        item.is_some_and(|item| item.channel == watch::WHATSAPP)
    }

    fn campaign(&self) -> String {
        let item = self.current.as_ref().and_then(|current| current.answer.item.as_ref());
        item.map(|item| item.campaign_key.clone()).unwrap_or_default()
    }

    /// How the file that waits is sent in WhatsApp, which takes one at a time; nothing for a mail or without a file.
    pub(super) fn content_of_files(&self) -> Result<Option<ChatContent>, Failure> {
        match self.pending.types() {
            _ if !self.in_whatsapp() => Ok(None),
            [] => Ok(None),
            [one] => {
                let kind = Some(Kind::Media(media_kind(one).into()));
                Ok(Some(ChatContent { kind, ..Default::default() }))
            }
            _ => {
                let text = "a message of WhatsApp has one file; open the item again to begin anew";
                Err(Failure::new(Exit::Rejected, "ONE_FILE_EACH", text))
            }
        }
    }
}

/// How WhatsApp sends a file of this type; what it knows no better is a document.
fn media_kind(media_type: &str) -> MediaKind {
    match media_type {
        "image/jpeg" | "image/png" => MediaKind::Image,
        "image/webp" => MediaKind::Sticker,
        "video/mp4" | "video/3gpp" => MediaKind::Video,
        "audio/aac" | "audio/amr" | "audio/mpeg" | "audio/mp4" | "audio/ogg" => MediaKind::Audio,
        _ => MediaKind::Document,
    }
}
