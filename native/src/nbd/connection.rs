//! One connection that many threads use at a time.
//!
//! Each thread sends its own requests and reads its own replies, straight into its own buffers. What they
//! share is the receiving end: whoever holds it reads the next header, and hands the end to the thread whose
//! reply it introduces. So no thread of our own stands between a reply and whoever waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::nbd::failure::NbdFailure;
use crate::nbd::frames::{ReplyHeader, Request};
use crate::nbd::handshake::{Agreed, Negotiated, Wanted, negotiate};
use crate::nbd::protocol::CMD_DISC;
use crate::nbd::receiver::Receiver;
use crate::nbd::reply::{Answer, Reply};
use crate::nbd::tls::Tls;
use crate::nbd::wire::{Wire, send_all};
use crate::waiting::lock;

/// How long a server may be silent while something is asked of it.
pub const WAITING: Duration = Duration::from_secs(60);

/// The same while it makes bytes durable, zeroes them or looks for where they are.
pub const WAITING_LONG: Duration = Duration::from_secs(600);

/// A thread that nobody wakes looks by itself whether it has been forgotten.
const PARKED_MAX: Duration = Duration::from_millis(500);

/// Requests that one call has under way.
pub const REQUESTS_PER_CALL: usize = 16;

/// A server that has been agreed with.
pub struct Connection {
    wire: Arc<dyn Wire>,
    pub agreed: Agreed,
    /// The next cookie; held while a request is sent, so that requests do not mix.
    sending: Mutex<u64>,
    line: Mutex<Line>,
    callers: AtomicUsize,
}

/// Who waits for what.
struct Line {
    /// There unless a thread holds it.
    receiver: Option<Box<Receiver>>,
    /// The thread that must take the receiver next, because this header of its reply has been read.
    offered: Option<(u64, ReplyHeader)>,
    /// Which call each request belongs to.
    owners: HashMap<u64, u64>,
    parked: Vec<(u64, Thread)>,
    failure: Option<NbdFailure>,
}

impl Connection {
    /// Agrees with a server on the other end of `wire`, inside of TLS where that is given.
    pub fn open(
        wire: Arc<dyn Wire>,
        tls: Option<&Tls>,
        wanted: &Wanted,
        limit: Duration,
    ) -> Result<Self, NbdFailure> {
        let Negotiated {
            wire,
            receiver,
            agreed,
        } = negotiate(wire, tls, wanted, limit)?;
        let line = Line {
            receiver: Some(receiver),
            offered: None,
            owners: HashMap::new(),
            parked: Vec::new(),
            failure: None,
        };
        Ok(Self {
            wire,
            agreed,
            sending: Mutex::new(1),
            line: Mutex::new(line),
            callers: AtomicUsize::new(0),
        })
    }

    /// Calls under way.
    pub fn callers(&self) -> usize {
        self.callers.load(Ordering::Relaxed)
    }

    /// Asks for all of `questions`, several at a time, and gives each answer to `settle` with its number, in
    /// the order of arrival. A server's refusal is settled too; an error is one of the connection, and
    /// leaves the rest unasked.
    pub fn ask<'a, A: Answer>(
        &self,
        questions: impl Iterator<Item = Question<'a, A>>,
        waiting: Duration,
        mut settle: impl FnMut(usize, Result<A, NbdFailure>) -> Flow,
    ) -> Result<(), NbdFailure> {
        let mut caller = Caller::new(self, waiting);
        let mut questions = questions.enumerate();
        let mut open: Vec<(usize, Reply<A>)> = Vec::with_capacity(REQUESTS_PER_CALL);
        let mut flow = Flow::GoOn;
        loop {
            while flow == Flow::GoOn
                && open.len() < REQUESTS_PER_CALL
                && let Some((number, question)) = questions.next()
            {
                let cookie = caller.send(&question.request, question.payload)?;
                open.push((number, Reply::new(cookie, question.answer)));
            }
            if open.is_empty() {
                return Ok(());
            }
            let (header, receiver) = caller.next()?;
            let found = open
                .iter()
                .position(|(_, reply)| reply.cookie == header.cookie());
            let is_last = match found {
                Some(at) => open[at]
                    .1
                    .take(&header, receiver, self.agreed.style, waiting),
                None => Err(NbdFailure::protocol("a reply after its last chunk")),
            };
            if is_last.map_err(|failure| self.fail(failure))?
                && let Some(at) = found
            {
                let (number, reply) = open.swap_remove(at);
                caller.settle(reply.cookie);
                if settle(number, reply.outcome()) == Flow::Stop {
                    flow = Flow::Stop;
                }
            }
        }
    }

    /// Ends every call under way, and the connection with them: whoever waits for a silent server is free.
    pub fn interrupt(&self) {
        self.fail(NbdFailure::new(libc::ECANCELED, "it was interrupted"));
    }

    /// Ends the connection for everybody; the first failure is what all are told.
    fn fail(&self, failure: NbdFailure) -> NbdFailure {
        let mut line = lock(&self.line);
        let failure = line.failure.get_or_insert(failure).clone();
        for (_, thread) in line.parked.drain(..) {
            thread.unpark();
        }
        drop(line);
        self.wire.close();
        failure
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if lock(&self.line).failure.is_none() {
            let goodbye = Request {
                command: CMD_DISC,
                flags: 0,
                offset: 0,
                length: 0,
            };
            if let Ok(header) = goodbye.encode(0, self.agreed.style) {
                // Whether it hears that or not, it sees the end.
                let _ = send_all(&*self.wire, header.as_slice(), &[], Duration::ZERO);
                self.wire.farewell();
            }
        }
        self.wire.close();
    }
}

