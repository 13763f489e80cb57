use std::collections::{BTreeSet, HashMap};

use super::Cell;
use crate::base::{CellId, ComponentName};

/// Puts `cells` in an order in which everything needed comes first, otherwise as they were. Returns a circle of component
/// names, the first one again at the end, if there is no such order.
pub(super) fn sort(cells: Vec<Cell>) -> Result<Vec<Cell>, Vec<ComponentName>> {
    let index: HashMap<&CellId, usize> = cells.iter().enumerate().map(|(at, cell)| (&cell.id, at)).collect();
    let needs: Vec<Vec<usize>> =
        cells.iter().map(|cell| cell.needs.iter().filter_map(|need| index.get(need).copied()).collect()).collect();
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); cells.len()];
    for (cell, needs) in needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(cell);
        }
    }
    let mut ready: BTreeSet<usize> = (0..cells.len()).filter(|cell| waiting[*cell] == 0).collect();
    let mut order = Vec::with_capacity(cells.len());
    while let Some(cell) = ready.pop_first() {
        order.push(cell);
        for next in &needed_by[cell] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() < cells.len() {
        return Err(circle(&cells, &needs, &waiting));
    }
    let mut cells: Vec<Option<Cell>> = cells.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|cell| cells[cell].take()).collect())
}

/// A circle among the cells that still wait: following needs that wait too must come back to one seen before.
fn circle(cells: &[Cell], needs: &[Vec<usize>], waiting: &[usize]) -> Vec<ComponentName> {
    let mut path: Vec<usize> = Vec::new();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut at = waiting.iter().position(|count| *count > 0).unwrap_or_default();
    loop {
        if let Some(start) = seen.get(&at) {
            let mut names: Vec<ComponentName> =
                path[*start..].iter().map(|cell| cells[*cell].id.component.clone()).collect();
            // Start with the smallest name, so that the same circle is always told the same way.
            let smallest = names.iter().enumerate().min_by_key(|(_, name)| (*name).clone()).map_or(0, |(at, _)| at);
            names.rotate_left(smallest);
            names.extend(names.first().cloned());
            return names;
        }
        seen.insert(at, path.len());
        path.push(at);
        let Some(next) = needs[at].iter().copied().find(|need| waiting[*need] > 0) else { return Vec::new() };
        at = next;
    }
}

/// The phase of each component: 1 without needs, else one more than the latest need of any of its cells. `cells` are sorted.
pub(super) fn phases(cells: &[Cell]) -> HashMap<ComponentName, usize> {
    let mut depth: HashMap<&CellId, usize> = HashMap::new();
    let mut phases: HashMap<ComponentName, usize> = HashMap::new();
    for cell in cells {
        let own = 1 + cell.needs.iter().filter_map(|need| depth.get(need)).max().copied().unwrap_or(0);
        depth.insert(&cell.id, own);
        let phase = phases.entry(cell.id.component.clone()).or_insert(own);
        *phase = own.max(*phase);
    }
    phases
}
