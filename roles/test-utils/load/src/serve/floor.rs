//! The bare server: reads the same bytes, writes as many, and understands nothing.

use std::cell::RefCell;
use std::sync::Arc;

use anyhow::Context;
use binary_sv2::Message;
use const_sv2::MessageKind;
use framing_sv2::Header;
use mining_sv2::{SetNewPrevHash, SubmitSharesSuccess};
use network_helpers_sv2::Protocol;
use stratum_runtime::{CoreRuntimes, Shutdown};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::{Order, tell, threads};
use crate::args::Args;
use crate::client::sv1::{BARE_ANSWER, BARE_TIP};

/// What the bare server writes.
struct Bare {
    share_len: usize,
    acks: usize,
    ack_len: usize,
    /// Acknowledgements, one after the other.
    ack_frames: Vec<u8>,
    tip_frame: Vec<u8>,
}

/// Acknowledgements that the bare server writes at once.
const ACKS_AT_ONCE: usize = 1024;

/// Bytes that the bare server reads at once.
const READ_LEN: usize = 16 * 1024;

impl Bare {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let [share_len, ack_len, tip_len] = *args.bare_lens else {
            anyhow::bail!("--bare-lens needs three lengths");
        };
        anyhow::ensure!(share_len > 0, "a share has some bytes");
        let (ack, tip_frame) = match args.protocol() {
            Protocol::Sv1 => (line(BARE_ANSWER, ack_len), line(BARE_TIP, tip_len)),
            Protocol::Sv2 => (
                frame(&SubmitSharesSuccess::KIND, ack_len)?,
                frame(&SetNewPrevHash::KIND, tip_len)?,
            ),
        };
        Ok(Self {
            share_len,
            acks: args.shares_per_answer(),
            ack_len,
            ack_frames: ack.repeat(ACKS_AT_ONCE),
            tip_frame,
        })
    }
}

/// A frame of `len` bytes, zeros behind its header.
fn frame(kind: &MessageKind, len: usize) -> anyhow::Result<Vec<u8>> {
    let payload_len = len
        .checked_sub(Header::LEN)
        .context("a frame has a header")?;
    let mut frame = Header::for_message(kind, payload_len)?.to_bytes().to_vec();
    frame.resize(len, 0);
    Ok(frame)
}

/// A line of `len` bytes, its end included; blanks fill it up.
fn line(text: &str, len: usize) -> Vec<u8> {
    let width = len.saturating_sub(1);
    format!("{text:width$}\n").into_bytes()
}

pub(super) async fn run(
    args: &Args,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let bare = Arc::new(Bare::new(args)?);
    let (tip, tips) = watch::channel(0_u32);
    let cores = CoreRuntimes::new(threads(args), &shutdown)?;
    let listener = stratum_runtime::bind(([127, 0, 0, 1], 0).into(), "the bare server")?;
    tell(listener.local_addr()?, None)?;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Tip) => tip.send_modify(|tip| *tip += 1),
                Some(Order::Shares) => {}
                None => return Ok(()),
            },
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("accept")?;
                stream.set_nodelay(true)?;
                let (bare, tips) = (bare.clone(), tips.clone());
                cores.spawn(move || async move {
                    // An error is the client's end.
                    let _ = answer(stream, &bare, tips).await;
                })?;
            }
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    bare: &Bare,
    mut tips: watch::Receiver<u32>,
) -> std::io::Result<()> {
    let mut unread = 0;
    let mut owed = 0;
    tips.mark_unchanged();
    loop {
        tokio::select! {
            biased;
            Ok(()) = tips.changed() => stream.write_all(&bare.tip_frame).await?,
            ready = stream.readable() => {
                ready?;
                match read(&stream)? {
                    Some(0) => return Ok(()),
                    len => unread += len.unwrap_or(0),
                }
                owed += unread / bare.share_len;
                unread %= bare.share_len;
                let len = owed / bare.acks * bare.ack_len;
                owed %= bare.acks;
                let acks = bare.ack_frames.get(..len).unwrap_or(&bare.ack_frames);
                if !acks.is_empty() {
                    stream.write_all(acks).await?;
                }
            }
        }
    }
}

/// Reads and forgets; apart from [`answer`], so that no idle connection holds the buffer. `None` when nothing is there.
fn read(stream: &TcpStream) -> std::io::Result<Option<usize>> {
    READ_BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        read => read.map(Some),
    })
}

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}
