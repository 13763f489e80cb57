//! Errors of the transport in words for people.

use std::error::Error;

/// An error with its causes, each said once: the transport's own errors say `transport error` and hide the cause.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    if parts.len() > 1 {
        parts.retain(|part| part != "transport error");
    }
    parts.join(": ")
}

/// What a status says: its message, or where there is none its cause or code.
pub(super) fn status(status: &tonic::Status) -> String {
    // A status with a source was made on this side, and its message repeats the source's without the causes.
    if let Some(source) = status.source() {
        return chain(source);
    }
    match status.message() {
        "" => status.code().description().to_owned(),
        message => clip(message, 2000),
    }
}

/// The first `limit` bytes of a text that may be of any size.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_between_characters() {
        assert_eq!(clip("grün", 3), "gr…");
        assert_eq!(clip("grün", 5), "grün");
    }

    #[test]
    fn a_status_speaks() {
        assert_eq!(status(&tonic::Status::not_found("no such job")), "no such job");
        assert_eq!(status(&tonic::Status::unavailable("")), tonic::Code::Unavailable.description());
    }
}
