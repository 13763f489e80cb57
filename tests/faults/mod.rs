//! Bad luck, against the whole program: builders and catamaran itself die, disks are full, users lose patience.

mod campaign;
mod disk;
mod interrupt;
mod kill;
mod lost;
mod project;
