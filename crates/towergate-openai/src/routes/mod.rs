//! The route table: every endpoint that is known, as one row each.
//!
//! A row says what an endpoint is called in metrics and spans, how its request body is read, and
//! how its answer is treated. Nothing is refused for want of a row: what is unknown has the last
//! row, [`OTHER`], and goes upstream as it came.
//!
//! Matching takes the family by its first segment, then walks path and templates side by side. It
//! knows the method: `POST /chat/completions` asks a model, `GET /chat/completions` lists what was stored. `PUT` and
//! `PATCH` have the rows of `POST`, as there are servers that do not tell them apart. `HEAD` has no rows, since its
//! answers have no body that could be read.
//!
//! A path that the server behind the gateway may read as that of a row is of that row: percent-encoded, with doubled
//! slashes or one at the end, with path parameters ([`normalize`]), or in another case. It goes
//! upstream as it came. Nothing is allocated for a path that is written as it should be.
//!
//! ```
//! use http::Method;
//! use towergate_openai::routes;
//!
//! let route = routes::find(&Method::POST, "/chat/completions");
//! assert_eq!(route.name, "chat.completions");
//! assert!(route.generates && route.requires_model);
//!
//! assert_eq!(routes::find(&Method::GET, "/files/file-1/content").name, "files.content");
//! assert_eq!(routes::find(&Method::POST, "/something/new").name, "other");
//! ```

mod table;

use std::{borrow::Cow, collections::HashMap, ops::Range, sync::LazyLock};

use http::Method;
use towergate_core::{Route, path::normalize};

use self::table::{OTHER_INDEX, TABLE, VERBS};

/// The base path of OpenAI's API; templates are below it.
pub const BASE_PATH: &str = "/v1";

/// The template of an endpoint that OpenAI does not have: of the prompts that are stored at a provider, and made elsewhere.
/// A client's key reaches them with it.
pub const PROMPTS: &str = "/prompts/{id}";

/// The row of everything unknown: not read, not held, and only under the base path.
pub static OTHER: &Route = &TABLE[OTHER_INDEX];

/// Every row, in the order of [`Route::index`]; [`OTHER`] is the last.
#[must_use]
pub fn all() -> &'static [Route] {
    &TABLE
}

/// The row of a request. `path` is below the base path, begins with `/` and has no query.
#[must_use]
pub fn find(method: &Method, path: &str) -> &'static Route {
    let normal = normalize(path);
    find_known(method, &normal)
        .or_else(|| find_known(method, &normal.to_ascii_lowercase()))
        // An id may hold what a path is not expected to.
        .or_else(|| matches!(normal, Cow::Owned(_)).then(|| find_known(method, path)).flatten())
        .unwrap_or(OTHER)
}

/// The methods that rows know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
    /// Any method at all: what is below a prefix.
    Any,
}

/// The rows of each first segment: a family's rows stand together.
static FAMILIES: LazyLock<HashMap<&'static str, Range<usize>>> = LazyLock::new(|| {
    let mut families: HashMap<_, Range<usize>> = HashMap::new();
    for route in &TABLE[..OTHER_INDEX] {
        let rows = families.entry(family(route.template)).or_insert(route.index..route.index);
        rows.end = route.index + 1;
    }
    families
});

fn find_known(method: &Method, path: &str) -> Option<&'static Route> {
    let verb = match *method {
        Method::GET => Some(Verb::Get),
        Method::POST | Method::PUT | Method::PATCH => Some(Verb::Post),
        Method::DELETE => Some(Verb::Delete),
        _ => None,
    };
    let rows = FAMILIES.get(family(path))?.clone();
    let verbs = VERBS.get(rows.clone())?;
    let routes = TABLE.get(rows)?;
    routes.iter().zip(verbs).find_map(|(route, asked)| {
        let right_method = *asked == Verb::Any || Some(*asked) == verb;
        (right_method && matches(route.template, path)).then_some(route)
    })
}

/// The first segment of a path.
fn family(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or_default();
    path.split_once('/').map_or(path, |(first, _)| first)
}

/// Whether a path has the form of a template: `{id}` is one segment, `{rest}` one or more.
fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template, path);
    loop {
        let Some((literal, rest)) = template.split_once('{') else { return template == path };
        let Some(after) = path.strip_prefix(literal) else { return false };
        let Some((name, behind)) = rest.split_once('}') else { return false };
        let length = if name == "rest" { after.len() } else { after.find('/').unwrap_or(after.len()) };
        if length == 0 {
            return false;
        }
        (template, path) = (behind, &after[length..]);
    }
}

#[cfg(test)]
mod tests;
