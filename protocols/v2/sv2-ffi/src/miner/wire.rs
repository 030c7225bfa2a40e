//! The two directions of a connection as bytes, in the clear or sealed by Noise. All memory is asked for in ways that can be refused.

use alloc::vec::Vec;
use core::ops::Range;

use binary_sv2::{Encodable, Writer};
use const_sv2::MessageKind;
use framing_sv2::Header;
use noise_sv2::{
    ACT2_LEN, Opener, PortableCipher, SEALED_HEADER_LEN, Sealer, Transport, sealed_payload_len,
};

use crate::miner::error::{End, MinerError};

/// Bytes kept in each direction when there is nothing to keep them for: most messages fit, so that memory is not asked for anew
/// with each.
const KEPT_LEN: usize = 256;

/// Most bytes that wait to be sent. Beyond, requests and shares give [`MinerError::OutgoingFull`].
pub(crate) const MAX_OUTGOING_LEN: usize = 4096;

/// What has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// Not enough for anything.
    Missing,
    /// The server's part of the handshake.
    Act2,
    /// A frame.
    Frame,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Act2,
    Header,
    Payload(Header),
    /// The payload lies in the buffer, opened, and nothing was done with it yet.
    Whole(Header),
    /// The payload lies in the buffer for those who quote from it.
    Done,
}

/// What the server sends: at most one frame at a time is in memory.
pub(super) struct Incoming {
    opener: Option<Opener<PortableCipher>>,
    bytes: Vec<u8>,
    step: Step,
    max_payload_len: usize,
}

impl Incoming {
    pub(super) const fn new(is_noise: bool, max_payload_len: usize) -> Self {
        Self {
            opener: None,
            bytes: Vec::new(),
            step: if is_noise { Step::Act2 } else { Step::Header },
            max_payload_len,
        }
    }

    /// Takes bytes up to the end of what comes next, and counts them in `taken`.
    ///
    /// What was whole before and is not [`Self::done`] is given again. Memory for all of a payload is taken at its first byte.
    pub(super) fn feed(
        &mut self,
        from: &[u8],
        taken: &mut usize,
    ) -> Result<Result<Fed, End>, MinerError> {
        loop {
            if matches!(self.step, Step::Done) {
                self.bytes.clear();
                self.step = Step::Header;
            }
            let rest = from.get(*taken..).unwrap_or_default();
            let missing = self.wanted().saturating_sub(self.bytes.len());
            let part = rest.get(..missing).unwrap_or(rest);
            if !part.is_empty() {
                self.bytes
                    .try_reserve_exact(missing)
                    .map_err(|_| MinerError::NoMemory)?;
                self.bytes.extend_from_slice(part);
                *taken += part.len();
            }
            if part.len() < missing {
                return Ok(Ok(Fed::Missing));
            }
            match self.step {
                Step::Act2 => return Ok(Ok(Fed::Act2)),
                Step::Whole(_) => return Ok(Ok(Fed::Frame)),
                Step::Done => {}
                Step::Header | Step::Payload(_) => {
                    if let Err(end) = self.open() {
                        return Ok(Err(end));
                    }
                }
            }
        }
    }

    fn wanted(&self) -> usize {
        match self.step {
            Step::Act2 => ACT2_LEN,
            Step::Header if self.opener.is_some() => SEALED_HEADER_LEN,
            Step::Header => Header::LEN,
            Step::Payload(header) if self.opener.is_some() => {
                sealed_payload_len(header.payload_len())
            }
            Step::Payload(header) => header.payload_len(),
            Step::Whole(_) | Step::Done => 0,
        }
    }

    /// Opens the header or payload that is there in full.
    fn open(&mut self) -> Result<(), End> {
        if let Step::Payload(header) = self.step {
            if let Some(opener) = &mut self.opener {
                opener
                    .open_payload(&mut self.bytes)
                    .map_err(|_| End::Cipher)?;
            }
            self.bytes.truncate(header.payload_len());
            self.step = Step::Whole(header);
            return Ok(());
        }
        let header = match &mut self.opener {
            Some(opener) => {
                let sealed = self.bytes.first_chunk_mut().ok_or(End::Cipher)?;
                opener.open_header(sealed).map_err(|_| End::Cipher)?
            }
            None => *self.bytes.first_chunk().ok_or(End::Cipher)?,
        };
        let header = Header::from_bytes(header);
        if header.payload_len() > self.max_payload_len {
            return Err(End::PayloadTooLong);
        }
        self.bytes.clear();
        self.step = Step::Payload(header);
        Ok(())
    }

