use std::ops::Range;

use super::heredoc::Heredoc;

/// A piece of an instruction and the bytes of the file it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, variables not expanded.
    pub text: String,
    /// Where; a word over several lines covers what is between them.
    pub range: Range<usize>,
}

/// `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes, as written.
    pub name: String,
    /// What follows the `=`.
    pub value: Option<Word>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its name in capitals.
    pub name: String,
    /// Flags before the arguments, known or not.
    pub flags: Vec<Flag>,
    /// What it says, as far as the program needs it.
    pub kind: InstructionKind,
    /// Heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The bytes of the file that it covers, heredocs included.
    pub range: Range<usize>,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM image [AS name]`.
    From {
        /// The image or stage.
        image: Word,
        /// The name of the stage begun here.
        name: Option<Word>,
    },
    /// `ARG name[=default] …`.
    Arg(Vec<(Word, Option<String>)>),
    /// COPY or ADD.
    Copy {
        /// What is copied; heredoc markers are among them.
        sources: Vec<Word>,
        /// Where to.
        destination: Word,
    },
    /// RUN, its command not looked into.
    Run,
    /// `ONBUILD …`, not looked into.
    OnBuild,
    /// Any other known instruction.
    Other,
    /// One that only another frontend may know.
    Unknown,
}

impl Instruction {
    /// The value of the first flag of this name.
    pub fn flag(&self, name: &str) -> Option<&Word> {
        self.flags.iter().find(|flag| flag.name == name).and_then(|flag| flag.value.as_ref())
    }

    /// Every `--mount` of a RUN.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        let values = self.flags.iter().filter(|flag| flag.name == "mount").filter_map(|flag| flag.value.as_ref());
        values.map(|value| Mount { value: &value.text })
    }

    /// The `from` of every `--mount` of a RUN, with the place of the flag.
    pub fn mounts_from(&self) -> impl Iterator<Item = Word> {
        self.flags.iter().filter(|flag| flag.name == "mount").filter_map(|flag| {
            let value = flag.value.as_ref()?;
            // Fields are separated as in CSV; a quoted field may hold a comma but a stage or image name cannot.
            let from = value.text.split(',').find_map(|field| {
                let (key, from) = field.trim().trim_matches('"').split_once('=')?;
                key.eq_ignore_ascii_case("from").then(|| from.to_owned())
            })?;
            Some(Word { text: from, range: value.range.clone() })
        })
    }
}

/// A `--mount`, as it is written: `type=secret,id=token,required=true`.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a> {
    value: &'a str,
}

impl<'a> Mount<'a> {
    /// The value of the first field of one of these names; one without a value is empty. A quoted field that holds a comma
    /// is not understood.
    pub fn field(&self, names: &[&str]) -> Option<&'a str> {
        self.value.split(',').find_map(|field| {
            let field = field.trim().trim_matches('"');
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            names.iter().any(|name| key.eq_ignore_ascii_case(name)).then_some(value)
        })
    }

    /// What is mounted; a bind mount where nothing is said.
    pub fn kind(&self) -> &'a str {
        self.field(&["type"]).unwrap_or("bind")
    }

    /// Whether the step fails without it.
    pub fn is_required(&self) -> bool {
        self.field(&["required"]).is_some_and(|value| matches!(value, "" | "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

/// The instructions that Docker's own frontend knows.
pub(super) const KNOWN: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
