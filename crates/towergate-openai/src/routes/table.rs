//! The rows.

use towergate_core::{Route, route::Reads};

use super::Verb::{self, Any, Delete, Get, Post};

/// A row before it has its place.
struct Row {
    verb: Verb,
    route: Route,
}

const ROWS: usize = SPECS.len();
/// The last row.
pub(super) const OTHER_INDEX: usize = ROWS - 1;

/// The table.
pub(super) static TABLE: [Route; ROWS] = number();
/// The method of each row.
pub(super) static VERBS: [Verb; ROWS] = verbs();

/// A path with a JSON answer: small enough to be held.
const fn row(verb: Verb, name: &'static str, template: &'static str) -> Row {
    let route = Route {
        name,
        index: 0,
        template,
        reads: Reads::Nothing,
        requires_model: false,
        generates: false,
        holds_answer: true,
        bare: true,
        stateless: false,
    };
    Row { verb, route }
}

/// As [`row`], for a `POST` with a JSON body.
const fn json(name: &'static str, template: &'static str) -> Row {
    let mut json = row(Post, name, template);
    json.route.reads = Reads::Json;
    json
}

/// As [`row`], for a `POST` with a form in which a model is named.
const fn form(name: &'static str, template: &'static str) -> Row {
    let mut form = row(Post, name, template);
    form.route.reads = Reads::Form;
    form
}

/// As [`json`], for one that takes a form as well.
const fn json_or_form(name: &'static str, template: &'static str) -> Row {
    let mut either = row(Post, name, template);
    either.route.reads = Reads::JsonOrForm;
    either
}

impl Row {
    const fn with_model(mut self) -> Self {
        self.route.requires_model = true;
        self
    }

    const fn generates(mut self) -> Self {
        self.route.generates = true;
        self
    }

    /// Names nothing that is kept at one provider.
    const fn stateless(mut self) -> Self {
        self.route.stateless = true;
        self
    }

    /// The answer may be large, or no JSON.
    const fn unheld(mut self) -> Self {
        self.route.holds_answer = false;
        self
    }

    const fn other() -> Self {
        let mut other = row(Any, "other", "/{rest}").unheld();
        other.route.bare = false;
        other
    }
}

const fn copy(route: &Route, index: usize) -> Route {
    Route {
        name: route.name,
        index,
        template: route.template,
        reads: route.reads,
        requires_model: route.requires_model,
        generates: route.generates,
        holds_answer: route.holds_answer,
        bare: route.bare,
        stateless: route.stateless,
    }
}

const fn number() -> [Route; ROWS] {
    let mut table = [const { copy(&Row::other().route, 0) }; ROWS];
    let mut at = 0;
    while at < ROWS {
        table[at] = copy(&SPECS[at].route, at);
        at += 1;
    }
    table
}

const fn verbs() -> [Verb; ROWS] {
    let mut verbs = [Any; ROWS];
    let mut at = 0;
    while at < ROWS {
        verbs[at] = SPECS[at].verb;
        at += 1;
    }
    verbs
}

