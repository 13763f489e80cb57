//! Files to one `Project`, with the span of every value.
