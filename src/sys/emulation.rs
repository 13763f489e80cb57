use std::fmt;

use super::{Emulator, Machine};

/// How this machine runs executables of another architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Emulation {
    /// By an interpreter that works everywhere, also inside of containers.
    Works(Emulator),
    /// The registration is there and switched off.
    Disabled(Emulator),
    /// The registration lacks the flag `F`: containers would have to hold the interpreter themselves.
    NotInContainers(Emulator),
    /// Nothing is registered.
    Missing,
}

impl Emulation {
    /// What `emulators` (see [`emulators`](super::emulators)) do for an architecture in OCI's words (`arm64`).
    pub fn of(architecture: &str, emulators: &[Emulator]) -> Self {
        let Some(machine) = Machine::of(architecture) else { return Self::Missing };
        let ours = || emulators.iter().filter(|emulator| emulator.machine == machine);
        // Several may be registered; the kernel takes the first enabled one that fits.
        if let Some(emulator) = ours().find(|emulator| emulator.enabled && emulator.fixed) {
            Self::Works(emulator.clone())
        } else if let Some(emulator) = ours().find(|emulator| emulator.enabled) {
            Self::NotInContainers(emulator.clone())
        } else if let Some(emulator) = ours().next() {
            Self::Disabled(emulator.clone())
        } else {
            Self::Missing
        }
    }

    /// What to do so that a builder on this machine can run the architecture's programs; nothing if it can.
    pub fn advice(&self, architecture: &str) -> Option<String> {
        let install = "`apt-get install qemu-user-static`";
        Some(match self {
            Self::Works(_) => return None,
            Self::Disabled(emulator) => {
                format!("let root run `echo 1 > /proc/sys/fs/binfmt_misc/{}`", emulator.name)
            }
            Self::NotInContainers(emulator) => {
                format!("register `{}` again with the flag F, as {install} does", emulator.name)
            }
            Self::Missing if Machine::of(architecture).is_some() => {
                format!("install an emulator with {install}, or name a builder for it in a `[builder]` table")
            }
            Self::Missing => "name a builder for it in a `[builder]` table".to_owned(),
        })
    }

    /// A weakness that people should know although programs run.
    pub fn weakness(&self) -> Option<String> {
        match self {
            Self::Works(emulator) if !emulator.keeps_name => Some(format!(
                "`{}` is registered without the flag P: programs that look at their own name, such as busybox, may fail",
                emulator.name
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Emulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works(emulator) => write!(f, "`{}` ({})", emulator.name, emulator.interpreter.display()),
            Self::Disabled(emulator) => write!(f, "`{}` is registered but switched off", emulator.name),
            Self::NotInContainers(emulator) => {
                write!(
                    f,
                    "`{}` is registered without the flag F, so that it does not work in containers",
                    emulator.name
                )
            }
            Self::Missing => f.write_str("no emulator is registered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator(architecture: &str, enabled: bool, fixed: bool, keeps_name: bool) -> Emulator {
        let machine = Machine::of(architecture).expect("a known one");
        Emulator { name: format!("qemu-{architecture}"), interpreter: "/q".into(), machine, enabled, fixed, keeps_name }
    }

    #[test]
    fn the_best_registration_counts() {
        let of = |emulators: &[Emulator]| Emulation::of("arm64", emulators);
        assert_eq!(of(&[]), Emulation::Missing);
        assert_eq!(of(&[emulator("arm", true, true, true)]), Emulation::Missing);
        let (off, bare, good) = (
            emulator("arm64", false, true, true),
            emulator("arm64", true, false, true),
            emulator("arm64", true, true, false),
        );
        assert_eq!(of(std::slice::from_ref(&off)), Emulation::Disabled(off.clone()));
        assert_eq!(of(&[off.clone(), bare.clone()]), Emulation::NotInContainers(bare.clone()));
        assert_eq!(of(&[off, bare, good.clone()]), Emulation::Works(good));
    }

    /// On an arm64 machine: amd64 is what has to be emulated, and a registration for arm64 or arm is none for it.
    #[test]
    fn an_arm64_machine_emulates_amd64() {
        let of = |emulators: &[Emulator]| Emulation::of("amd64", emulators);
        assert_eq!(of(&[emulator("arm64", true, true, true), emulator("386", true, true, true)]), Emulation::Missing);
        assert!(of(&[]).advice("amd64").is_some_and(|advice| advice.contains("qemu-user-static")));
        let bare = emulator("amd64", true, false, true);
        assert_eq!(of(std::slice::from_ref(&bare)), Emulation::NotInContainers(bare.clone()));
        let off = emulator("amd64", false, true, true);
        assert!(of(&[off]).advice("amd64").is_some_and(|advice| advice.ends_with("binfmt_misc/qemu-amd64`")));
        let nameless = emulator("amd64", true, true, false);
        let works = of(&[bare, nameless.clone()]);
        assert_eq!(works, Emulation::Works(nameless));
        assert!(works.weakness().is_some_and(|weakness| weakness.contains("flag P")));
    }

    #[test]
    fn every_hindrance_has_a_way_out() {
        let advice = |emulators: &[Emulator]| Emulation::of("arm64", emulators).advice("arm64").unwrap_or_default();
        assert!(advice(&[]).contains("qemu-user-static"));
        assert!(
            advice(&[emulator("arm64", false, true, true)]).contains("echo 1 > /proc/sys/fs/binfmt_misc/qemu-arm64")
        );
        assert!(advice(&[emulator("arm64", true, false, true)]).contains("flag F"));
        assert_eq!(advice(&[emulator("arm64", true, true, true)]), "");
        assert!(!Emulation::Missing.advice("sparc").unwrap_or_default().contains("apt-get"));
        assert!(Emulation::Works(emulator("arm64", true, true, false)).weakness().is_some());
        assert!(Emulation::Works(emulator("arm64", true, true, true)).weakness().is_none());
    }
}
