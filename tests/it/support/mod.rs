//! A gateway between a client and a simulated upstream, all on real sockets.

mod authority;
mod counted;
mod http;
mod metered;
mod several;
mod upstream;
mod world;

pub(crate) use self::{
    authority::{Authority, connect},
    counted::counted,
    http::{Answer, Http, chat, chat_stream, raw},
    metered::{count, metered},
    several::Several,
    upstream::Upstream,
    world::{PROVIDER_KEY, World, WorldBuilder},
};
