use std::fmt;

/// A number of bytes, shown the way people read it: `412 MB`, `1.9 GB` (decimal, as disks and networks count).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        for (unit, factor) in UNITS {
            if self.0 >= factor {
                let tenths = self.0 / (factor / 10);
                return if tenths < 100 {
                    write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
                } else {
                    write!(f, "{} {unit}", self.0 / factor)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well() {
        let shown = |bytes| ByteSize(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(999), "999 B");
        assert_eq!(shown(1_000), "1.0 kB");
        assert_eq!(shown(412_345_678), "412 MB");
        assert_eq!(shown(1_940_000_000), "1.9 GB");
        assert_eq!(shown(u64::MAX), "18446744 TB");
    }
}
