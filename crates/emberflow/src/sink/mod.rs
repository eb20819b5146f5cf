//! Where rows go: text files, and checkpoints.

mod checkpoint;
mod text;
