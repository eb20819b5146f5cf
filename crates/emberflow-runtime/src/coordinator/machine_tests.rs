//! The machine under every order of events (`exhaustive`), under many (`random`), and under those that have a name
//! (`stories`). `world` plays the shell and knows what has to come out of each step.

#[path = "machine_tests/exhaustive.rs"]
mod exhaustive;
#[path = "machine_tests/jobs.rs"]
mod jobs;
#[path = "machine_tests/random.rs"]
mod random;
#[path = "machine_tests/stories.rs"]
mod stories;
#[path = "machine_tests/world.rs"]
mod world;
