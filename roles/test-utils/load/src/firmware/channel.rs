//! A device while it mines: what it makes of the server's messages, and its shares.

use std::collections::VecDeque;
use std::time::Duration;

use binary_sv2::{Decodable, Message};
use const_sv2::error_codes::submit_shares::{DUPLICATE_SHARE, INVALID_JOB_ID, STALE_SHARE};
use mining_sv2::{
    CloseChannel, MiningMessage, NewExtendedMiningJob, NewMiningJob, SetExtranoncePrefix,
    SetGroupChannel, SetNewPrevHash, SetTarget, SubmitSharesError, SubmitSharesExtended,
    SubmitSharesStandard, SubmitSharesSuccess,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::target::Target;

use super::log::Log;
use super::places::Places;
use super::rule::Rule;
use super::work::{Extranonce, Found, Job, Work};
use super::{JOB_PLACES, MAX_MERKLE_BRANCHES};
use crate::args::ChannelType;

/// Shares that may wait for an answer; a device that has so many does not hash until some are answered.
const MAX_WAITING: usize = 1_024;

/// How long after it called a share stale a server may send the tip that made it so.
const TIP_GRACE: Duration = Duration::from_secs(5);

/// Shares called stale whose tip may still come; the oldest is judged early when there is one more.
const MAX_SUSPECTS: usize = 64;

/// Jobs of the present tip that are remembered to tell repeated work; the oldest goes first.
const MAX_EARLIER: usize = 16;

/// All that small firmware dispatches once its channel is open; whatever else comes it ignores.
const DISPATCHED: [u8; 6] = [
    NewMiningJob::KIND.msg_type,
    NewExtendedMiningJob::KIND.msg_type,
    SetNewPrevHash::KIND.msg_type,
    SetTarget::KIND.msg_type,
    SubmitSharesSuccess::KIND.msg_type,
    SubmitSharesError::KIND.msg_type,
];

/// A share without an answer.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence_number: u32,
    job_id: u32,
    /// Tips heard of when its job was started.
    tips: u64,
    /// The job whose work it had been before.
    repeats: Option<u32>,
}

/// The one channel of a device.
#[derive(Debug)]
pub(super) struct Channel {
    kind: ChannelType,
    id: u32,
    group_id: u32,
    extranonce: Extranonce,
    /// Of jobs to come; the job being mined keeps its own.
    target: Target,
    tip: Option<SetNewPrevHash>,
    tips: u64,
    places: Places,
    work: Option<Work>,
    /// The job whose work is done again.
    repeats: Option<u32>,
    /// Jobs of the present tip that were mined.
    earlier: VecDeque<Work>,
    next_sequence_number: u32,
    waiting: VecDeque<Sent>,
    /// Shares called stale while their tip was the latest, and when they are judged.
    suspects: VecDeque<(Instant, String)>,
}

impl Channel {
    pub(super) fn new(
        kind: ChannelType,
        (id, group_id): (u32, u32),
        target: Target,
        extranonce: Extranonce,
    ) -> Self {
        Self {
            kind,
            id,
            group_id,
            extranonce,
            target,
            tip: None,
            tips: 0,
            places: Places::default(),
            work: None,
            repeats: None,
            earlier: VecDeque::new(),
            next_sequence_number: 0,
            waiting: VecDeque::new(),
            suspects: VecDeque::new(),
        }
    }

    pub(super) const fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// The target of what is mined, or of what will be.
    pub(super) fn target(&self) -> Target {
        self.work.as_ref().map_or(self.target, |work| work.target)
    }

