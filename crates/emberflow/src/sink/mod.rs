//! Where rows go: text files.

mod text;