/// A family (one first segment) stands together; in it, what is literal comes before `{id}`.
const SPECS: &[Row] = &[
    json("chat.completions", "/chat/completions").with_model().generates().stateless(),
    row(Get, "chat.completions.list", "/chat/completions"),
    row(Get, "chat.completions.get", "/chat/completions/{id}"),
    json("chat.completions.update", "/chat/completions/{id}"),
    row(Delete, "chat.completions.delete", "/chat/completions/{id}"),
    row(Get, "chat.completions.messages", "/chat/completions/{id}/messages"),
    json("completions", "/completions").with_model().generates().stateless(),
    json("responses", "/responses").generates().stateless(),
    row(Get, "responses.connect", "/responses").unheld(),
    json("responses.input_tokens", "/responses/input_tokens").stateless(),
    json("responses.compact", "/responses/compact").generates().stateless(),
    row(Get, "responses.get", "/responses/{id}"),
    row(Delete, "responses.delete", "/responses/{id}"),
    row(Post, "responses.cancel", "/responses/{id}/cancel"),
    row(Get, "responses.input_items", "/responses/{id}/input_items"),
    json("conversations.create", "/conversations"),
    row(Get, "conversations.get", "/conversations/{id}"),
    json("conversations.update", "/conversations/{id}"),
    row(Delete, "conversations.delete", "/conversations/{id}"),
    json("conversations.items.create", "/conversations/{id}/items"),
    row(Get, "conversations.items.list", "/conversations/{id}/items"),
    row(Get, "conversations.items.get", "/conversations/{id}/items/{item}"),
    row(Delete, "conversations.items.delete", "/conversations/{id}/items/{item}"),
    json("embeddings", "/embeddings").with_model().stateless(),
    json("moderations", "/moderations").stateless(),
    json("audio.speech", "/audio/speech").with_model().generates().unheld().stateless(),
    form("audio.transcriptions", "/audio/transcriptions").generates().unheld().stateless(),
    form("audio.translations", "/audio/translations").generates().unheld().stateless(),
    row(Post, "audio.voices", "/audio/voices"),
    row(Post, "audio.voice_consents.create", "/audio/voice_consents"),
    row(Get, "audio.voice_consents.list", "/audio/voice_consents"),
    row(Get, "audio.voice_consents.get", "/audio/voice_consents/{id}"),
    json("audio.voice_consents.update", "/audio/voice_consents/{id}"),
    row(Delete, "audio.voice_consents.delete", "/audio/voice_consents/{id}"),
    json("images.generations", "/images/generations").generates().unheld().stateless(),
    json_or_form("images.edits", "/images/edits").generates().unheld().stateless(),
    form("images.variations", "/images/variations").generates().unheld().stateless(),
    row(Get, "models.list", "/models").stateless(),
    row(Get, "models.get", "/models/{id}").stateless(),
    row(Delete, "models.delete", "/models/{id}"),
    // Namespaced ids (`meta-llama/Llama-3`) are sent with their slash by some clients.
    row(Get, "models.get", "/models/{rest}").stateless(),
    row(Delete, "models.delete", "/models/{rest}"),
    row(Post, "files.create", "/files"),
    row(Get, "files.list", "/files"),
    row(Get, "files.get", "/files/{id}"),
    row(Delete, "files.delete", "/files/{id}"),
    row(Get, "files.content", "/files/{id}/content").unheld(),
    json("uploads.create", "/uploads"),
    row(Post, "uploads.parts", "/uploads/{id}/parts"),
    json("uploads.complete", "/uploads/{id}/complete"),
    row(Post, "uploads.cancel", "/uploads/{id}/cancel"),
    json("batches.create", "/batches"),
    row(Get, "batches.list", "/batches"),
    row(Get, "batches.get", "/batches/{id}"),
    row(Post, "batches.cancel", "/batches/{id}/cancel"),
    json("fine_tuning.jobs.create", "/fine_tuning/jobs"),
    row(Get, "fine_tuning.jobs.list", "/fine_tuning/jobs"),
    row(Get, "fine_tuning.jobs.get", "/fine_tuning/jobs/{id}"),
    row(Post, "fine_tuning.jobs.cancel", "/fine_tuning/jobs/{id}/cancel"),
    row(Post, "fine_tuning.jobs.pause", "/fine_tuning/jobs/{id}/pause"),
    row(Post, "fine_tuning.jobs.resume", "/fine_tuning/jobs/{id}/resume"),
    row(Get, "fine_tuning.jobs.events", "/fine_tuning/jobs/{id}/events"),
    row(Get, "fine_tuning.jobs.checkpoints", "/fine_tuning/jobs/{id}/checkpoints"),
    json("fine_tuning.permissions.create", "/fine_tuning/checkpoints/{id}/permissions"),
    row(Get, "fine_tuning.permissions.list", "/fine_tuning/checkpoints/{id}/permissions"),
    row(Delete, "fine_tuning.permissions.delete", "/fine_tuning/checkpoints/{id}/permissions/{permission}"),
    json("fine_tuning.graders.run", "/fine_tuning/alpha/graders/run").generates(),
    json("fine_tuning.graders.validate", "/fine_tuning/alpha/graders/validate"),
    json("vector_stores.create", "/vector_stores"),
    row(Get, "vector_stores.list", "/vector_stores"),
    row(Get, "vector_stores.get", "/vector_stores/{id}"),
    json("vector_stores.update", "/vector_stores/{id}"),
    row(Delete, "vector_stores.delete", "/vector_stores/{id}"),
    json("vector_stores.search", "/vector_stores/{id}/search"),
    json("vector_stores.files.create", "/vector_stores/{id}/files"),
    row(Get, "vector_stores.files.list", "/vector_stores/{id}/files"),
    row(Get, "vector_stores.files.get", "/vector_stores/{id}/files/{file}"),
    json("vector_stores.files.update", "/vector_stores/{id}/files/{file}"),
    row(Delete, "vector_stores.files.delete", "/vector_stores/{id}/files/{file}"),
    row(Get, "vector_stores.files.content", "/vector_stores/{id}/files/{file}/content").unheld(),
    json("vector_stores.file_batches.create", "/vector_stores/{id}/file_batches"),
    row(Get, "vector_stores.file_batches.get", "/vector_stores/{id}/file_batches/{batch}"),
    row(Post, "vector_stores.file_batches.cancel", "/vector_stores/{id}/file_batches/{batch}/cancel"),
    row(Get, "vector_stores.file_batches.files", "/vector_stores/{id}/file_batches/{batch}/files"),
    json("containers.create", "/containers"),
    row(Get, "containers.list", "/containers"),
    row(Get, "containers.get", "/containers/{id}"),
    row(Delete, "containers.delete", "/containers/{id}"),
    json_or_form("containers.files.create", "/containers/{id}/files"),
    row(Get, "containers.files.list", "/containers/{id}/files"),
    row(Get, "containers.files.get", "/containers/{id}/files/{file}"),
    row(Delete, "containers.files.delete", "/containers/{id}/files/{file}"),
    row(Get, "containers.files.content", "/containers/{id}/files/{file}/content").unheld(),
    json("evals.create", "/evals"),
    row(Get, "evals.list", "/evals"),
    row(Get, "evals.get", "/evals/{id}"),
    json("evals.update", "/evals/{id}"),
    row(Delete, "evals.delete", "/evals/{id}"),
    json("evals.runs.create", "/evals/{id}/runs"),
    row(Get, "evals.runs.list", "/evals/{id}/runs"),
    row(Get, "evals.runs.get", "/evals/{id}/runs/{run}"),
    row(Post, "evals.runs.cancel", "/evals/{id}/runs/{run}"),
    row(Delete, "evals.runs.delete", "/evals/{id}/runs/{run}"),
    row(Get, "evals.runs.output_items.list", "/evals/{id}/runs/{run}/output_items"),
    row(Get, "evals.runs.output_items.get", "/evals/{id}/runs/{run}/output_items/{item}"),
    json_or_form("skills.create", "/skills"),
    row(Get, "skills.list", "/skills"),
    row(Get, "skills.get", "/skills/{id}"),
    json("skills.update", "/skills/{id}"),
    row(Delete, "skills.delete", "/skills/{id}"),
    row(Get, "skills.content", "/skills/{id}/content").unheld(),
    json_or_form("skills.versions.create", "/skills/{id}/versions"),
    row(Get, "skills.versions.list", "/skills/{id}/versions"),
    row(Get, "skills.versions.get", "/skills/{id}/versions/{version}"),
    row(Delete, "skills.versions.delete", "/skills/{id}/versions/{version}"),
    row(Get, "skills.versions.content", "/skills/{id}/versions/{version}/content").unheld(),
    row(Get, "realtime.connect", "/realtime").unheld(),
    json("realtime.client_secrets", "/realtime/client_secrets"),
    json("realtime.sessions", "/realtime/sessions"),
    json("realtime.transcription_sessions", "/realtime/transcription_sessions"),
    json("realtime.translations.client_secrets", "/realtime/translations/client_secrets"),
    row(Post, "realtime.calls.create", "/realtime/calls").unheld(),
    json("realtime.calls.accept", "/realtime/calls/{id}/accept").unheld(),
    json("realtime.calls.reject", "/realtime/calls/{id}/reject").unheld(),
    row(Post, "realtime.calls.hangup", "/realtime/calls/{id}/hangup").unheld(),
    json("realtime.calls.refer", "/realtime/calls/{id}/refer").unheld(),
    json("chatkit.sessions.create", "/chatkit/sessions"),
    row(Post, "chatkit.sessions.cancel", "/chatkit/sessions/{id}/cancel"),
    row(Get, "chatkit.threads.list", "/chatkit/threads"),
    row(Get, "chatkit.threads.get", "/chatkit/threads/{id}"),
    row(Delete, "chatkit.threads.delete", "/chatkit/threads/{id}"),
    row(Get, "chatkit.threads.items", "/chatkit/threads/{id}/items"),
    row(Post, "content_provenance_checks", "/content_provenance_checks"),
    json_or_form("videos.create", "/videos"),
    row(Get, "videos.list", "/videos"),
    json_or_form("videos.edits", "/videos/edits"),
    json_or_form("videos.extensions", "/videos/extensions"),
    json_or_form("videos.characters.create", "/videos/characters"),
    row(Get, "videos.characters.get", "/videos/characters/{id}"),
    row(Get, "videos.get", "/videos/{id}"),
    row(Delete, "videos.delete", "/videos/{id}"),
    json_or_form("videos.remix", "/videos/{id}/remix"),
    row(Get, "videos.content", "/videos/{id}/content").unheld(),
    json("assistants.create", "/assistants"),
    row(Get, "assistants.list", "/assistants"),
    row(Get, "assistants.get", "/assistants/{id}"),
    json("assistants.update", "/assistants/{id}"),
    row(Delete, "assistants.delete", "/assistants/{id}"),
    json("threads.create", "/threads"),
    json("threads.create_and_run", "/threads/runs"),
    row(Get, "threads.get", "/threads/{id}"),
    json("threads.update", "/threads/{id}"),
    row(Delete, "threads.delete", "/threads/{id}"),
    json("threads.messages.create", "/threads/{id}/messages"),
    row(Get, "threads.messages.list", "/threads/{id}/messages"),
    row(Get, "threads.messages.get", "/threads/{id}/messages/{message}"),
    json("threads.messages.update", "/threads/{id}/messages/{message}"),
    row(Delete, "threads.messages.delete", "/threads/{id}/messages/{message}"),
    json("threads.runs.create", "/threads/{id}/runs"),
    row(Get, "threads.runs.list", "/threads/{id}/runs"),
    row(Get, "threads.runs.get", "/threads/{id}/runs/{run}"),
    json("threads.runs.update", "/threads/{id}/runs/{run}"),
    row(Post, "threads.runs.cancel", "/threads/{id}/runs/{run}/cancel"),
    row(Get, "threads.runs.steps.list", "/threads/{id}/runs/{run}/steps"),
    row(Get, "threads.runs.steps.get", "/threads/{id}/runs/{run}/steps/{step}"),
    json("threads.runs.submit_tool_outputs", "/threads/{id}/runs/{run}/submit_tool_outputs"),
    // The administration of an organisation: known as a whole, not endpoint by endpoint.
    row(Any, "organization", "/organization/{rest}"),
    row(Any, "projects", "/projects/{rest}"),
    Row::other(),
];
