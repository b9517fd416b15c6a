//! Makes connections.

use std::{future::Future, pin::Pin};

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Connection, Error, NoTls, Socket, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::{
    target::Target,
    tls::{BadTls, connector},
};

/// How to connect to the database, the same way each time.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) config: Config,
    /// `None` for sockets of this machine, and where it was switched off.
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// Connects to `target` for sessions in `schema`.
    pub(super) fn new(target: &Target, schema: &str) -> Result<Connector, BadTls> {
        let config = target.session(schema);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(connector(target)?),
        };
        Ok(Connector { config, tls })
    }

    /// A connection and the task that works for it, which ends with the connection.
    pub(super) async fn connect(&self) -> Result<(Client, JoinHandle<()>), Error> {
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                Ok((client, tokio::spawn(work(connection))))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                Ok((client, tokio::spawn(work(connection))))
            }
        }
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(self.connect())
    }
}

async fn work<T>(connection: Connection<Socket, T>)
where
    Connection<Socket, T>: Future<Output = Result<(), Error>>,
{
    if let Err(error) = connection.await {
        // Whoever uses the connection hears of it too, and decides what it means.
        let error = &error as &dyn std::error::Error;
        debug!(error, "connection to the database ended");
    }
}