    /// Takes a frame, by its message number alone, as firmware does.
    pub(super) fn handle_frame(&mut self, msg_type: u8, payload: &[u8], now: Now, log: &mut Log) {
        if !DISPATCHED.contains(&msg_type) {
            self.follow_group(msg_type, payload);
            return log.ignore(name_of(msg_type));
        }
        let message = match MiningMessage::parse(msg_type, payload) {
            Ok(message) => message,
            Err(error) => {
                let what = format!("sends a message that cannot be read: {error}");
                return log.fail(Rule::Unreadable, what, now);
            }
        };
        match message {
            MiningMessage::NewMiningJob(job) => {
                self.check_id(job.channel_id, &message, now, log);
                self.take_standard_job(&job, now, log);
            }
            MiningMessage::NewExtendedMiningJob(ref job) => {
                self.check_id(job.channel_id, &message, now, log);
                self.take_extended_job(job, now, log);
            }
            MiningMessage::SetNewPrevHash(tip) => {
                self.check_id(tip.channel_id, &message, now, log);
                self.take_tip(tip, now, log);
            }
            MiningMessage::SetTarget(target) => {
                self.check_id(target.channel_id, &message, now, log);
                log.seen.targets += 1;
                self.target = Target::from_le_bytes(target.maximum_target.0);
            }
            MiningMessage::SubmitSharesSuccess(success) => {
                self.check_id(success.channel_id, &message, now, log);
                self.take_success(&success, now, log);
            }
            MiningMessage::SubmitSharesError(ref error) => {
                self.check_id(error.channel_id, &message, now, log);
                self.take_error(error, now, log);
            }
            _ => {}
        }
    }

    /// Nothing of it reaches the firmware, but from now on messages for the new group are the channel's own.
    fn follow_group(&mut self, msg_type: u8, payload: &[u8]) {
        if msg_type != SetGroupChannel::KIND.msg_type {
            return;
        }
        let message = SetGroupChannel::from_bytes(payload).ok();
        let own = message.filter(|message| message.channel_ids.iter().any(|id| id == self.id));
        self.group_id = own.map_or(self.group_id, |message| message.group_channel_id);
    }

    /// Firmware takes a message for its own whatever id it bears; so does this device.
    fn check_id(&self, id: u32, message: &MiningMessage<'_>, now: Now, log: &mut Log) {
        if id == self.id || id == self.group_id {
            return;
        }
        let what = format!(
            "sends {} for channel {id} on a connection whose only channel is {} in group {}: the firmware does not \
             look at the id and takes it for its own",
            message.kind().name,
            self.id,
            self.group_id
        );
        log.fail(Rule::ForeignChannel, what, now);
    }

    fn take_standard_job(&mut self, message: &NewMiningJob, now: Now, log: &mut Log) {
        log.seen.jobs += 1;
        if self.kind == ChannelType::Extended {
            return self.wrong_kind("NewMiningJob", message.job_id, now, log);
        }
        self.take_job(Job::standard(message), message.min_ntime, now, log);
    }

    fn take_extended_job(&mut self, message: &NewExtendedMiningJob<'_>, now: Now, log: &mut Log) {
        log.seen.jobs += 1;
        let branches = message.merkle_path.iter().count();
        log.seen.most_branches = log.seen.most_branches.max(branches);
        if self.kind == ChannelType::Standard {
            return self.wrong_kind("NewExtendedMiningJob", message.job_id, now, log);
        }
        if branches > MAX_MERKLE_BRANCHES {
            let what = format!(
                "sends job {} with {branches} merkle branches: the firmware drops a job of more than \
                 {MAX_MERKLE_BRANCHES}",
                message.job_id
            );
            return log.fail(Rule::TooManyBranches, what, now);
        }
        // To this firmware a job from the year 1970 is one for a later tip.
        let min_ntime = message.min_ntime.filter(|ntime| *ntime > 0);
        self.take_job(Job::extended(message), min_ntime, now, log);
    }

    fn wrong_kind(&self, name: &str, job_id: u32, now: Now, log: &mut Log) {
        let what = format!(
            "sends {name} (job {job_id}) on a channel that is {}: the firmware reads it as a job of the other kind",
            self.kind.name()
        );
        log.fail(Rule::WrongKind, what, now);
    }

