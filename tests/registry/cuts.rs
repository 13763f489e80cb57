//! Pushes through a way that is slow and breaks: what arrived is not sent again.

use std::sync::Arc;
use std::time::Duration;

use catamaran::base::{ErrorClass, Failure as _};
use catamaran::event::NoEvents;
use catamaran::registry::{PushReceipt, RegistryClient, RegistryError, push};
use tokio_util::sync::CancellationToken;

use crate::support::proxy::{Proxy, Weather};
use crate::support::registry::{Make, Registry, Setup};
use crate::support::release::{Images, item, options};

const MIB: u64 = 1 << 20;
const RATE: u64 = 20 * MIB;

/// Megabytes of the layer: `CATAMARAN_PUSH_MB`, or a sample.
fn size() -> u64 {
    let megabytes = std::env::var("CATAMARAN_PUSH_MB").ok().map_or(24, |text| text.parse().expect("megabytes"));
    megabytes * MIB
}

/// Long enough for a twentieth of the layer or 5 s: at least so many cuts that the tries of one request would not do.
fn life() -> Duration {
    Duration::from_millis((size() * 1000 / RATE / 8).clamp(100, 5000))
}

fn through(proxy: &Proxy, images: &Images) -> Result<PushReceipt, RegistryError> {
    let layer = images.layer("large", usize::try_from(size()).expect("memory"));
    let index = images.image("web", "1", &[layer], 1000);
    let release =
        catamaran::registry::Release { items: vec![item(&format!("{}/fleet", proxy.address), "web", "1", index)] };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = RegistryClient::new(options()).expect("a client");
    let cancel = CancellationToken::new();
    runtime.block_on(push(&client, &images.layout, release, Arc::new(NoEvents), &cancel))
}

#[test]
fn a_large_layer_arrives_through_a_way_that_breaks_and_each_byte_goes_once() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let proxy = Proxy::start(&registry.address, Weather { rate: RATE, life: life(), refused: 5 });
    let images = Images::new();
    let receipt = through(&proxy, &images).expect("it arrives");
    let (up, cuts) = (proxy.up(), proxy.connections());
    let thousandths = |bytes: u64| bytes * 1000 / size();
    println!(
        "{} MiB over {cuts} connections: {} thousandths of the bytes went up, {} were handed to the way",
        size() / MIB,
        thousandths(up),
        thousandths(receipt.bytes_sent)
    );
    assert!(cuts > 8, "{cuts} connections: nothing was cut");
    // What was in flight at a cut: what the proxy had read of it, and requests.
    assert!(up < size() + size() / 50 + cuts * 64 * 1024, "{up} bytes of {} over {cuts} connections", size());
}

#[test]
fn a_registry_that_forgets_gets_what_fits_and_says_so_of_the_rest() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let proxy = Proxy::start(&registry.address, Weather { rate: RATE, life: life(), refused: 5 });
    let images = Images::new();
    let error = through(&proxy, &images).expect_err("it cannot fit");
    assert_eq!(error.class(), ErrorClass::Network);
    assert!(error.to_string().contains("forgets an upload when its connection breaks"), "{error}");
    // Each try is as long as a connection lives: bounded, whatever the size.
    assert!(proxy.up() < 20 * RATE * u64::try_from(life().as_millis()).expect("some") / 1000 + MIB, "{}", proxy.up());
}
