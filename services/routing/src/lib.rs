//! hilo-routing: decides which agent is offered which interaction.

pub mod domain;
