//! Everything in this process's memory; nothing survives it.
