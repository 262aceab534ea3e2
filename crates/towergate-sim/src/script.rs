//! Which request gets which fault.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use http::request::Parts;

use crate::{api::Refusal, fault::Fault};

/// How many different faults that are named by model or header are counted.
const COUNTED: usize = 1024;
/// The request header that names a fault. Gateways do not forward it.
const FAULT_HEADER: &str = "x-sim-fault";

/// Whether a scripted fault is for this request.
pub(crate) type Matches = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// The faults to come, and those that were used.
#[derive(Default)]
pub(crate) struct Script {
    queue: VecDeque<Entry>,
    /// How often each fault named by model or header was used, by its text.
    used: HashMap<String, u32>,
}

struct Entry {
    matches: Matches,
    fault: Fault,
    left: u32,
}

impl Script {
    pub(crate) fn queue(&mut self, matches: Matches, faults: Vec<Fault>) {
        self.queue.extend(faults.into_iter().filter_map(|fault| {
            let left = fault.times.unwrap_or(1);
            (left > 0).then(|| Entry { matches: Arc::clone(&matches), fault, left })
        }));
    }

    /// How many requests the queue has faults for.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.iter().map(|entry| u64::from(entry.left)).sum()
    }

    /// The fault that the queue or the header has for a request.
    pub(crate) fn scripted(&mut self, parts: &Parts) -> Result<Option<Fault>, Refusal> {
        if let Some(at) = self.queue.iter().position(|entry| (entry.matches)(parts))
            && let Some(entry) = self.queue.get_mut(at)
        {
            let fault = entry.fault.clone();
            entry.left -= 1;
            if entry.left == 0 {
                self.queue.remove(at);
            }
            return Ok(Some(fault));
        }
        match parts.headers.get(FAULT_HEADER) {
            Some(value) => self.named(&String::from_utf8_lossy(value.as_bytes())),
            None => Ok(None),
        }
    }

    /// A fault named by model or header; none any more once its `times` are used up.
    pub(crate) fn named(&mut self, text: &str) -> Result<Option<Fault>, Refusal> {
        let fault: Fault = text.parse().map_err(|error| Refusal::bad_request(format!("{error}")))?;
        let Some(times) = fault.times else { return Ok(Some(fault)) };
        if self.used.len() >= COUNTED && !self.used.contains_key(text) {
            self.used.clear();
        }
        let count = self.used.entry(text.to_owned()).or_default();
        *count = count.saturating_add(1);
        Ok((*count <= times).then_some(fault))
    }
}