    fn take_job(&mut self, job: Job, min_ntime: Option<u32>, now: Now, log: &mut Log) {
        let job_id = job.id;
        let lost = match (min_ntime, self.tip) {
            (Some(ntime), Some(tip)) => self.start(job, &tip, ntime, log),
            _ => {
                let lost = self.places.wait(job);
                self.work = self.work.take().filter(|_| lost.is_none());
                lost
            }
        };
        if let Some(lost) = lost {
            let what = format!(
                "sends job {job_id} while job {lost} is mined: both belong in place {} of {JOB_PLACES}, so job {lost} \
                 is gone; job ids must be small and follow each other",
                job_id as usize % JOB_PLACES
            );
            log.fail(Rule::ActiveJobOverwritten, what, now);
        }
    }

    /// Mines a job from now on. Gives the active job whose place it takes.
    fn start(&mut self, job: Job, tip: &SetNewPrevHash, ntime: u32, log: &mut Log) -> Option<u32> {
        let lost = self.places.activate(job.id);
        let extranonce = self.extranonce.clone();
        let work = Work::new(job, tip, self.tips, ntime, self.target, extranonce);
        if self.earlier.len() >= MAX_EARLIER {
            self.earlier.pop_front();
        }
        self.earlier.extend(self.work.take());
        self.earlier.retain(|earlier| earlier.tips == self.tips);
        let same = self
            .earlier
            .iter()
            .find(|earlier| earlier.is_same_as(&work));
        self.repeats = same.map(|earlier| earlier.job.id);
        log.seen.jobs_repeated += u64::from(self.repeats.is_some());
        self.work = Some(work);
        lost
    }

    fn take_tip(&mut self, tip: SetNewPrevHash, now: Now, log: &mut Log) {
        log.seen.tips += 1;
        let is_first = self.tip.replace(tip).is_none();
        self.tips += 1;
        // The tip that shares were stale for is here.
        self.suspects.clear();
        match self.places.take(tip.job_id) {
            Ok(job) => {
                self.start(job, &tip, tip.min_ntime, log);
            }
            Err(held) => {
                let what = format!(
                    "names job {} in SetNewPrevHash, but in its place ({} of {JOB_PLACES}) is {held}: the firmware goes \
                     on with the job of the old tip",
                    tip.job_id,
                    tip.job_id as usize % JOB_PLACES
                );
                log.fail(Rule::NamedJobMissing, what, now);
            }
        }
        if is_first {
            self.start_all(&tip, now, log);
        }
    }

    /// With its first tip firmware starts whatever it was sent before, one job after the other.
    fn start_all(&mut self, tip: &SetNewPrevHash, now: Now, log: &mut Log) {
        for job in self.places.take_all() {
            let what = format!(
                "sends job {} before the first SetNewPrevHash, which names job {}: the firmware starts all that it has \
                 then, and mines job {} instead",
                job.id, tip.job_id, job.id
            );
            log.fail(Rule::StartedEarly, what, now);
            self.start(job, tip, tip.min_ntime, log);
        }
    }

    fn take_success(&mut self, success: &SubmitSharesSuccess, now: Now, log: &mut Log) {
        let last = success.last_sequence_number;
        let is_settled = |sent: &Sent| last.wrapping_sub(sent.sequence_number) < 1 << 31;
        while self.waiting.front().is_some_and(is_settled) {
            self.waiting.pop_front();
        }
        log.accept(success.new_submits_accepted_count, now);
    }

