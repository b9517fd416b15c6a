//! The job server, as connections see it.

use std::sync::Arc;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::{Answer, Flow};
use crate::{
    backend::Backend,
    clock::Clock,
    jobserver::{Answered, JobServer, Session},
    wire::FrameError,
};

/// Answers with a job server.
#[derive(Debug)]
pub(super) struct Service<B, C>(pub(super) Arc<JobServer<B, C>>);

impl<B: Backend, C: Clock> Answer for Service<B, C> {
    type Session = Session;

    fn open(&self) -> Session {
        self.0.open()
    }

    async fn answer(
        &self,
        session: &mut Session,
        request: &[u8],
        leave: &CancellationToken,
        replies: &mut BytesMut,
    ) -> Flow {
        match self.0.answer(session, request, leave, replies).await {
            Answered::Message => Flow::Continue,
            Answered::NoRequest(why) => Flow::NoRequest(why),
            Answered::Malformed(error) => Flow::Drop(error.to_string()),
        }
    }

    fn refuse(&self, reason: &FrameError, replies: &mut BytesMut) {
        self.0.refuse(&reason.to_string(), replies);
    }
}
