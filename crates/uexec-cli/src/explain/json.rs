//! The explanation as one JSON object on one line. The contract is `docs/explain.schema.json`.

use super::Explained;
use super::model::Explanation;

/// The object.
pub(crate) fn text(explained: &Explained) -> String {
    serde_json::to_string(&Explanation::new(explained))
        .unwrap_or_else(|error| format!("{{\"outcome\":\"error\",\"error\":\"{error}\"}}"))
}
