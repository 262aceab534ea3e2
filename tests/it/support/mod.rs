//! A gateway between a client and a simulated upstream, all on real sockets.

mod http;
mod world;

pub(crate) use self::{
    http::{Answer, Http, chat, chat_stream, raw},
    world::{PROVIDER_KEY, World},
};
