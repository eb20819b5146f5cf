//! How messages are sent: the one place that may overrun a mailbox's bound.
//!
//! Actix's bound is no back-pressure (`do_send` ignores it, every cloned address gets a message above it), so the
//! number of messages is bounded where they arise: tasks by the machine's width, partition notices by the number of
//! partitions, everything else by what users ask for.

use actix::{
    Actor, Addr, Handler, Message,
    dev::{MessageResponse, ToEnvelope},
    prelude::SendError,
};

/// From a test: panic, as a bug in a handler of ours would.
pub(crate) struct Break;

impl Message for Break {
    type Result = ();
}

impl Break {
    /// Panics.
    pub(crate) fn strike() {
        panic!("a handler panics on purpose");
    }
}

/// Sends without waiting. Gives the message back if the actor is dead, so that nobody waits for an answer in vain.
pub(crate) fn post<A, M>(to: &Addr<A>, message: M) -> Result<(), M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: MessageResponse<A, M> + Send,
{
    match to.try_send(message) {
        Ok(()) => Ok(()),
        Err(SendError::Closed(message)) => Err(message),
        Err(SendError::Full(message)) => {
            #[allow(clippy::disallowed_methods, reason = "bounded where it arises; see the module")]
            to.do_send(message);
            Ok(())
        }
    }
}
