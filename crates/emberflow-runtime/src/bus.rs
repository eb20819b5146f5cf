//! The event bus: hands every event to every subscriber, and waits for none of them.
//!
//! A subscriber that does not keep up misses events and is told so by [`Event::Gap`]; no job is slowed down by it.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use crossbeam::channel::{self, Receiver, Select, Sender, TryRecvError, TrySendError};
use emberflow_core::event::Event;

/// An event with the time at which it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// The time at which it was published.
    pub at: SystemTime,
    /// The event.
    pub event: Event,
}

/// A subscription. Dropping it ends it.
#[derive(Debug)]
pub struct EventStream {
    records: Receiver<EventRecord>,
    over: bool,
}

/// Rings when there is an event to take, or there will be none any more.
pub(crate) struct Bell(Receiver<EventRecord>);

impl Bell {
    /// Waits for that, so long at most.
    pub(crate) fn wait(&self, most: Option<Duration>) {
        let mut select = Select::new();
        select.recv(&self.0);
        match most {
            // Whether in time or not: whoever waits looks.
            Some(most) => _ = select.ready_timeout(most),
            None => _ = select.ready(),
        }
    }
}

impl EventStream {
    /// The next event, if one has come.
    pub fn try_next(&mut self) -> Option<EventRecord> {
        let next = self.records.try_recv();
        self.over |= next == Err(TryRecvError::Disconnected);
        next.ok()
    }

    /// Returns whether there are no more, and will be none.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// To wait for an event without taking it.
    pub(crate) fn bell(&self) -> Bell {
        Bell(self.records.clone())
    }

    /// The next event, if one comes in time and the context lives.
    pub fn next_within(&mut self, time: Duration) -> Option<EventRecord> {
        self.records.recv_timeout(time).ok()
    }
}

/// Waits for each event; ends when the context does.
impl Iterator for EventStream {
    type Item = EventRecord;

    fn next(&mut self) -> Option<EventRecord> {
        self.records.recv().ok()
    }
}

struct Subscriber {
    records: Sender<EventRecord>,
    missed: u64,
}

/// Hands events to everybody who listens to a context.
#[derive(Default)]
pub struct Bus {
    subscribers: Mutex<Option<Vec<Subscriber>>>,
    heard: AtomicBool,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self { subscribers: Mutex::new(Some(Vec::new())), heard: AtomicBool::new(false) }
    }

    pub(crate) fn subscribe(&self, capacity: usize) -> EventStream {
        let (send, records) = channel::bounded(capacity);
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscribers) = subscribers.as_mut() {
            subscribers.push(Subscriber { records: send, missed: 0 });
            self.heard.store(true, Ordering::Release);
        }
        EventStream { records, over: false }
    }

    /// Hands an event to every subscriber. Waits for none of them.
    pub fn publish(&self, event: &Event) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(subscribers) = subscribers.as_mut().filter(|subscribers| !subscribers.is_empty()) else { return };
        let at = SystemTime::now();
        subscribers.retain_mut(|subscriber| subscriber.offer(at, event));
        self.heard.store(!subscribers.is_empty(), Ordering::Release);
    }

    /// Returns whether anybody listens, so that what is only worth telling need not be made for nobody.
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// Ends all subscriptions: nothing happens after this.
    pub(crate) fn close(&self) {
        *self.subscribers.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("is_heard", &self.is_heard()).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Returns whether the subscriber is still there.
    fn offer(&mut self, at: SystemTime, event: &Event) -> bool {
        if self.missed > 0 {
            match self.records.try_send(EventRecord { at, event: Event::Gap { missed: self.missed } }) {
                Ok(()) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        match self.records.try_send(EventRecord { at, event: event.clone() }) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use emberflow_core::ids::StageId;

    use super::*;

    #[test]
    fn a_slow_subscriber_is_told_how_much_it_missed_and_nobody_waits_for_it() {
        let bus = Bus::new();
        let mut slow = bus.subscribe(2);
        let event = |stage| Event::StageFinished { stage: StageId::new(stage) };
        for stage in 0..5 {
            bus.publish(&event(stage));
        }
        assert_eq!(slow.try_next().unwrap().event, event(0));
        assert_eq!(slow.try_next().unwrap().event, event(1));
        bus.publish(&event(5));
        assert_eq!(slow.try_next().unwrap().event, Event::Gap { missed: 3 });
        assert_eq!(slow.try_next().unwrap().event, event(5));
        bus.close();
        assert!(slow.next().is_none());
    }
}
