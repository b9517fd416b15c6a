//! Puts the daemon together and runs it until it is told to stop.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Listener, Server, ServerLimits, duties, service::Service, stop_on_signals};
use crate::{
    backend::Backend,
    cache::Cache,
    clock::Clock,
    config::Config,
    jobserver::{JobServer, Settings},
    limits::LARGE_FRAMES_BYTES_MAX,
    model::NamespaceName,
};

/// Serves `backend`, which the log calls `name`, by the time of `clock`, as `config` says,
/// until SIGTERM or SIGINT; then drains.
///
/// # Errors
/// The address cannot be listened on, signals cannot be handled, or the backend does
/// not answer.
pub async fn run<B: Backend, C: Clock>(
    config: &Config,
    backend: B,
    clock: Arc<C>,
    name: &str,
) -> anyhow::Result<()> {
    let listener = Listener::bind(config.listen)?;
    let cache = Cache::new(Arc::new(backend), config.cache_entries);
    let settings = Settings {
        namespace: NamespaceName::new(&config.namespace).context("namespace")?,
        global_config: config.global_config.clone(),
        enforce_min_gb: config.enforce_min_gb,
        random: config.random(),
    };
    let server = Arc::new(JobServer::new(cache, clock.clone(), settings).await?);
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).context("cannot handle signals")?;
    let limits = ServerLimits {
        connections_max: config.max_connections,
        frame_bytes_max: config.max_frame_bytes,
        large_frames_bytes_max: LARGE_FRAMES_BYTES_MAX,
        drain: config.drain_seconds,
    };
    let network = Server::new(listener, Arc::new(Service(server.clone())), limits);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        backend = name,
        listen = %network.address(),
        namespace = config.namespace,
        "coordinated runs"
    );
    let hints = {
        let (server, stop) = (server.clone(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(server.heed_hints()).await })
    };
    let upkeep = {
        let stop = stop.clone();
        tokio::spawn(async move { duties::keep_up(&server, &clock, stop).await })
    };
    network.run(stop).await;
    hints.await.context("heeding hints ended in a panic")?;
    upkeep.await.context("upkeep ended in a panic")
}
