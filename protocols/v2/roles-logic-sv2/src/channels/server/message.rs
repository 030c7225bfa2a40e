//! What a mining server sends.

use alloc::sync::Arc;

use binary_sv2::{BufferTooShort, Encodable, Message, Writer};
use const_sv2::MessageKind;
use mining_sv2::{
    CloseChannel, NewMiningJob, OpenExtendedMiningChannelSuccess, OpenMiningChannelError,
    OpenStandardMiningChannelSuccess, SetCustomMiningJobError, SetCustomMiningJobSuccess,
    SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash, SetTarget, SubmitSharesError,
    SubmitSharesSuccess, UpdateChannelError,
};

use crate::job::Job;

/// A `NewExtendedMiningJob` that is written straight from the shared job, without a copy on the way.
#[derive(Clone, Debug)]
pub struct ExtendedJob {
    /// Extended or group channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Earliest block time in Unix seconds; absent for a future job.
    pub min_ntime: Option<u32>,
    /// Whether the client may roll the version: never where the work does not allow it.
    pub version_rolling_allowed: bool,
    /// The work.
    pub job: Arc<Job>,
}

impl Message for ExtendedJob {
    const KIND: MessageKind = const_sv2::mining::NEW_EXTENDED_MINING_JOB;
}

/// Largest count of a `SEQ0_255`. A block of 2^255 transactions would need more.
const MAX_PATH_LEN: usize = 255;

impl Encodable for ExtendedJob {
    fn encoded_len(&self) -> usize {
        let [prefix, suffix] = coinbase_parts(&self.job);
        let path_len = self.job.merkle_path().len().min(MAX_PATH_LEN);
        let fixed_len = 4 + 4 + self.min_ntime.encoded_len() + 4 + 1 + 1 + 2 + 2;
        fixed_len + path_len * 32 + prefix.len() + suffix.len()
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        let job = &*self.job;
        self.channel_id.encode(writer)?;
        self.job_id.encode(writer)?;
        self.min_ntime.encode(writer)?;
        job.version().encode(writer)?;
        self.version_rolling_allowed.encode(writer)?;
        let path = job.merkle_path();
        let path = path.get(..MAX_PATH_LEN).unwrap_or(path);
        (path.len() as u8).encode(writer)?;
        writer.put(path.as_flattened())?;
        // A coinbase holds no part longer than `coinbase::MAX_PART_SIZE`, which is what two bytes count.
        for part in coinbase_parts(job) {
            (part.len() as u16).encode(writer)?;
            writer.put(part)?;
        }
        Ok(())
    }
}

/// Both parts of the coinbase. A job without one never gets here: extended channels are not sent it.
fn coinbase_parts(job: &Job) -> [&[u8]; 2] {
    let coinbase = job.coinbase();
    coinbase.map_or([&[]; 2], |coinbase| [coinbase.prefix(), coinbase.suffix()])
}

macro_rules! server_messages {
    ($($variant:ident($message:ty), $doc:literal;)*) => {
        /// A message of a mining server, small enough to queue by value.
        #[derive(Clone, Debug)]
        pub enum ServerMessage {
            $(
                #[doc = $doc]
                $variant($message),
            )*
        }

        impl ServerMessage {
            /// The message's line in the tables of the specification.
            pub const fn kind(&self) -> &'static MessageKind {
                match self {
                    $(Self::$variant(_) => &<$message as Message>::KIND,)*
                }
            }
        }

        impl Encodable for ServerMessage {
            fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$variant(message) => message.encoded_len(),)*
                }
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                match self {
                    $(Self::$variant(message) => message.encode(writer),)*
                }
            }
        }

        $(
            impl From<$message> for ServerMessage {
                fn from(message: $message) -> Self {
                    Self::$variant(message)
                }
            }
        )*
    };
}

server_messages! {
    OpenStandardMiningChannelSuccess(OpenStandardMiningChannelSuccess<'static>), "Grants a standard channel.";
    OpenExtendedMiningChannelSuccess(OpenExtendedMiningChannelSuccess<'static>), "Grants an extended channel.";
    OpenMiningChannelError(OpenMiningChannelError<'static>), "Refuses a channel.";
    NewMiningJob(NewMiningJob), "Work for a standard channel.";
    NewExtendedMiningJob(ExtendedJob), "Work for an extended or group channel.";
    SetNewPrevHash(SetNewPrevHash), "The block to build on.";
    SetTarget(SetTarget), "A new target for jobs to come.";
    SubmitSharesSuccess(SubmitSharesSuccess), "Acknowledges a batch of shares.";
    SubmitSharesError(SubmitSharesError<'static>), "Rejects one share.";
    UpdateChannelError(UpdateChannelError<'static>), "Refuses an update.";
    CloseChannel(CloseChannel<'static>), "Ends a channel or a group.";
    SetExtranoncePrefix(SetExtranoncePrefix<'static>), "A new prefix for jobs to come.";
    SetGroupChannel(SetGroupChannel<'static>), "Moves channels into a group.";
    SetCustomMiningJobSuccess(SetCustomMiningJobSuccess), "Takes a job that the client made.";
    SetCustomMiningJobError(SetCustomMiningJobError<'static>), "Refuses a job that the client made.";
}
