//! A connection of the peer: Noise, frames, messages.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sri::codec_sv2::state::InitiatorSent;
use sri::codec_sv2::{
    Decoded, Decrypted, EncodableFrame, ExpectsHandshakeMessage, Handshake, HandshakeMessage,
    MessageFrame, NoiseDecoder, NoiseEncoder, SerializedFrame, Transport, TransportDecryptState,
    TransportEncryptState,
};
use sri::common_messages_sv2::{
    Protocol, SetupConnectionErrorOwned, SetupConnectionOwned, SetupConnectionSuccess,
};
use sri::noise_sv2::{Initiator, Responder};
use sri::parsers_sv2::{
    AnyMessage, AnyMessageOwned, CommonMessagesOwned, MiningOwned, TemplateDistributionOwned, Tlv,
    parse_message_frame_with_tlvs,
};

/// Longer than any answer takes; a test that hangs ends here.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Version of the protocol.
pub const VERSION: u16 = 2;

/// A connection after its handshake.
pub struct Peer {
    stream: TcpStream,
    encoder: NoiseEncoder,
    decoder: NoiseDecoder,
    sealing: TransportEncryptState,
    /// The peer's decoder takes it and gives it back.
    opening: Option<TransportDecryptState>,
}

impl Peer {
    /// Connects to one of our servers that shows a certificate of `authority`.
    pub fn connect(address: SocketAddr, authority: [u8; 32]) -> Self {
        Self::try_connect(address, authority).expect("our server completes the handshake")
    }

    /// As [`Self::connect`], with the peer's reason where it does not trust the server.
    pub fn try_connect(
        address: SocketAddr,
        authority: [u8; 32],
    ) -> Result<Self, sri::codec_sv2::Error> {
        let mut stream = TcpStream::connect(address).expect("our server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut decoder = NoiseDecoder::new();
        let initiator = Initiator::from_raw_k(authority).expect("an authority key");
        let (first, sent) = Handshake::initiator(initiator).step_0()?;
        stream.write_all(first.payload()).unwrap();
        let answer = handshake_message::<InitiatorSent>(&mut stream, &mut decoder);
        let transport = sent.step_2(answer.payload().try_into().expect("its length is fixed"))?;
        Ok(Self::new(stream, decoder, transport))
    }

    /// Serves one of our clients, with a certificate of the authority whose two keys these are.
    pub fn accept(mut stream: TcpStream, public: &[u8; 32], secret: &[u8; 32]) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut decoder = NoiseDecoder::new();
        let responder = Responder::from_authority_kp(public, secret, Duration::from_secs(3600))
            .expect("a key pair");
        let first = handshake_message::<Responder>(&mut stream, &mut decoder);
        let first = first.payload().try_into().expect("its length is fixed");
        let (answer, transport) = Handshake::responder(responder)
            .step_1(first)
            .expect("our client's key is sound");
        stream.write_all(answer.payload()).unwrap();
        Self::new(stream, decoder, transport)
    }

