//! BDAT: a message in counted chunks (RFC 3030 §2).
//!
//! The octets of a chunk follow its command whatever the answer to it will be, so they are read in any case, and the
//! answer is sent behind them. After a refusal the transaction is over; chunks that follow are refused for want of one.
//!
//! Deviation: BINARYMIME is not offered, and what comes in chunks obeys the rules of DATA: lines end in CRLF.

use super::{Abort, Decoder, Event, Question, Session, State, decode, replies};
use crate::mail::reply::Reply;
use crate::smtp::command::Chunk;

/// A chunk that is being read.
#[derive(Debug)]
pub(super) struct Incoming {
    chunk: Chunk,
    remaining: u64,
    /// The answer, if it is a refusal that was clear before.
    refusal: Option<Reply>,
}

impl Session {
    /// Handles the command; its octets come next.
    pub(super) fn take_chunk_command(&mut self, chunk: Chunk) {
        match self.known.transaction_with_recipients() {
            Ok(transaction) if transaction.chunked.is_some() => self.read_chunk(chunk, None),
            Ok(_) => self.ask(Question::FirstChunk(chunk), Event::DataStart),
            Err(refusal) => self.read_chunk(chunk, Some(refusal)),
        }
    }

    /// The owner takes the message: reads the first chunk of it.
    pub(super) fn start_chunks(&mut self, chunk: Chunk) {
        let decoder = Decoder::counted(self.bounds());
        if let Some(transaction) = &mut self.known.transaction {
            transaction.chunked = Some(decoder);
        }
        self.begin_data();
        self.read_chunk(chunk, None);
    }

    pub(super) fn read_chunk(&mut self, chunk: Chunk, refusal: Option<Reply>) {
        if refusal.is_some() {
            self.begin_data();
        }
        self.state = State::Chunk(Incoming {
            chunk,
            remaining: chunk.size_bytes,
            refusal,
        });
        self.wait.restart();
        if chunk.size_bytes == 0 {
            self.end_chunk();
        }
    }

    /// Takes octets of the chunk from the front of the input.
    pub(super) fn take_chunk(&mut self, input: &[u8]) -> usize {
        let State::Chunk(incoming) = &mut self.state else {
            return 0;
        };
        let length = usize::try_from(incoming.remaining).map_or(input.len(), |left| left.min(input.len()));
        let octets = &input[..length];
        if incoming.refusal.is_none()
            && let Some(decoder) = self
                .known
                .transaction
                .as_mut()
                .and_then(|open| open.chunked.as_mut())
        {
            decode(decoder, octets, &mut self.events);
        }
        incoming.remaining -= length as u64;
        self.data_octets = self.data_octets.saturating_add(length as u64);
        let is_complete = incoming.remaining == 0;
        self.wait.restart();
        if is_complete {
            self.end_chunk();
        }
        length
    }

    fn end_chunk(&mut self) {
        let State::Chunk(Incoming { chunk, refusal, .. }) =
            std::mem::replace(&mut self.state, State::Command)
        else {
            return;
        };
        match refusal {
            Some(refusal) => {
                self.send(&refusal);
                if refusal.is_permanent() {
                    self.count_error();
                }
            }
            None if chunk.last => self.end_chunks(),
            None => self.acknowledge(chunk),
        }
        self.settle();
    }

    /// Answers a chunk that is not the last one.
    fn acknowledge(&mut self, chunk: Chunk) {
        let decoder = self
            .known
            .transaction
            .as_ref()
            .and_then(|open| open.chunked.as_ref());
        match decoder.and_then(Decoder::fault) {
            Some(fault) => {
                self.known.transaction = None;
                self.complain(&replies::fault(fault));
            }
            // Chunks that bring nothing may not go on for ever.
            None if chunk.size_bytes == 0 => self.answer_idle(&replies::chunk_taken(0)),
            None => self.send(&replies::chunk_taken(chunk.size_bytes)),
        }
    }

    /// The message is complete.
    fn end_chunks(&mut self) {
        let Some(mut decoder) = self
            .known
            .transaction
            .as_mut()
            .and_then(|open| open.chunked.take())
        else {
            return;
        };
        let was_faulty = decoder.fault().is_some();
        decoder.finish();
        if let Some(fault) = decoder.fault().filter(|_| !was_faulty) {
            self.events.push_back(Event::DataAborted(Abort::Fault(fault)));
        }
        self.end_data(decoder.fault(), decoder.size_bytes());
    }
}
