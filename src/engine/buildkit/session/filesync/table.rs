use super::mode::NOT_REGULAR;
use super::walk::Entry;

/// What was announced to the daemon, by number: it asks for contents by that.
///
/// Numbers count every entry, directories too, but only for regular files there is anything to remember. 100,000 files of
/// usual names take about 6 MB: one text for all names, and each name once.
#[derive(Debug, Default)]
pub(super) struct Table {
    names: String,
    rows: Vec<Row>,
    /// The row of the directory that holds the entry announced last, and those above it.
    parents: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    parent: u32,
    /// Where the name begins in `names`; it ends where the next row's begins.
    name: usize,
    size: i64,
    modified: i64,
    askable: bool,
}

/// A file as it was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) path: String,
    pub(super) size: i64,
    pub(super) modified: i64,
}

const NO_PARENT: u32 = u32::MAX;

impl Table {
    /// Notes the next entry; `None` if there are more than the protocol has numbers for. Entries come in the order of the walk.
    pub(super) fn announce(&mut self, entry: &Entry) -> Option<()> {
        let number = u32::try_from(self.rows.len()).ok().filter(|number| *number < NO_PARENT)?;
        self.parents.truncate(entry.path.matches('/').count());
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        self.rows.push(Row {
            parent: self.parents.last().copied().unwrap_or(NO_PARENT),
            name: self.names.len(),
            size: entry.size,
            modified: entry.modified,
            askable: entry.mode & NOT_REGULAR == 0,
        });
        self.names.push_str(name);
        self.parents.push(number);
        Some(())
    }

    /// The file of a number, the first time that it is asked for; `None` for anything else.
    pub(super) fn take(&mut self, number: u32) -> Option<Announced> {
        let row = self.rows.get_mut(number as usize)?;
        if !std::mem::take(&mut row.askable) {
            return None;
        }
        let (size, modified) = (row.size, row.modified);
        let mut parts = Vec::new();
        let mut next = number;
        while let Some(row) = self.rows.get(next as usize) {
            let end = self.rows.get(next as usize + 1).map_or(self.names.len(), |after| after.name);
            parts.push(&self.names[row.name..end]);
            next = row.parent;
        }
        parts.reverse();
        Some(Announced { path: parts.join("/"), size, modified })
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::Identity;
    use super::*;

    fn entry(path: &str, mode: u32) -> Entry {
        let size = i64::try_from(path.len()).unwrap();
        Entry { path: path.to_owned(), mode, size, modified: 7, link: String::new(), identity: Identity::default() }
    }

    #[test]
    fn numbers_lead_back_to_paths_once() {
        let directory = 1 << 31 | 0o755;
        let mut table = Table::default();
        for (path, mode) in
            [("a", directory), ("a/b", directory), ("a/b/c", 0o644), ("a/d", 0o644), ("a-b", 0o644), ("e", 1 << 27)]
        {
            table.announce(&entry(path, mode)).unwrap();
        }
        for (number, path) in [(2, "a/b/c"), (4, "a-b"), (3, "a/d")] {
            let size = i64::try_from(path.len()).unwrap();
            assert_eq!(table.take(number), Some(Announced { path: path.to_owned(), size, modified: 7 }));
            assert_eq!(table.take(number), None, "asked for twice");
        }
        for number in [0, 1, 5, 6, u32::MAX] {
            assert_eq!(table.take(number), None, "{number}");
        }
    }
}
