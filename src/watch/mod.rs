//! Sees files: which of the watched ones have another content than at the last look.
