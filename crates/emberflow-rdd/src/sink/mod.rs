//! Where rows go: text files, files of serialised rows, and checkpoints.

mod checkpoint;
mod object;
mod text;
