//! Why a request cannot be carried out, in the words that its sender reads.

use crate::{model::BadField, wire::Method};

/// A request that is well-formed CBOR but asks for nothing that can be done.
///
/// It is answered with an error reply, and the connection goes on (protocol.md §3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// The envelope lacks a key.
    #[error("request has no {0}")]
    Missing(&'static str),
    /// There is no method of this name (shortened, control characters escaped).
    #[error("no such method: {0}")]
    NoSuchMethod(String),
    /// Too few or too many parameters.
    #[error("{method} takes {}, got {given}", takes(.method))]
    WrongCount {
        /// The method.
        method: &'static Method,
        /// How many were given.
        given: usize,
    },
    /// Parameters by name, and one that must be there is not.
    #[error("{method} needs the parameter {parameter}; it takes {}", takes(.method))]
    NoParameter {
        /// The method.
        method: &'static Method,
        /// The name of what is missing.
        parameter: &'static str,
    },
    /// Parameters by name, and one of them is none of the method's.
    #[error("{method} has no parameter {name}; it takes {}", takes(.method))]
    UnknownParameter {
        /// The method.
        method: &'static Method,
        /// The name, in short.
        name: String,
    },
    /// A parameter, an option or a part of the envelope has a value that means nothing.
    #[error(transparent)]
    Field(#[from] BadField),
}

/// `2 parameters (worker_id, options)`
fn takes(method: &Method) -> String {
    let (required, all) = (method.required, method.parameters.len());
    let names = method.parameters.join(", ");
    match (required, all) {
        (_, 0) => "no parameters".to_owned(),
        (1, 1) => format!("1 parameter ({names})"),
        _ if required == all => format!("{all} parameters ({names})"),
        _ => format!("{required} to {all} parameters ({names})"),
    }
}
