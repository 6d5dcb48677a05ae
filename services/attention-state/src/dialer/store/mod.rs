//! The tables of schema `dialer`.

pub(super) mod dialers;
pub(super) mod opt_outs;
pub(super) mod rows;
pub(super) mod sends;
pub(super) mod stops;
