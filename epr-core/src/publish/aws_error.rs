//! What a failed call to AWS says about itself, for logs and answers.

use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};

use crate::error::chain;

/// The service's code and sentence, or the chain of causes; never the raw response, which may contain what was signed.
pub(crate) fn describe<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    let Some(reported) = error.as_service_error() else { return chain(error) };
    let code = match (reported.code(), error.raw_response()) {
        (Some(code), _) => code.to_owned(),
        (None, Some(answer)) => format!("status {}", answer.status().as_u16()),
        (None, None) => "no code".to_owned(),
    };
    // Sentences about signatures and tokens quote them.
    let secretive = ["Signature", "Token", "Credential", "Auth", "Access"].iter().any(|word| code.contains(word));
    match reported.message() {
        Some(message) if !secretive => format!("{code}: {message}"),
        _ => code,
    }
}
