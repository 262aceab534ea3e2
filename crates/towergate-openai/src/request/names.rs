//! Keys that name models, as the most generous of readers compares keys.

/// A key without case, and without all that is neither letter nor digit.
///
/// Go's `encoding/json` takes a key for another one that is equal to it under Unicode simple folding: for `k` and `s` also
/// the Kelvin sign (U+212A) and the long s (U+017F), for no other letter of ASCII one from outside of it. Its second
/// version passes over `_` and `-` where case does not matter, readers in C end a key at its first NUL, and readers of
/// forms drop white space and brackets. Upper case `I` and its kin are as in Turkish.
pub(super) fn plain(key: &str) -> String {
    let fold = |character| match character {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    };
    let key = key.split('\0').next().unwrap_or_default();
    key.chars().map(fold).filter(|character| character.is_alphanumeric()).collect()
}

/// Whether a [plain] key is one under which servers find a model: `model` of a tool or a session, OpenRouter's `models`,
/// LiteLLM's `fallbacks`, `context_window_fallbacks` and `model_list`, `fallback_models`, Azure's `deployment_name`.
pub(super) fn names_models(key: &str) -> bool {
    const ENDS: [&str; 14] = [
        "model",
        "models",
        "modelid",
        "modelids",
        "modelname",
        "modelnames",
        "modellist",
        "fallback",
        "fallbacks",
        "deployment",
        "deployments",
        "deploymentid",
        "deploymentids",
        "deploymentname",
    ];
    ENDS.iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_plain() {
        for key in ["model", "Model", "MODEL", " mo_del", "model\0x", "mo-del[]"] {
            assert_eq!(plain(key), "model", "{key}");
        }
        assert_eq!(plain("Fall_Bac\u{212a}\u{17f}"), "fallbacks");
        assert_eq!(plain("\u{ff4d}odel"), "\u{ff4d}odel");
    }

    #[test]
    fn what_names_models_is_known_by_its_end() {
        for key in ["model", "models", "fallback_models", "context_window_fallbacks", "svg[model]", "modelId"]
        {
            assert!(names_models(&plain(key)), "{key}");
        }
        for key in ["model_sample", "modality", "modalities", "model_identity", "temperature", "mode"] {
            assert!(!names_models(&plain(key)), "{key}");
        }
    }
}
