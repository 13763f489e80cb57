use super::{Atom, Class, Piece};

/// One instruction. Those that take a character go on with the next one.
#[derive(Debug, Clone)]
enum Instruction {
    Character(char),
    Any,
    Class(Box<Class>),
    Begin,
    End,
    Boundary(bool),
    /// Goes on with the next one and there.
    Split(usize),
    Jump(usize),
    Match,
}

/// A compiled expression: a program whose states are run side by side (Thompson, "Regular Expression Search Algorithm").
#[derive(Debug, Clone)]
pub(in super::super) struct Expression {
    program: Box<[Instruction]>,
    /// Every alternative begins with the begin of the text, so that there is no use in starting anywhere else.
    anchored: bool,
}

impl Expression {
    pub(super) fn new(alternatives: &[Vec<Piece>]) -> Self {
        let mut program = Vec::new();
        for (index, pieces) in alternatives.iter().enumerate() {
            let split = program.len();
            if index + 1 < alternatives.len() {
                program.push(Instruction::Split(0));
            }
            for piece in pieces {
                emit(&mut program, piece);
            }
            program.push(Instruction::Match);
            if index + 1 < alternatives.len() {
                program[split] = Instruction::Split(program.len());
            }
        }
        let anchored = alternatives
            .iter()
            .all(|pieces| pieces.first().is_some_and(|piece| matches!(piece.atom, Atom::Begin) && piece.least > 0));
        Self { program: program.into(), anchored }
    }

    /// Whether the expression matches anywhere in `text`.
    pub(in super::super) fn is_match(&self, text: &str) -> bool {
        let mut states = States::new(&self.program);
        let mut previous = None;
        let mut characters = text.chars();
        let mut next = characters.next();
        loop {
            if previous.is_none() || !self.anchored {
                states.add(0, previous, next);
            }
            if states.matched {
                return true;
            }
            let Some(c) = next else { return false };
            if self.anchored && states.alive.is_empty() {
                return false;
            }
            next = characters.next();
            states.advance(c, next);
            previous = Some(c);
        }
    }
}

fn emit(program: &mut Vec<Instruction>, piece: &Piece) {
    for _ in 0..piece.least {
        emit_atom(program, &piece.atom);
    }
    match piece.most {
        None => {
            let split = program.len();
            program.push(Instruction::Split(0));
            emit_atom(program, &piece.atom);
            program.push(Instruction::Jump(split));
            program[split] = Instruction::Split(program.len());
        }
        Some(most) => {
            let splits: Vec<usize> = (piece.least..most)
                .map(|_| {
                    program.push(Instruction::Split(0));
                    let split = program.len() - 1;
                    emit_atom(program, &piece.atom);
                    split
                })
                .collect();
            for split in splits {
                program[split] = Instruction::Split(program.len());
            }
        }
    }
}

fn emit_atom(program: &mut Vec<Instruction>, atom: &Atom) {
    let instruction = match atom {
        Atom::Character(c) => Instruction::Character(*c),
        Atom::Any => Instruction::Any,
        Atom::Class(class) => Instruction::Class(Box::new(class.clone())),
        Atom::Begin => Instruction::Begin,
        Atom::End => Instruction::End,
        Atom::Boundary(wanted) => Instruction::Boundary(*wanted),
        Atom::Directories => {
            let start = program.len();
            // Past it all, or any characters and then the slash.
            program.extend([
                Instruction::Split(start + 5),
                Instruction::Split(start + 4),
                Instruction::Any,
                Instruction::Jump(start + 1),
            ]);
            Instruction::Character('/')
        }
    };
    program.push(instruction);
}

/// The states that are alive before one character of the text.
struct States<'a> {
    program: &'a [Instruction],
    alive: Vec<usize>,
    /// By state, whether it was added before this character.
    added: Vec<bool>,
    before: Vec<usize>,
    pending: Vec<usize>,
    matched: bool,
}

impl<'a> States<'a> {
    fn new(program: &'a [Instruction]) -> Self {
        Self {
            program,
            alive: Vec::new(),
            added: vec![false; program.len()],
            before: Vec::new(),
            pending: Vec::new(),
            matched: false,
        }
    }

    /// Takes the character `c`, behind which `next` stands.
    fn advance(&mut self, c: char, next: Option<char>) {
        std::mem::swap(&mut self.before, &mut self.alive);
        self.alive.clear();
        self.added.fill(false);
        for index in 0..self.before.len() {
            let state = self.before[index];
            let takes = match &self.program[state] {
                Instruction::Character(wanted) => *wanted == c,
                Instruction::Any => c != '\n',
                Instruction::Class(class) => class.contains(c),
                _ => false,
            };
            if takes {
                self.add(state + 1, Some(c), next);
            }
        }
    }

    /// Adds a state and all that can be reached from it without taking a character, between `previous` and `next`.
    fn add(&mut self, state: usize, previous: Option<char>, next: Option<char>) {
        self.pending.push(state);
        while let Some(state) = self.pending.pop() {
            if std::mem::replace(&mut self.added[state], true) {
                continue;
            }
            let holds = match &self.program[state] {
                Instruction::Character(_) | Instruction::Any | Instruction::Class(_) => {
                    self.alive.push(state);
                    false
                }
                Instruction::Split(target) => {
                    self.pending.push(*target);
                    true
                }
                Instruction::Jump(target) => {
                    self.pending.push(*target);
                    false
                }
                Instruction::Begin => previous.is_none(),
                Instruction::End => next.is_none(),
                Instruction::Boundary(wanted) => (is_word(previous) != is_word(next)) == *wanted,
                Instruction::Match => {
                    self.matched = true;
                    false
                }
            };
            if holds {
                self.pending.push(state + 1);
            }
        }
    }
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
}
