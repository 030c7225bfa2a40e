//! The few jobs that a device has room for.

use super::work::Job;

/// Jobs that a device has room for; a job's place is its id modulo this.
pub const JOB_PLACES: usize = 8;

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    /// For the tip that names it.
    Waiting(Job),
    /// Mined, under this id.
    Active(u32),
}

/// The places for jobs. What comes later takes the place of what is there, wanted or not.
#[derive(Debug, Default)]
pub(super) struct Places([Place; JOB_PLACES]);

impl Places {
    fn at(&mut self, job_id: u32) -> &mut Place {
        let Self(places) = self;
        // A remainder below the length always fits.
        &mut places[job_id as usize % JOB_PLACES]
    }

    /// Keeps a job until a tip names it. Gives the active job whose place it takes.
    pub(super) fn wait(&mut self, job: Job) -> Option<u32> {
        let place = self.at(job.id);
        match std::mem::replace(place, Place::Waiting(job)) {
            Place::Active(lost) => Some(lost),
            Place::Empty | Place::Waiting(_) => None,
        }
    }

    /// A job is mined from now on, and no other. Gives the active job whose place it takes.
    pub(super) fn activate(&mut self, job_id: u32) -> Option<u32> {
        let lost = match self.at(job_id) {
            Place::Active(lost) => Some(*lost),
            Place::Empty | Place::Waiting(_) => None,
        };
        for place in &mut self.0 {
            if matches!(place, Place::Active(_)) {
                *place = Place::Empty;
            }
        }
        *self.at(job_id) = Place::Active(job_id);
        lost
    }

    /// Takes the job that a tip names out of its place; `Err` says what is there instead.
    pub(super) fn take(&mut self, job_id: u32) -> Result<Job, String> {
        let place = self.at(job_id);
        match std::mem::take(place) {
            Place::Waiting(job) if job.id == job_id => Ok(job),
            other => {
                let held = match &other {
                    Place::Empty => "nothing".to_owned(),
                    Place::Waiting(job) => format!("job {}", job.id),
                    Place::Active(id) => format!("job {id}, which is being mined already"),
                };
                *place = other;
                Err(held)
            }
        }
    }

    /// Takes all jobs that wait, in the order of their places.
    pub(super) fn take_all(&mut self) -> Vec<Job> {
        let waiting = self
            .0
            .iter_mut()
            .filter_map(|place| match std::mem::take(place) {
                Place::Waiting(job) => Some(job),
                other => {
                    *place = other;
                    None
                }
            });
        waiting.collect()
    }
}
