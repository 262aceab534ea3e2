//! Models.

use serde_json::Number;

object! {
    /// The answer of `GET /models`.
    pub struct ModelList {
        required {
            /// The models.
            data: Vec<Model>,
        }
        optional {
            /// Always `list`.
            object: String,
        }
    }
}

object! {
    /// One model.
    pub struct Model {
        required {
            /// Its name, as a request's `model` has it.
            id: String,
        }
        optional {
            /// Always `model`.
            object: String,
            /// When it was made, in Unix seconds.
            created: Number,
            /// Whose it is.
            owned_by: String,
            /// When it is switched off.
            shutdown_date: String,
        }
    }
}
