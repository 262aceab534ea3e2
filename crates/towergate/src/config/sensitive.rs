//! Which of a provider's own header fields are secrets, so that no response may repeat them.
//!
//! A field is one by its name, or by where its value comes from: what is kept out of the file, in a variable, is kept
//! out of responses too. A default that the file itself has for a variable is none.

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::{
    setting::{Variables, references},
    types::Secret,
};

/// What a part of a name ends in, where the field holds a credential.
const ENDINGS: [&str; 12] = [
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "key",
    "password",
    "secret",
    "signature",
    "token",
];

/// Marks a value as sensitive where the field is a secret, and gives the parts of it that are secrets by themselves.
pub(super) fn mark(
    name: &HeaderName,
    value: &mut HeaderValue,
    written: &Secret,
    variables: &Variables,
) -> Vec<SecretString> {
    let parts: Vec<SecretString> =
        references(&written.0).filter_map(|name| variables.get(name)).map(Into::into).collect();
    value.set_sensitive(!parts.is_empty() || is_credential(name));
    parts
}

/// Whether a field is a secret.
pub(super) fn is_secret(name: &str, written: &Secret, variables: &Variables) -> bool {
    let text = variables.expand(&written.0).unwrap_or_default();
    let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::try_from(text))
    else {
        return false;
    };
    mark(&name, &mut value, written, variables);
    value.is_sensitive()
}

/// Whether a field holds a credential, by its name.
fn is_credential(name: &HeaderName) -> bool {
    let mut parts = name.as_str().split(['-', '_', '.']);
    parts.any(|part| ENDINGS.iter().any(|ending| part.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_field_is_a_secret_by_its_name() {
        for (name, secret) in [
            ("authorization", true),
            ("api-key", true),
            ("x-apikey", true),
            ("ocp-apim-subscription-key", true),
            ("cf-access-client-secret", true),
            ("cf-aig-authorization", true),
            ("x-amz-security-token", true),
            ("x_auth_token", true),
            ("cookie", true),
            ("api-version", false),
            ("x-team", false),
            ("x-author", false),
            ("x-tokenizer", false),
            ("x-max-tokens", false),
            ("keep-alive", false),
        ] {
            assert_eq!(is_credential(&HeaderName::from_static(name)), secret, "{name}");
        }
    }

    #[test]
    fn a_field_is_a_secret_by_its_variable_and_a_default_is_none() {
        let variables = Variables::new(|name| (name == "SET").then(|| "of-the-variable".into()));
        for (written, sensitive, parts) in [
            ("Token ${SET}; v=1", true, &["of-the-variable"][..]),
            ("${UNSET:-blue-team}", false, &[]),
            ("2024-10-21", false, &[]),
            ("$$SET", false, &[]),
        ] {
            let mut value = HeaderValue::from_static("x");
            let found =
                mark(&HeaderName::from_static("x-team"), &mut value, &Secret(written.into()), &variables);
            let found: Vec<_> = found.iter().map(|part| part.expose_secret()).collect();
            assert_eq!((value.is_sensitive(), &found[..]), (sensitive, parts), "{written}");
        }
    }
}