/// A request, what is sent with it and where its answer goes.
pub struct Question<'a, A> {
    pub request: Request,
    pub payload: &'a [u8],
    pub answer: A,
}

/// Whether more is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    GoOn,
    Stop,
}

static CALLER_NUMBERS: AtomicU64 = AtomicU64::new(0);

/// One thread's part in a connection, for the time of one call.
struct Caller<'a> {
    connection: &'a Connection,
    number: u64,
    waiting: Duration,
    held: Option<Box<Receiver>>,
    unsettled: usize,
}

impl<'a> Caller<'a> {
    fn new(connection: &'a Connection, waiting: Duration) -> Self {
        connection.callers.fetch_add(1, Ordering::Relaxed);
        Self {
            connection,
            number: CALLER_NUMBERS.fetch_add(1, Ordering::Relaxed),
            waiting,
            held: None,
            unsettled: 0,
        }
    }

    /// Sends a request and answers its cookie.
    fn send(&mut self, request: &Request, payload: &[u8]) -> Result<u64, NbdFailure> {
        // Others may receive while this thread waits for the server to take what it sends.
        self.release();
        let connection = self.connection;
        let mut next_cookie = lock(&connection.sending);
        let cookie = *next_cookie;
        *next_cookie += 1;
        let header = request.encode(cookie, connection.agreed.style)?;
        let mut line = lock(&connection.line);
        if let Some(failure) = &line.failure {
            return Err(failure.clone());
        }
        line.owners.insert(cookie, self.number);
        drop(line);
        self.unsettled += 1;
        send_all(&*connection.wire, header.as_slice(), payload, self.waiting)
            .map_err(|failure| connection.fail(failure))?;
        Ok(cookie)
    }

    /// The next header for one of this call's requests, and the end from which the rest is to be read.
    fn next(&mut self) -> Result<(ReplyHeader, &mut Receiver), NbdFailure> {
        let connection = self.connection;
        loop {
            let (mut receiver, header) = match self.held.take() {
                Some(receiver) => (receiver, None),
                None => self.wait_for_turn()?,
            };
            let header = match header {
                Some(header) => header,
                None => ReplyHeader::receive(&mut receiver, connection.agreed.style, self.waiting)
                    .map_err(|failure| connection.fail(failure))?,
            };
            let owner = lock(&connection.line).owners.get(&header.cookie()).copied();
            match owner {
                Some(owner) if owner == self.number => {
                    return Ok((header, self.held.insert(receiver)));
                }
                Some(owner) => self.hand_over(receiver, owner, header),
                None => {
                    let failure = NbdFailure::protocol("a reply to nothing that was asked");
                    return Err(connection.fail(failure));
                }
            }
        }
    }

    /// Waits for the receiving end, which may come with a header of ours.
    fn wait_for_turn(&self) -> Result<(Box<Receiver>, Option<ReplyHeader>), NbdFailure> {
        loop {
            let mut line = lock(&self.connection.line);
            if let Some(failure) = &line.failure {
                return Err(failure.clone());
            }
            let is_mine = line.offered.is_none_or(|(owner, _)| owner == self.number);
            if is_mine && let Some(receiver) = line.receiver.take() {
                return Ok((receiver, line.offered.take().map(|(_, header)| header)));
            }
            line.parked.push((self.number, thread::current()));
            drop(line);
            thread::park_timeout(PARKED_MAX);
            let mut line = lock(&self.connection.line);
            line.parked.retain(|(number, _)| *number != self.number);
        }
    }

    fn hand_over(&self, receiver: Box<Receiver>, owner: u64, header: ReplyHeader) {
        let mut line = lock(&self.connection.line);
        line.receiver = Some(receiver);
        line.offered = Some((owner, header));
        wake(&mut line, |number| number == owner);
    }

    /// Lets anybody receive.
    fn release(&mut self) {
        if let Some(receiver) = self.held.take() {
            let mut line = lock(&self.connection.line);
            line.receiver = Some(receiver);
            wake(&mut line, |_| true);
        }
    }

    /// Forgets a request whose reply has ended.
    fn settle(&mut self, cookie: u64) {
        lock(&self.connection.line).owners.remove(&cookie);
        self.unsettled -= 1;
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.connection.callers.fetch_sub(1, Ordering::Relaxed);
        if self.unsettled > 0 {
            // A reply that nobody reads would be taken for another one's.
            let message = "a call ended before its replies came";
            self.connection.fail(NbdFailure::new(libc::EIO, message));
        }
        self.release();
    }
}

fn wake(line: &mut Line, is_wanted: impl Fn(u64) -> bool) {
    let found = line
        .parked
        .iter()
        .position(|(number, _)| is_wanted(*number));
    if let Some(at) = found {
        line.parked.swap_remove(at).1.unpark();
    }
}
