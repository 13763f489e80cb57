//! What durability costs: small blobs into a layout by several threads, beside as many plain files with an fsync each.
//!
//! `cargo bench --bench layout`. The layout does one fsync per blob and shares those of the directory between threads.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[expect(dead_code, reason = "shared with benches that run other programs")]
#[path = "side_by_side.rs"]
mod side_by_side;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use catamaran::store::Layout;
use side_by_side::compare;

const THREADS: u32 = 8;
const BLOBS: u32 = 100;

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("x");
    let fresh = || {
        std::fs::remove_dir_all(&place).ok();
        std::fs::create_dir(&place).expect("a directory");
    };
    println!("{} blobs of 4 KiB by {THREADS} threads", THREADS * BLOBS);
    let ours = || {
        fresh();
        let layout = Layout::create(&place).expect("a layout");
        on_threads(|number| {
            layout.put("x", &content(number)).expect("stored");
        });
    };
    let fsync_only = || {
        fresh();
        on_threads(|number| write(&place, number, false));
    };
    compare("layout / write, fsync, rename", 2.0, ours, fsync_only);
    let both = || {
        fresh();
        on_threads(|number| write(&place, number, true));
    };
    compare("layout / write, fsync, rename, fsync of the directory each", 1.0, ours, both);
}

fn on_threads(work: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || (0..BLOBS).for_each(|blob| work(thread * BLOBS + blob)));
        }
    });
}

fn content(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1024)
}

fn write(place: &Path, number: u32, directory_too: bool) {
    let temporary = place.join(format!("{number}.part"));
    let mut file = File::create(&temporary).expect("created");
    file.write_all(&content(number)).and_then(|()| file.sync_all()).expect("written");
    std::fs::rename(&temporary, place.join(number.to_string())).expect("renamed");
    if directory_too {
        File::open(place).and_then(|handle| handle.sync_all()).expect("durable");
    }
}
