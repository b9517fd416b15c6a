//! Parameters, by position or by name (protocol.md §3).

use std::fmt;

use crate::{
    cbor::{self, Kind, Reader},
    model::BadField,
    wire::{BadCall, Call, args::Arg},
};

/// Most parameters of any method.
const PARAMETERS_MAX: usize = 5;

/// Reads a method's parameters.
pub(super) type ReadCall = for<'a> fn(Params<'a>) -> Result<Call<'a>, BadCall>;

/// A method that clients can call.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// The names of its parameters, in their order by position.
    pub parameters: &'static [&'static str],
    /// How many of them must be given; the others come last.
    pub required: usize,
    pub(super) read: ReadCall,
}

impl Method {
    /// `parameters` are all that it takes, the first `required` of which must be there.
    pub(super) const fn new(
        name: &'static str,
        parameters: &'static [&'static str],
        required: usize,
        read: ReadCall,
    ) -> Method {
        assert!(required <= parameters.len() && parameters.len() <= PARAMETERS_MAX);
        Method {
            name,
            parameters,
            required,
            read,
        }
    }
}

/// A method is its name.
impl PartialEq for Method {
    fn eq(&self, other: &Method) -> bool {
        self.name == other.name
    }
}

impl Eq for Method {}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.parameters.join(", "))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The parameters of one call; the required ones are given, though perhaps as nil.
#[derive(Debug)]
pub(super) struct Params<'a> {
    method: &'static Method,
    items: [Option<&'a [u8]>; PARAMETERS_MAX],
}

impl<'a> Params<'a> {
    /// Takes apart the `params` of an envelope.
    pub(super) fn read(
        method: &'static Method,
        params: Option<&'a [u8]>,
    ) -> Result<Params<'a>, BadCall> {
        let mut given = Params {
            method,
            items: [None; PARAMETERS_MAX],
        };
        match params {
            None if method.required > 0 => {
                return Err(BadCall::WrongCount { method, given: 0 });
            }
            None => {}
            Some(params) if Reader::new(params).peek_kind() == Ok(Kind::Map) => {
                given.by_name(params)?;
            }
            Some(params) => given.by_position(params)?,
        }
        Ok(given)
    }

    fn by_position(&mut self, params: &'a [u8]) -> Result<(), BadCall> {
        let bad = |error| bad_params(params, error);
        let mut reader = Reader::new(params);
        let mut left = reader.array().map_err(|_| {
            let why = "must be a list, or a map of the parameters by name";
            BadField::new("params", params, why)
        })?;
        let mut given = 0;
        while reader.more(&mut left).map_err(bad)? {
            let item = reader.raw().map_err(bad)?;
            if let Some(slot) = self.items.get_mut(given) {
                *slot = Some(item);
            }
            given += 1;
        }
        let method = self.method;
        if given < method.required || given > method.parameters.len() {
            return Err(BadCall::WrongCount { method, given });
        }
        Ok(())
    }

    fn by_name(&mut self, params: &'a [u8]) -> Result<(), BadCall> {
        let bad = |error| bad_params(params, error);
        let method = self.method;
        let mut reader = Reader::new(params);
        let mut left = reader.map().map_err(bad)?;
        while reader.more(&mut left).map_err(bad)? {
            let key = reader.raw().map_err(bad)?;
            let item = reader.raw().map_err(bad)?;
            let slot = Reader::new(key).string().ok().and_then(|name| {
                let known = |parameter: &&str| parameter.as_bytes() == name.as_bytes();
                let index = method.parameters.iter().position(known)?;
                self.items.get_mut(index)
            });
            let Some(slot) = slot else {
                let name = cbor::diagnose(key, 60);
                return Err(BadCall::UnknownParameter { method, name });
            };
            *slot = Some(item);
        }
        let required = method.parameters.iter().take(method.required);
        match required.zip(&self.items).find(|(_, item)| item.is_none()) {
            Some((parameter, _)) => Err(BadCall::NoParameter { method, parameter }),
            None => Ok(()),
        }
    }

    /// All parameters of the method, in their order.
    pub(super) fn args<const N: usize>(self) -> [Arg<'a>; N] {
        let names: &[&'static str; N] = self
            .method
            .parameters
            .try_into()
            .expect("a method reads the parameters it is listed with");
        std::array::from_fn(|index| match self.items[index] {
            Some(item) => Arg {
                name: names[index],
                item,
            },
            None => Arg::absent(names[index]),
        })
    }
}

fn bad_params(params: &[u8], error: cbor::Error) -> BadCall {
    BadField::new("params", params, error).into()
}
