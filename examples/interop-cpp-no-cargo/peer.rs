//! The Rust peer where there is no cargo: on the standard library's sockets, with the message crates alone. It takes a
//! template, asks for its transactions and for those of a template that never was, and shows what comes.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use codec_sv2::{Decoded, Encoder, StandardSv2Decoder};
use common_messages_sv2::{CommonMessage, SetupConnection};
use const_sv2::Protocol;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, RequestTransactionData, TemplateDistributionMessage as Message,
};

/// How long the template provider may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

struct Peer {
    stream: TcpStream,
    encoder: Encoder,
    decoder: StandardSv2Decoder,
}

impl Peer {
    fn connect(server: &str) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            stream,
            encoder: Encoder::default(),
            decoder: StandardSv2Decoder::plain(),
        })
    }

    fn send<M: binary_sv2::Message>(&mut self, message: &M) -> Result<(), Box<dyn Error>> {
        let mut frame = Vec::new();
        self.encoder.encode(message, &mut frame)?;
        println!("-> {}", M::KIND.name);
        Ok(self.stream.write_all(&frame)?)
    }

    /// The number and the payload of the next message.
    fn receive(&mut self) -> Result<(u8, Vec<u8>), Box<dyn Error>> {
        loop {
            if let Decoded::Frame(frame) = self.decoder.next_frame()? {
                return Ok((frame.header().msg_type(), frame.payload().to_vec()));
            }
            let count = self.stream.read(self.decoder.writable())?;
            if count == 0 {
                return Err("the template provider has closed the connection".into());
            }
            self.decoder.advance(count);
        }
    }

    /// The first words of every Stratum V2 connection (specification 3.5).
    fn set_up(&mut self) -> Result<(), Box<dyn Error>> {
        self.send(&SetupConnection {
            protocol: Protocol::TEMPLATE_DISTRIBUTION.0,
            min_version: 2,
            max_version: 2,
            flags: 0,
            endpoint_host: "127.0.0.1".try_into()?,
            endpoint_port: self.stream.peer_addr()?.port(),
            vendor: "interop-cpp-no-cargo".try_into()?,
            hardware_version: "".try_into()?,
            firmware: "".try_into()?,
            device_id: "".try_into()?,
        })?;
        let (msg_type, payload) = self.receive()?;
        match CommonMessage::parse(msg_type, &payload)? {
            CommonMessage::SetupConnectionSuccess(success) => {
                println!(
                    "<- SetupConnection.Success: version {}",
                    success.used_version
                );
                Ok(())
            }
            other => Err(format!("not set up: {}", other.kind().name).into()),
        }
    }
}

/// Shows a message, and gives the template's number if it has one.
fn show(message: &Message<'_>) -> Option<u64> {
    match message {
        Message::NewTemplate(template) => {
            let (id, sats) = (template.template_id, template.coinbase_tx_value_remaining);
            println!("<- NewTemplate {id}: {sats} sat to spend");
            Some(id)
        }
        Message::SetNewPrevHash(tip) => {
            let digits = tip.prev_hash.0.iter().rev();
            let hash: String = digits.map(|byte| format!("{byte:02x}")).collect();
            println!(
                "<- SetNewPrevHash: template {} on block {hash}",
                tip.template_id
            );
            Some(tip.template_id)
        }
        Message::RequestTransactionDataSuccess(data) => {
            let (id, count) = (data.template_id, data.transaction_list.len());
            println!("<- RequestTransactionData.Success: template {id} has {count} transactions");
            Some(id)
        }
        Message::RequestTransactionDataError(refused) => {
            let (id, code) = (refused.template_id, &refused.error_code);
            println!("<- RequestTransactionData.Error: template {id}: {code}");
            Some(id)
        }
        other => {
            println!("<- {}", other.kind().name);
            None
        }
    }
}

fn run(server: &str) -> Result<(), Box<dyn Error>> {
    let mut peer = Peer::connect(server)?;
    peer.set_up()?;
    peer.send(&CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: 43,
        coinbase_output_max_additional_sigops: 0,
    })?;
    let (msg_type, payload) = peer.receive()?;
    let template_id = show(&Message::parse(msg_type, &payload)?).ok_or("no template comes")?;
    let (msg_type, payload) = peer.receive()?;
    if show(&Message::parse(msg_type, &payload)?) != Some(template_id) {
        return Err("no tip for the template comes".into());
    }
    for template_id in [template_id, u64::MAX] {
        peer.send(&RequestTransactionData { template_id })?;
        let (msg_type, payload) = peer.receive()?;
        show(&Message::parse(msg_type, &payload)?).ok_or("no answer about the template")?;
    }
    println!("done");
    Ok(())
}

fn main() -> ExitCode {
    let server = std::env::args().nth(1);
    match server
        .ok_or("usage: peer HOST:PORT".into())
        .and_then(|server| run(&server))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
