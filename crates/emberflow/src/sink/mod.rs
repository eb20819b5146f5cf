//! Where rows go: text files, and files of serialised rows.

mod object;
mod text;
