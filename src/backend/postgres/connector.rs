//! Makes connections.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use deadpool_postgres::Connect;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, NoTls, Notification, Socket, config::SslMode,
};
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

    /// A connection that passes notifications to `hear`.
    pub(super) async fn connect_listening(
        &self,
        hear: impl FnMut(Notification) + Send + 'static,
    ) -> Result<Listening, Error> {
        let (client, task) = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, tokio::spawn(listen(connection, hear)))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, tokio::spawn(listen(connection, hear)))
            }
        };
        Ok(Listening { client, task })
    }
}

/// A connection that listens, closed when this is dropped.
pub(super) struct Listening {
    pub(super) client: Client,
    /// Ends with the connection, and says why.
    pub(super) task: JoinHandle<Result<(), Error>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
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

async fn listen<T>(
    mut connection: Connection<Socket, T>,
    mut hear: impl FnMut(Notification),
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message? {
            hear(notification);
        }
    }
    Ok(())
}
