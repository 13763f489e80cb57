use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Builtin, Outcome, Refusal, Wanted, function, refuse, text, variadic, whole};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("cidrhost", &[Wanted::String, Wanted::Number], host),
    function("cidrnetmask", &[Wanted::String], |values| {
        let network = Network::parse(text(values, 0))?;
        Ok(Value::string(network.address(network.mask()).to_string()))
    }),
    function("cidrsubnet", &[Wanted::String, Wanted::Number, Wanted::Number], subnet),
    variadic("cidrsubnets", &[Wanted::String], Wanted::Number, subnets),
];

/// An address range: the first address, and how many leading bits are fixed.
struct Network {
    base: u128,
    prefix: u32,
    /// 32 or 128.
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let digits = prefix.bytes().all(|b| b.is_ascii_digit()) && !prefix.is_empty();
            let prefix: u32 = prefix.parse().ok().filter(|_| digits)?;
            Some((address, prefix))
        });
        let Some((address, prefix)) = parsed else { return refuse(0, format!("`{text}` is no address range")) };
        let (value, bits) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        if prefix > bits {
            return refuse(0, format!("`{text}` is no address range"));
        }
        // An IPv4 range in IPv6 notation counts as IPv4.
        let (value, prefix, bits) = match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() && prefix >= 96 => {
                (value & u128::from(u32::MAX), prefix - 96, 32)
            }
            _ => (value, prefix, bits),
        };
        let mut network = Self { base: value, prefix, bits };
        network.base &= network.mask();
        Ok(network)
    }

    const fn all(&self) -> u128 {
        if self.bits == 32 { 0xffff_ffff } else { u128::MAX }
    }

    fn mask(&self) -> u128 {
        self.all() & !self.hosts()
    }

    /// All host bits set.
    fn hosts(&self) -> u128 {
        let free = self.bits - self.prefix;
        if free == 128 { u128::MAX } else { (1 << free) - 1 }
    }

    fn address(&self, value: u128) -> IpAddr {
        if self.bits == 32 {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(value & 0xffff_ffff).unwrap_or(0)))
        } else {
            IpAddr::V6(Ipv6Addr::from(value))
        }
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.address(self.base), self.prefix)
    }
}

fn host(values: &[Value]) -> Outcome {
    let number = i128::from(whole(values, 1)?);
    let network = Network::parse(text(values, 0))?;
    let last = network.hosts();
    // Negative numbers count from the end.
    let needed = if number < 0 { (-number - 1).unsigned_abs() } else { number.unsigned_abs() };
    if needed > last {
        return refuse(1, format!("{} has no host {number}", network.shown()));
    }
    let host = if number < 0 { last - needed } else { needed };
    Ok(Value::string(network.address(network.base | host).to_string()))
}

fn subnet(values: &[Value]) -> Outcome {
    let network = Network::parse(text(values, 0))?;
    let (bits, number) = (whole(values, 1)?, whole(values, 2)?);
    let Some(bits) = u32::try_from(bits).ok().filter(|bits| *bits <= 32) else {
        return refuse(1, "must be from 0 to 32");
    };
    let prefix = network.prefix + bits;
    if prefix > network.bits {
        return refuse(1, format!("{} has no {bits} bits left", network.shown()));
    }
    let Some(number) = u128::try_from(number).ok().filter(|number| *number < 1 << bits) else {
        return refuse(2, format!("{bits} bits have no number {number}"));
    };
    let free = network.bits - prefix;
    let offset = if free == 128 { 0 } else { number << free };
    Ok(Value::string(Network { base: network.base | offset, prefix, bits: network.bits }.shown()))
}

/// Ranges one after the other, each at the next place where it fits.
fn subnets(values: &[Value]) -> Outcome {
    let network = Network::parse(text(values, 0))?;
    let last = network.base | network.hosts();
    let mut next = Some(network.base);
    let mut ranges = Vec::new();
    for at in 1..values.len() {
        let bits = whole(values, at)?;
        let Some(bits) = u32::try_from(bits).ok().filter(|bits| (1..=32).contains(bits)) else {
            return refuse(at, "must be from 1 to 32");
        };
        let prefix = network.prefix + bits;
        if prefix > network.bits {
            return refuse(at, format!("{} has no {bits} bits left", network.shown()));
        }
        let size = 1u128 << (network.bits - prefix);
        let start = next.and_then(|next| next.checked_add(size - 1)).map(|end| end & !(size - 1));
        let Some(start) = start.filter(|start| *start <= last) else {
            return refuse(at, format!("{} has no room left", network.shown()));
        };
        next = start.checked_add(size);
        ranges.push(Value::string(Network { base: start, prefix, bits: network.bits }.shown()));
    }
    Ok(Value::list(Type::String, ranges))
}