    fn take_error(&mut self, error: &SubmitSharesError<'_>, now: Now, log: &mut Log) {
        let code = error.error_code.as_str().unwrap_or("unreadable-code");
        log.reject(code);
        let number = error.sequence_number;
        let is_it = |sent: &Sent| sent.sequence_number == number;
        let at = self.waiting.iter().position(is_it);
        let Some(sent) = at.and_then(|at| self.waiting.remove(at)) else {
            let what =
                format!("rejects share {number} as {code}: no such share waits for an answer");
            return log.fail(Rule::ShareRejected, what, now);
        };
        let has_ended = sent.tips < self.tips;
        if has_ended && [STALE_SHARE, INVALID_JOB_ID].contains(&code) {
            return;
        }
        let job_id = sent.job_id;
        if let (DUPLICATE_SHARE, Some(earlier)) = (code, sent.repeats) {
            let what = format!(
                "rejects share {number} as {code}: its job {job_id} is the work of job {earlier} once more, and the \
                 firmware begins every job anew; a later min_ntime would make other work of it"
            );
            return log.fail(Rule::WorkRepeated, what, now);
        }
        let standing = match has_ended {
            true => "of an earlier tip",
            false => "in its place, on the latest tip",
        };
        let what = format!(
            "rejects share {number} as {code}: its job {job_id} is {standing}{}",
            explanation(log)
        );
        if code == STALE_SHARE {
            return self.suspect(what, now, log);
        }
        log.fail(Rule::ShareRejected, what, now);
    }

    fn suspect(&mut self, what: String, now: Now, log: &mut Log) {
        if self.suspects.len() >= MAX_SUSPECTS {
            self.condemn(now, log);
        }
        self.suspects.push_back((now.instant + TIP_GRACE, what));
    }

    fn condemn(&mut self, now: Now, log: &mut Log) {
        if let Some((_, what)) = self.suspects.pop_front() {
            log.fail(Rule::ShareRejected, what, now);
        }
    }

    /// Judges shares that were called stale, when no tip has come.
    pub(super) fn handle_timeout(&mut self, now: Now, log: &mut Log) {
        while self
            .poll_timeout()
            .is_some_and(|until| until <= now.instant)
        {
            self.condemn(now, log);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.suspects.front().map(|(until, _)| *until)
    }

    /// Tries so many hashes on the present job, and gives the shares to send.
    pub(super) fn mine(&mut self, hashes: u32, log: &mut Log) -> Vec<MiningMessage<'static>> {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        let Some(work) = self.work.as_mut().filter(|_| room > 0) else {
            return Vec::new();
        };
        let (job_id, tips, repeats) = (work.job.id, work.tips, self.repeats);
        let mut found = work.mine(hashes);
        found.truncate(room);
        log.seen.submitted += found.len() as u64;
        let shares = found.into_iter().map(|found| {
            let sequence_number = self.next_sequence_number;
            self.next_sequence_number = sequence_number.wrapping_add(1);
            self.waiting.push_back(Sent {
                sequence_number,
                job_id,
                tips,
                repeats,
            });
            share(self.kind, self.id, sequence_number, job_id, found)
        });
        shares.collect()
    }
}

fn share(
    kind: ChannelType,
    channel_id: u32,
    sequence_number: u32,
    job_id: u32,
    found: Found,
) -> MiningMessage<'static> {
    match kind {
        ChannelType::Standard => MiningMessage::SubmitSharesStandard(SubmitSharesStandard {
            channel_id,
            sequence_number,
            job_id,
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
        }),
        ChannelType::Extended => MiningMessage::SubmitSharesExtended(SubmitSharesExtended {
            channel_id,
            sequence_number,
            job_id,
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
            extranonce: found.extranonce.try_into().unwrap_or_default(),
        }),
    }
}

/// What the server may take for known, though firmware ignores it.
fn explanation(log: &Log) -> String {
    let causes = [
        (
            SetExtranoncePrefix::KIND.name,
            "it goes on with the prefix that its channel was opened with",
        ),
        (CloseChannel::KIND.name, "it goes on mining"),
    ];
    let told = causes.iter().filter(|(name, _)| log.seen.ignored(name) > 0);
    told.map(|(name, what)| {
        format!("; the server had sent {name}, which the firmware ignores: {what}")
    })
    .collect()
}

/// The name of a message that is ignored.
fn name_of(msg_type: u8) -> &'static str {
    let kinds = MiningMessage::KINDS.iter();
    let mut kinds = kinds.chain(common_messages_sv2::CommonMessage::KINDS);
    kinds
        .find(|kind| kind.msg_type == msg_type)
        .map_or("unknown", |kind| kind.name)
}
