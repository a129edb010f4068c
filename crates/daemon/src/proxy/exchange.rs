//! The daemon's end of one stream. Must never: send beyond the program's window, or hold a body beyond its bound.
use super::problem::Problem;
use crate::fleet::Connection;
use std::collections::BTreeMap;
use std::time::Duration;
use tenure_wire::stream::{FromProgram, REQUEST_BYTES_MAX, ToProgram, WINDOW, part, room};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a program may take between two pieces of its request, and to take one of its answer.
const PART_TIMEOUT: Duration = Duration::from_secs(90);

/// The program has gone, or its worker has.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) struct Exchange {
    pub(super) connection: Connection,
    stream: u64,
    parts: mpsc::Receiver<FromProgram>,
    room: usize,
    begun: bool,
}

impl Exchange {
    pub(super) fn new(connection: Connection, stream: u64, parts: mpsc::Receiver<FromProgram>) -> Exchange {
        Exchange { connection, stream, parts, room: WINDOW, begun: false }
    }

    /// Whether a head was sent, so that an error can only break it off.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    async fn tell(&self, part: ToProgram) -> Result<(), Gone> {
        self.connection.tell_program(self.stream, part).await.map_err(|_| Gone)
    }

    /// The whole body. `Ok(Err)`: why it is not taken.
    pub(super) async fn body(&mut self) -> Result<Result<String, Problem>, Gone> {
        let mut body = String::new();
        loop {
            let part = timeout(PART_TIMEOUT, self.parts.recv()).await.map_err(|_| Gone)?.ok_or(Gone)?;
            match part {
                FromProgram::Data { text } => {
                    if body.len() + text.len() > REQUEST_BYTES_MAX {
                        return Ok(Err(Problem::too_large()));
                    }
                    body.push_str(&text);
                    self.tell(ToProgram::Credit { room: room(&text) }).await?;
                }
                FromProgram::End => return Ok(Ok(body)),
                FromProgram::Credit { .. } => {}
                FromProgram::Open(_) | FromProgram::Close => return Err(Gone),
            }
        }
    }

    pub(super) async fn head(&mut self, status: u16, headers: &[(&str, String)]) -> Result<(), Gone> {
        self.begun = true;
        let headers: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect();
        self.tell(ToProgram::Head { status, headers }).await
    }

    /// Sends text as the program takes it.
    pub(super) async fn data(&mut self, text: &str) -> Result<(), Gone> {
        let mut rest = text;
        while !rest.is_empty() {
            let (first, after) = part(rest);
            while self.room < room(first) {
                let part = timeout(PART_TIMEOUT, self.parts.recv()).await.map_err(|_| Gone)?.ok_or(Gone)?;
                self.take(&part)?;
            }
            self.room -= room(first);
            self.tell(ToProgram::Data { text: first.to_string() }).await?;
            rest = after;
        }
        Ok(())
    }

    pub(super) async fn end(self) {
        // Nobody is left to be told where it fails.
        let _ = self.tell(ToProgram::End).await;
    }

    pub(super) async fn break_off(self) {
        let _ = self.tell(ToProgram::Close).await;
    }

    /// Resolves once the program has gone; room that it gives meanwhile counts.
    pub(super) async fn gone(&mut self) -> Gone {
        while let Some(part) = self.parts.recv().await {
            if self.take(&part).is_err() {
                break;
            }
        }
        Gone
    }

    fn take(&mut self, part: &FromProgram) -> Result<(), Gone> {
        match part {
            FromProgram::Credit { room } => {
                self.room = self.room.saturating_add(*room).min(WINDOW);
                Ok(())
            }
            // Of a body that nobody reads.
            FromProgram::Data { .. } | FromProgram::End => Ok(()),
            FromProgram::Open(_) | FromProgram::Close => Err(Gone),
        }
    }
}
