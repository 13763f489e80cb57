use crate::support::simulated::{BUILDERS, made_up, recorded, run};

/// Four builders of unlike speed: whatever is built, and also where nobody knows exactly what it takes, the run is at most
/// 15 % longer than the shortest that there can be. Time is simulated, so this measures no machine.
#[test]
fn a_run_on_builders_of_unlike_speed_is_near_the_shortest() {
    let fleet = recorded(include_str!("../../benches/traces/fleet.txt"));
    for (name, cells) in [
        ("fleet", fleet),
        ("wide", made_up(1, &[4, 196], 1)),
        ("layers", made_up(2, &[3, 17, 40, 60], 2)),
        ("deep", made_up(3, &[10, 10, 10, 10, 10, 10, 10, 10], 2)),
    ] {
        for error in [0.0, 0.2] {
            let (took, bound) = run(&cells, &BUILDERS, error);
            assert!(took <= bound * 1.15, "{name}: {took:.0} s, and none is under {bound:.0} s");
            assert!(took >= bound * 0.999, "{name}: {took:.0} s is less than there can be, {bound:.0} s");
        }
    }
}
