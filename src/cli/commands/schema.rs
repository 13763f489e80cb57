use crate::cli::{Console, exit};
use crate::config::project_schema;

/// `catamaran schema`: the JSON schema of `catamaran.toml`, for editors.
pub(super) fn schema(console: &Console) -> u8 {
    console.print(&(serde_json::to_string_pretty(&project_schema()).unwrap_or_default() + "\n"));
    exit::DONE
}
