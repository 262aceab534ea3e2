//! What the usage objects of the APIs say.

use towergate_core::stream::Usage;

use crate::json::Reader;

/// Reads a usage object. None where it counts no tokens: `null`, or seconds of audio.
///
/// `prompt_tokens` and `completion_tokens` of chat and embeddings, `input_tokens` and
/// `output_tokens` of all else; the details under each of their names.
pub(super) fn read_usage(json: &[u8]) -> Option<Usage> {
    let mut usage = Usage::default();
    let mut counted = false;
    Reader::new(json)
        .object(|key, value| {
            match key {
                b"prompt_tokens" | b"input_tokens" => {
                    let tokens = value.whole_number()?;
                    counted |= tokens.is_some();
                    usage.input = tokens.unwrap_or(usage.input);
                }
                b"completion_tokens" | b"output_tokens" => {
                    let tokens = value.whole_number()?;
                    counted |= tokens.is_some();
                    usage.output = tokens.unwrap_or(usage.output);
                }
                b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                    value.object(|key, value| {
                        let tokens = value.whole_number()?;
                        match key {
                            b"cached_tokens" => usage.cached_input = tokens,
                            b"cache_write_tokens" => usage.cache_write_input = tokens,
                            b"audio_tokens" => usage.audio_input = tokens,
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
                b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                    value.object(|key, value| {
                        let tokens = value.whole_number()?;
                        match key {
                            b"reasoning_tokens" => usage.reasoning_output = tokens,
                            b"audio_tokens" => usage.audio_output = tokens,
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
                _ => {
                    value.skip()?;
                }
            }
            Ok(())
        })
        .ok()?;
    counted.then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_understood() {
        let chat = br#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2,"audio_tokens":1,"text_tokens":9},
            "completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":1}}"#;
        let all = Usage {
            input: 10,
            output: 5,
            cached_input: Some(4),
            cache_write_input: Some(2),
            reasoning_output: Some(3),
            audio_input: Some(1),
            audio_output: Some(0),
        };
        assert_eq!(read_usage(chat), Some(all));

        let responses = br#"{"input_tokens":7,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,
            "output_tokens_details":{"reasoning_tokens":1},"total_tokens":9}"#;
        let read = read_usage(responses).unwrap();
        assert_eq!(
            (read.input, read.output, read.cached_input, read.reasoning_output),
            (7, 2, Some(0), Some(1))
        );

        assert_eq!(
            read_usage(br#"{"prompt_tokens":8,"total_tokens":8}"#),
            Some(Usage { input: 8, ..Usage::default() })
        );
        let transcript = br#"{"type":"tokens","input_tokens":9,"input_token_details":{"audio_tokens":9},"output_tokens":3}"#;
        assert_eq!(read_usage(transcript).unwrap().audio_input, Some(9));
    }

    #[test]
    fn what_counts_no_tokens_is_none() {
        for none in [
            &b"null"[..],
            b"{}",
            br#"{"type":"duration","seconds":3}"#,
            b"7",
            b"{",
            br#"{"prompt_tokens":-1}"#,
        ] {
            assert_eq!(read_usage(none), None, "{}", String::from_utf8_lossy(none));
        }
        let details_missing = br#"{"prompt_tokens":1,"completion_tokens":null,"prompt_tokens_details":null}"#;
        assert_eq!(read_usage(details_missing), Some(Usage { input: 1, ..Usage::default() }));
    }
}