    fn new(stream: TcpStream, decoder: NoiseDecoder, transport: Transport) -> Self {
        let (sealing, opening) = transport.split();
        Self {
            stream,
            encoder: NoiseEncoder::new(),
            decoder,
            sealing,
            opening: Some(opening),
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: impl Into<Message>) {
        self.send_together([message.into()]);
    }

    /// Sends messages in one write, so that they arrive together.
    pub fn send_together(&mut self, messages: impl IntoIterator<Item = Message>) {
        let mut bytes = Vec::new();
        for Message(message) in messages {
            let frame: MessageFrame<AnyMessageOwned> = message.try_into().expect("it fits a frame");
            bytes.extend(self.seal(frame));
        }
        self.stream.write_all(&bytes).expect("the server listens");
    }

    /// Sends a whole frame that the peer's crates have built.
    pub fn send_frame(&mut self, bytes: Vec<u8>) {
        let frame = SerializedFrame::from_bytes(bytes).expect("one whole frame");
        let bytes = self.seal(frame);
        self.stream.write_all(&bytes).expect("the server listens");
    }

    fn seal(&mut self, frame: impl EncodableFrame) -> Vec<u8> {
        let sealed = self.encoder.encode_transport(frame, &mut self.sealing);
        sealed.expect("it fits a frame")
    }

    /// The next message.
    pub fn receive(&mut self) -> AnyMessageOwned {
        self.try_receive().expect("the connection is open")
    }

    /// The next message, `None` at the end of the connection.
    pub fn try_receive(&mut self) -> Option<AnyMessageOwned> {
        self.receive_with_tlvs(&[]).map(|(message, _)| message)
    }

    /// The next message and its TLV fields of the `negotiated` extensions.
    pub fn receive_with_tlvs(&mut self, negotiated: &[u16]) -> Option<(AnyMessageOwned, Vec<Tlv>)> {
        let mut frame = self.frame()?;
        let header = frame.header();
        let (message, tlvs) =
            parse_message_frame_with_tlvs(header, frame.payload(), negotiated).expect("it parses");
        assert_eq!(
            header.channel_msg(),
            sri::parsers_sv2::IsSv2Message::channel_bit(&message),
            "channel bit of {message}"
        );
        Some((AnyMessage::into_owned(message), tlvs.unwrap_or_default()))
    }

    fn frame(&mut self) -> Option<SerializedFrame> {
        loop {
            let state = self.opening.take().expect("it was given back");
            match self.decoder.next_transport_frame(state).expect("it opens") {
                Decrypted::Frame(frame, state) => {
                    self.opening = Some(state);
                    return Some(frame);
                }
                Decrypted::Incomplete(_, state) => self.opening = Some(state),
            }
            match self.stream.read_exact(self.decoder.writable()) {
                Ok(()) => {}
                Err(error) if is_end(error.kind()) => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Sends `SetupConnection` and gives the answer.
    pub fn set_up(
        &mut self,
        protocol: Protocol,
        flags: u32,
    ) -> Result<SetupConnectionSuccess, SetupConnectionErrorOwned> {
        self.set_up_with(setup_connection(protocol, flags))
    }

    /// As [`Self::set_up`], with any message.
    pub fn set_up_with(
        &mut self,
        message: SetupConnectionOwned,
    ) -> Result<SetupConnectionSuccess, SetupConnectionErrorOwned> {
        self.send(CommonMessagesOwned::SetupConnection(message));
        match self.receive() {
            AnyMessageOwned::Common(CommonMessagesOwned::SetupConnectionSuccess(success)) => {
                Ok(success)
            }
            AnyMessageOwned::Common(CommonMessagesOwned::SetupConnectionError(error)) => Err(error),
            other => panic!("not an answer to SetupConnection: {other}"),
        }
    }
}

/// A `SetupConnection` with this protocol and these flags.
pub fn setup_connection(protocol: Protocol, flags: u32) -> SetupConnectionOwned {
    let text = |text: &str| text.try_into().expect("it is short");
    SetupConnectionOwned {
        protocol,
        min_version: VERSION,
        max_version: VERSION,
        flags,
        endpoint_host: text("127.0.0.1"),
        endpoint_port: 3333,
        vendor: text("interop"),
        hardware_version: text("1"),
        firmware: text("1"),
        device_id: text("a"),
    }
}

/// Any message, made from one of a sub-protocol.
pub struct Message(AnyMessageOwned);

impl From<CommonMessagesOwned> for Message {
    fn from(message: CommonMessagesOwned) -> Self {
        Self(AnyMessageOwned::Common(message))
    }
}

impl From<MiningOwned> for Message {
    fn from(message: MiningOwned) -> Self {
        Self(AnyMessageOwned::Mining(message))
    }
}

impl From<TemplateDistributionOwned> for Message {
    fn from(message: TemplateDistributionOwned) -> Self {
        Self(AnyMessageOwned::TemplateDistribution(message))
    }
}

impl From<sri::parsers_sv2::ExtensionsOwned> for Message {
    fn from(message: sri::parsers_sv2::ExtensionsOwned) -> Self {
        Self(AnyMessageOwned::Extensions(message))
    }
}

fn handshake_message<R: ExpectsHandshakeMessage>(
    stream: &mut TcpStream,
    decoder: &mut NoiseDecoder,
) -> HandshakeMessage {
    loop {
        match decoder.next_handshake_frame::<R>().expect("a handshake") {
            Decoded::Frame(message) => return message,
            Decoded::Incomplete(_) => stream.read_exact(decoder.writable()).expect("an answer"),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
