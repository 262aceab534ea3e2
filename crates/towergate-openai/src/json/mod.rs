//! JSON, read without building anything: the shallow look at requests, events and answers.
//!
//! Two readers over one grammar (RFC 8259):
//!
//! - [`Reader`] walks a document that is in memory: into the objects that are of interest, over all
//!   others. It borrows, and allocates only for a string with escapes.
//! - [`Document`] is fed a document in pieces and keeps none of it but a few values of the top
//!   level.
//!
//! Both are strict about the structure, so that they can't disagree with the reader behind them
//! about what belongs where. They leave to that reader what has no bearing on it: invalid UTF-8 and
//! lone surrogates inside strings, the size of numbers, `NaN`, `Infinity` and
//! `-Infinity` (which Python writes: logprobs hold them).
//! Nesting may be as deep as it likes: it costs one bit a level, and no recursion.

mod document;
mod reader;
mod skip;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::tests::any_json;
pub(crate) use self::{
    document::Document,
    reader::{Reader, decode},
};

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends too early.
    End,
    /// It is something else.
    Malformed,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
