use super::Span;

/// Something that a file says and that does not come to pass, which is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What; lower case, no full stop.
    pub message: String,
    /// How to get it all the same.
    pub help: Option<String>,
    /// Where it is written.
    pub span: Option<Span>,
}
