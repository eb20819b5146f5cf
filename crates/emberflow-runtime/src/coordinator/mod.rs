//! The coordinator: a pure state machine that decides, and an actor that carries out what it decides.

mod actor;
pub(crate) mod machine;
pub(crate) mod residents;
pub(crate) mod stragglers;
pub(crate) mod watch;

pub(crate) use actor::{
    CancelAll, CancelJob, CancelMatching, Coordinator, DescribeStore, Evicted, Forget, KillPartition, Lend, Links,
    Made, MakeRoom, PartitionGone, Start, Stop, Submit, TaskReport,
};
pub use stragglers::Speculation;