    /// The server's part of the handshake, when it is there.
    pub(super) fn act2(&self) -> Option<&[u8; ACT2_LEN]> {
        self.bytes.first_chunk()
    }

    /// The frame that is there.
    pub(super) fn frame(&self) -> Option<(Header, &[u8])> {
        match self.step {
            Step::Whole(header) => Some((header, &self.bytes)),
            _ => None,
        }
    }

    /// What is there was dealt with; it can be quoted until more is fed.
    pub(super) const fn done(&mut self) {
        self.step = Step::Done;
    }

    /// From here on everything is sealed.
    pub(super) fn seal_off(&mut self, opener: Opener<PortableCipher>) {
        self.opener = Some(opener);
        self.done();
    }

    /// A part of the frame that was there last.
    pub(super) fn quote(&self, at: Range<usize>) -> &[u8] {
        self.bytes.get(at).unwrap_or_default()
    }

    /// Gives memory back that nothing is quoted from any more.
    pub(super) fn release(&mut self) {
        if matches!(self.step, Step::Done) {
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_LEN {
                self.bytes = Vec::new();
            }
            self.step = Step::Header;
        }
    }
}

/// What is to be sent.
pub(super) struct Outgoing {
    sealer: Option<Sealer<PortableCipher>>,
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self {
            sealer: None,
            bytes: Vec::new(),
            sent: 0,
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// `len` bytes of it were sent.
    pub(super) fn sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEPT_LEN {
                self.bytes = Vec::new();
            }
        }
    }

    /// Appends bytes as they are.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), MinerError> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a message.
    pub(super) fn send(
        &mut self,
        kind: &MessageKind,
        fields: &impl Encodable,
    ) -> Result<(), MinerError> {
        let payload_len = fields.encoded_len();
        // No message of a client is longer than a frame; the limit on what waits is far below.
        let header =
            Header::for_message(kind, payload_len).map_err(|_| MinerError::OutgoingFull)?;
        let is_sealed = self.sealer.is_some();
        let (header_len, frame_len) = lengths(is_sealed, payload_len);
        self.reserve(frame_len)?;
        let start = self.bytes.len();
        self.bytes.resize(start + frame_len, 0);
        let written = self.write(start, header, header_len, fields);
        if written.is_none() {
            self.bytes.truncate(start);
        }
        // A message says its length, and the counter of a cipher lasts for ages.
        written.ok_or(MinerError::Ended)
    }

    fn write(
        &mut self,
        start: usize,
        header: Header,
        header_len: usize,
        fields: &impl Encodable,
    ) -> Option<()> {
        let frame = self.bytes.get_mut(start..)?;
        frame
            .first_chunk_mut()
            .map(|place| *place = header.to_bytes())?;
        let payload = frame.get_mut(header_len..header_len + header.payload_len())?;
        fields.encode(&mut Writer::new(payload)).ok()?;
        match &mut self.sealer {
            Some(sealer) => sealer.seal_frame(frame).ok(),
            None => Some(()),
        }
    }

    fn reserve(&mut self, len: usize) -> Result<(), MinerError> {
        if self.waiting().len().saturating_add(len) > MAX_OUTGOING_LEN {
            return Err(MinerError::OutgoingFull);
        }
        self.bytes.drain(..self.sent);
        self.sent = 0;
        self.bytes
            .try_reserve(len)
            .map_err(|_| MinerError::NoMemory)
    }

    /// Makes sure that a sealed frame with this payload can be appended.
    pub(super) fn reserve_sealed(&mut self, payload_len: usize) -> Result<(), MinerError> {
        self.reserve(lengths(true, payload_len).1)
    }

    /// From here on everything is sealed.
    pub(super) fn seal_off(&mut self, sealer: Sealer<PortableCipher>) {
        self.sealer = Some(sealer);
    }
}

/// Both directions are sealed from here on.
pub(super) fn seal_off(
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    transport: Transport<PortableCipher>,
) {
    incoming.seal_off(transport.opener);
    outgoing.seal_off(transport.sealer);
}

/// Lengths in bytes of a header and of a whole frame on the wire.
const fn lengths(is_sealed: bool, payload_len: usize) -> (usize, usize) {
    if is_sealed {
        (
            SEALED_HEADER_LEN,
            SEALED_HEADER_LEN.saturating_add(sealed_payload_len(payload_len)),
        )
    } else {
        (Header::LEN, Header::LEN.saturating_add(payload_len))
    }
}
