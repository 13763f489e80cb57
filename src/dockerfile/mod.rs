//! Text to syntax tree with spans, and ignore patterns; nothing is executed, no file is opened.
