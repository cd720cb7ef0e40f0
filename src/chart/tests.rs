//! Pictures: what is in them, and that they can be read.
