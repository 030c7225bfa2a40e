//! The work of an extended channel, ready to be sent to Sv1 miners.

use std::sync::Arc;

use roles_logic_sv2::channels::client::Work;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::job::Job;
use sv1_api::server::Job as Sv1Job;

use crate::mapping::{JobName, MappingError, notify_of_work};

/// What a channel mines, with its line for miners: made once, shared by all that mine on the channel.
#[derive(Debug)]
pub struct ChannelWork {
    work: Work,
    job: Arc<Job>,
    line: Arc<Sv1Job>,
}

impl ChannelWork {
    /// From what the upstream's channel has to mine.
    ///
    /// # Errors
    /// Work of a standard channel.
    pub fn new(work: Work, now: Now) -> Result<Self, MappingError> {
        let line = line(&work, 0, now)?;
        let job = work.job().cloned().ok_or(MappingError::NoCoinbase)?;
        Ok(Self { work, job, line })
    }

    /// What the channel mines.
    pub const fn work(&self) -> &Work {
        &self.work
    }

    pub(super) const fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// The line of the job as it was sent first.
    pub(super) const fn line(&self) -> &Arc<Sv1Job> {
        &self.line
    }

    /// The same job under another name, and with the present time.
    pub(super) fn copy(&self, copy: u32, now: Now) -> Arc<Sv1Job> {
        line(&self.work, copy, now).unwrap_or_else(|_| self.line.clone())
    }
}

fn line(work: &Work, copy: u32, now: Now) -> Result<Arc<Sv1Job>, MappingError> {
    let name = JobName {
        job_id: work.job_id(),
        copy,
    };
    // Miners start from this time and move on: a first job should not make them lag behind.
    let ntime = if copy == 0 {
        work.min_ntime()
    } else {
        work.max_ntime(now)
    };
    Ok(Arc::new(Sv1Job::new(notify_of_work(work, name, ntime)?)))
}
