//! The layout under several processes, kills and a full disk.

mod processes;
