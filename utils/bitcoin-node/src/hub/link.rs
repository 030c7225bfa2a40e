//! The template distribution protocol between two tasks of one process.

use std::sync::Arc;

use binary_sv2::{IntoOwned, Str0255};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::template_server::{Announcer, Work};
use template_distribution_sv2::{
    RequestTransactionDataError, SubmitSolution, TemplateDistributionMessage,
};
use tokio::sync::{mpsc, watch};

use super::{SubscribeError, TemplateHub};
use crate::embedded::unix_secs;

/// Messages that wait in either direction; the sender of one more waits. Work that is replaced meanwhile is never sent.
pub const LINK_MESSAGES_MAX: usize = 16;

/// A client's end of a connection without a socket: what would follow `SetupConnection.Success` on one.
///
/// Dropping it ends the connection.
#[derive(Debug)]
pub struct TemplateLink {
    /// Takes `CoinbaseOutputConstraints` (first), `RequestTransactionData` and `SubmitSolution`; others are ignored.
    pub to_server: mpsc::Sender<TemplateDistributionMessage<'static>>,
    /// Gives `NewTemplate`, `SetNewPrevHash`, `RequestTransactionData.Success` and `.Error`. Ends when the hub does, or
    /// when no block can hold what the constraints ask for.
    pub to_client: mpsc::Receiver<TemplateDistributionMessage<'static>>,
}

impl TemplateHub {
    /// Connects a client of the same process; needs a tokio runtime.
    pub fn connect(&self) -> TemplateLink {
        let (to_server, requests) = mpsc::channel(LINK_MESSAGES_MAX);
        let (answers, to_client) = mpsc::channel(LINK_MESSAGES_MAX);
        let server = Server {
            hub: self.clone(),
            answers,
            announcer: Announcer::default(),
            updates: None,
        };
        tokio::spawn(async move {
            if let Err(reason) = server.serve(requests).await {
                tracing::info!(%reason, "in-process template client disconnected");
            }
        });
        TemplateLink {
            to_server,
            to_client,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client is gone")]
    ClientGone,
    #[error(transparent)]
    Refused(#[from] SubscribeError),
}

struct Server {
    hub: TemplateHub,
    answers: mpsc::Sender<TemplateDistributionMessage<'static>>,
    announcer: Announcer,
    updates: Option<watch::Receiver<Option<Arc<Work>>>>,
}

impl Server {
    async fn serve(
        mut self,
        mut requests: mpsc::Receiver<TemplateDistributionMessage<'static>>,
    ) -> Result<(), End> {
        loop {
            let work = tokio::select! {
                biased;
                request = requests.recv() => self.handle(request.ok_or(End::ClientGone)?).await?,
                work = changed(&mut self.updates) => work?,
            };
            if let Some(work) = work {
                self.announce(&work).await?;
            }
        }
    }

    /// Handles a message; gives the work to announce where it changes that.
    async fn handle(
        &mut self,
        request: TemplateDistributionMessage<'static>,
    ) -> Result<Option<Arc<Work>>, End> {
        match request {
            TemplateDistributionMessage::CoinbaseOutputConstraints(constraints) => {
                let after = self.announcer.template_id();
                let subscription = self.hub.subscribe(constraints.into(), after).await?;
                self.updates = Some(subscription.updates);
                return Ok(subscription.work);
            }
            TemplateDistributionMessage::RequestTransactionData(request) => {
                self.answer_transactions(request.template_id).await?;
            }
            TemplateDistributionMessage::SubmitSolution(solution) => self.submit(solution).await,
            other => tracing::warn!(
                message = other.kind().name,
                "not a message for a template server"
            ),
        }
        Ok(None)
    }

    async fn announce(&mut self, work: &Work) -> Result<(), End> {
        let now = Now {
            unix_secs: unix_secs(),
            ..Now::default()
        };
        let Some(announcement) = self.announcer.announce(work, now) else {
            return Ok(());
        };
        self.send(announcement.new_template).await?;
        match announcement.set_new_prev_hash {
            Some(tip) => self.send(tip).await,
            None => Ok(()),
        }
    }

    async fn answer_transactions(&self, template_id: u64) -> Result<(), End> {
        match self.hub.transactions(template_id).await {
            Ok(work) => self.send(work.transaction_data().into_owned()).await,
            Err(error) => {
                let error_code = Str0255::try_from(error.error_code()).unwrap_or_default();
                self.send(RequestTransactionDataError {
                    template_id,
                    error_code,
                })
                .await
            }
        }
    }

    async fn submit(&self, solution: SubmitSolution<'static>) {
        // The hub logs and counts the outcome either way; the protocol has no answer.
        let _ = self.hub.submit(solution).await;
    }

    async fn send(
        &self,
        message: impl Into<TemplateDistributionMessage<'static>>,
    ) -> Result<(), End> {
        let sent = self.answers.send(message.into()).await;
        sent.map_err(|_| End::ClientGone)
    }
}

/// The next work; waits for ever without a subscription.
async fn changed(
    updates: &mut Option<watch::Receiver<Option<Arc<Work>>>>,
) -> Result<Option<Arc<Work>>, End> {
    let Some(updates) = updates else {
        return core::future::pending().await;
    };
    let changed = updates.changed().await;
    changed.map_err(|_| SubscribeError::Ended)?;
    Ok(updates.borrow_and_update().clone())
}
