//! [`Api`]: the kinds of answers and streams.

use towergate_core::Route;

/// Which API's answers a route gives: what its streams look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `/chat/completions`.
    Chat,
    /// `/completions`.
    Completions,
    /// `/responses`, and a response that is replayed.
    Responses,
    /// `/embeddings` and `/moderations`, which do not stream.
    Vectors,
    /// `/images/generations` and `/images/edits`.
    Images,
    /// `/audio/speech`.
    Speech,
    /// `/audio/transcriptions`.
    Transcription,
    /// Runs of `/threads`.
    Assistants,
    /// All else.
    Other,
}

impl Api {
    pub(crate) fn of(route: &Route) -> Self {
        match route.name {
            "chat.completions" => Self::Chat,
            "completions" => Self::Completions,
            "responses" | "responses.get" | "responses.compact" => Self::Responses,
            "embeddings" | "moderations" => Self::Vectors,
            "images.generations" | "images.edits" => Self::Images,
            "audio.speech" => Self::Speech,
            "audio.transcriptions" => Self::Transcription,
            "threads.create_and_run" | "threads.runs.create" | "threads.runs.submit_tool_outputs" => {
                Self::Assistants
            }
            _ => Self::Other,
        }
    }

    /// Whether its streams are of chunks with choices, and end with `[DONE]`.
    pub(crate) fn ends_with_done(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// Whether its streams say when they are complete: one that did not is cut short.
    pub(crate) fn says_complete(self) -> bool {
        !matches!(self, Self::Other | Self::Vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes;

    #[test]
    fn every_api_has_a_route() {
        let has = |api| routes::all().iter().any(|route| Api::of(route) == api);
        for api in [Api::Chat, Api::Completions, Api::Responses, Api::Vectors, Api::Images] {
            assert!(has(api), "{api:?}");
        }
        for api in [Api::Speech, Api::Transcription, Api::Assistants, Api::Other] {
            assert!(has(api), "{api:?}");
        }
    }
}
