//! Values that tasks and the driver share besides rows: [`Accumulator`](accumulator::Accumulator)s that tasks only add
//! to, [`Broadcast`](broadcast::Broadcast)s that they only read, and facts about a task that it may ask for.

pub(crate) mod accumulator;
pub(crate) mod broadcast;
pub(crate) mod task_info;
