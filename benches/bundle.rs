//! Writing a bundle, every blob hashed on the way, beside `tar -cf` and `sync` of the same layout.
//!
//! `cargo bench --bench bundle [-- --megabytes N]`. Medians of 5 runs in turn, and their ratio: it should be at most 1.3.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/support/images.rs"]
mod images;
#[path = "side_by_side.rs"]
mod side_by_side;

use catamaran::base::media_type;
use catamaran::bundle::{BundleReader, write_bundle};
use catamaran::event::NoEvents;
use catamaran::store::Layout;
use images::{Fleet, Image, file, noise};
use side_by_side::{compare, megabytes, shell};
use tokio_util::sync::CancellationToken;

fn main() {
    let size = megabytes(1000);
    let fleet = fleet(200, size);
    println!("{size} MB in {} blobs", fleet.blobs().len());
    bundle(&fleet);
    import(&fleet);
    let fleet = self::fleet(2, size);
    println!("{size} MB in {} blobs", fleet.blobs().len());
    bundle(&fleet);
}

fn bundle(fleet: &Fleet) {
    let (ours, theirs) = (fleet.directory.path().join("ours.tar"), fleet.directory.path().join("theirs.tar"));
    let contents = fleet.contents();
    let write = || {
        std::fs::remove_file(&ours).ok();
        write_bundle(&fleet.layout, &contents, &ours, &NoEvents, &CancellationToken::new()).expect("written");
    };
    let (to, from) = (theirs.display(), fleet.layout.root().display());
    let tar = format!("rm -f {to}; tar -cf {to} -C {from} . && sync {to}");
    compare("write a bundle / tar -cf && sync", 1.3, write, || shell(&tar));
}

fn import(fleet: &Fleet) {
    let tar = fleet.directory.path().join("ours.tar");
    let (ours, theirs) = (fleet.directory.path().join("ours"), fleet.directory.path().join("theirs"));
    let read = || {
        std::fs::remove_dir_all(&ours).ok();
        let layout = Layout::create(&ours).expect("a layout");
        BundleReader::open(&tar).expect("a bundle").copy_into(&layout).expect("copied");
    };
    let to = theirs.display();
    let untar = format!("rm -rf {to}; mkdir {to}; tar -xf {} -C {to} && sync -f {to}", tar.display());
    compare("bundle into a layout / tar -xf && sync", 1.3, read, || shell(&untar));
}

/// One image for two platforms with `layers` of `megabytes` in all.
fn fleet(layers: u64, megabytes: u64) -> Fleet {
    let mut fleet = Fleet::empty();
    let images: Vec<Image> = ["amd64", "arm64"]
        .iter()
        .zip(0..)
        .map(|(platform, which)| {
            let mut image = Image::small("big", platform);
            image.layer_type = media_type::LAYER;
            let bytes = usize::try_from(megabytes * 1_000_000 / layers).expect("fits");
            image.layers =
                (0..layers / 2).map(|layer| vec![file("data", 0o644, noise(which * 1000 + layer, bytes))]).collect();
            image
        })
        .collect();
    fleet.add("big", &images);
    fleet
}
