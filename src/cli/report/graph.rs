//! The modules of a run and what they require, as SVG: in columns from left to right, every arrow to the right.
//!
//! Arrows that others imply are left out. A long arrow passes through the columns between its ends, so that it runs
//! around the modules there; the order within the columns follows the neighbours' (barycentre sweeps).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::cli::report::text::{escape, shortened};
use crate::disco::report::{Outcome, Run};

/// Size of a module's box, and of the space between columns and rows.
const BOX: (f64, f64) = (190.0, 26.0);
const GAP: (f64, f64) = (56.0, 12.0);

/// Letters of a name that fit into a box.
const LETTERS: usize = 25;

/// How often the columns are put in order, to and fro.
const SWEEPS: usize = 8;

/// A module, or a point through which a long arrow passes.
struct Node {
    module: Option<usize>,
    column: usize,
    row: f64,
}

/// Draws the modules that require something or are required; none where there is no such module.
pub(super) fn draw(run: &Run) -> Option<String> {
    let index: BTreeMap<&str, usize> =
        run.modules.iter().enumerate().map(|(at, module)| (module.name.as_str(), at)).collect();
    let edges: BTreeSet<(usize, usize)> = run
        .edges
        .iter()
        .filter_map(|edge| Some((*index.get(edge.first.as_str())?, *index.get(edge.then.as_str())?)))
        // The modules stand in the order in which they ran, so what points back is not the graph of this run.
        .filter(|(first, then)| first < then)
        .collect();
    if edges.is_empty() {
        return None;
    }
    let edges = without_implied(&edges, run.modules.len());
    let columns = columns_of(&edges, run.modules.len());
    let involved: BTreeSet<usize> = edges.iter().flat_map(|(first, then)| [*first, *then]).collect();

    let mut nodes: Vec<Node> = Vec::new();
    let mut place = BTreeMap::new();
    for &module in &involved {
        place.insert(module, nodes.len());
        nodes.push(Node { module: Some(module), column: columns[module], row: 0.0 });
    }
    // Every arrow as the nodes that it passes, one column after the other.
    let mut paths = Vec::new();
    for (first, then) in &edges {
        let mut path = vec![place[first]];
        for column in columns[*first] + 1..columns[*then] {
            path.push(nodes.len());
            nodes.push(Node { module: None, column, row: 0.0 });
        }
        path.push(place[then]);
        paths.push(path);
    }
    let rows = arrange(&mut nodes, &paths);
    let last = nodes.iter().map(|node| node.column).max().unwrap_or(0);
    let width = (last + 1) as f64 * (BOX.0 + GAP.0) - GAP.0 + 4.0;
    let height = rows * (BOX.1 + GAP.1) - GAP.1 + 4.0;
    let mut svg = format!(
        "<svg class=\"graph\" width=\"{width}\" height=\"{height}\" viewBox=\"-2 -2 {width} {height}\" role=\"img\" \
         aria-label=\"Modules and what they require\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
         markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
    );
    for path in &paths {
        draw_arrow(&mut svg, &nodes, path);
    }
    for node in &nodes {
        let Some(module) = node.module.map(|module| &run.modules[module]) else { continue };
        let (x, y) = corner(node);
        let class = match module.outcome {
            Outcome::Done => "node",
            Outcome::Failed(_) => "node broke",
            Outcome::Skipped(_) => "node skipped",
        };
        let _ = writeln!(
            svg,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" width=\"{}\" height=\"{}\" rx=\"5\"/>\
             <text class=\"label\" x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
            escape(&module.name),
            BOX.0,
            BOX.1,
            x + BOX.0 / 2.0,
            y + 17.0,
            escape(&shortened(&module.name, LETTERS))
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn corner(node: &Node) -> (f64, f64) {
    (node.column as f64 * (BOX.0 + GAP.0), node.row * (BOX.1 + GAP.1))
}

/// From the right side of the first box, level through the columns between, to the left side of the last one.
fn draw_arrow(svg: &mut String, nodes: &[Node], path: &[usize]) {
    let middle = |node: &Node| corner(node).1 + BOX.1 / 2.0;
    let first = &nodes[path[0]];
    let _ = write!(svg, "<path class=\"arrow\" marker-end=\"url(#tip)\" d=\"");
    let (mut x, mut y) = (corner(first).0 + BOX.0, middle(first));
    let _ = write!(svg, "M{x:.1} {y:.1}");
    for (at, node) in path.iter().map(|at| &nodes[*at]).enumerate().skip(1) {
        let (next_x, next_y) = (corner(node).0, middle(node));
        let bend = (next_x - x) / 2.0;
        let _ =
            write!(svg, "C{:.1} {y:.1} {:.1} {next_y:.1} {next_x:.1} {next_y:.1}", x + bend, next_x - bend);
        (x, y) = (next_x, next_y);
        if at + 1 < path.len() {
            x += BOX.0;
            let _ = write!(svg, "L{x:.1} {y:.1}");
        }
    }
    svg.push_str("\"/>\n");
}

/// The edges without those that a longer way implies. Edges lead from smaller numbers to larger ones.
fn without_implied(edges: &BTreeSet<(usize, usize)>, count: usize) -> BTreeSet<(usize, usize)> {
    let mut next = vec![Vec::new(); count];
    for (first, then) in edges {
        next[*first].push(*then);
    }
    // What can be reached from each module, itself not included; larger numbers are known before smaller ones.
    let mut reached: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for at in (0..count).rev() {
        let mut all: BTreeSet<usize> = next[at].iter().copied().collect();
        for then in &next[at] {
            all.extend(&reached[*then]);
        }
        reached[at] = all;
    }
    let implied =
        |first: usize, then: usize| next[first].iter().any(|between| reached[*between].contains(&then));
    edges.iter().copied().filter(|(first, then)| !implied(*first, *then)).collect()
}

/// The column of each module: right of everything that comes before it.
fn columns_of(edges: &BTreeSet<(usize, usize)>, count: usize) -> Vec<usize> {
    let mut columns = vec![0; count];
    // Sorted by the first module, and every edge leads to a larger number: a column is final before it is used.
    for (first, then) in edges {
        columns[*then] = columns[*then].max(columns[*first] + 1);
    }
    columns
}

/// Gives every node a row; returns how many rows there are.
fn arrange(nodes: &mut [Node], paths: &[Vec<usize>]) -> f64 {
    let last = nodes.iter().map(|node| node.column).max().unwrap_or(0);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    for (at, node) in nodes.iter().enumerate() {
        columns[node.column].push(at);
    }
    let (mut before, mut after) = (vec![Vec::new(); nodes.len()], vec![Vec::new(); nodes.len()]);
    for pair in paths.iter().flat_map(|path| path.windows(2)) {
        after[pair[0]].push(pair[1]);
        before[pair[1]].push(pair[0]);
    }
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let settle = |column: &[usize], nodes: &mut [Node]| {
        // Shorter columns stand in the middle of the drawing.
        let top = (tallest - column.len() as f64) / 2.0;
        for (row, at) in column.iter().enumerate() {
            nodes[*at].row = top + row as f64;
        }
    };
    for column in &columns {
        settle(column, nodes);
    }
    for sweep in 0..SWEEPS {
        let order: Vec<usize> =
            if sweep % 2 == 0 { (0..=last).collect() } else { (0..=last).rev().collect() };
        for number in order {
            let neighbours = if sweep % 2 == 0 { &before } else { &after };
            let centre = |at: usize| -> f64 {
                match neighbours[at].as_slice() {
                    [] => nodes[at].row,
                    some => some.iter().map(|other| nodes[*other].row).sum::<f64>() / some.len() as f64,
                }
            };
            let mut centres: Vec<(f64, usize)> =
                columns[number].iter().map(|at| (centre(*at), *at)).collect();
            centres.sort_by(|a, b| a.0.total_cmp(&b.0));
            columns[number] = centres.into_iter().map(|(_, at)| at).collect();
            settle(&columns[number], nodes);
        }
    }
    tallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_others_imply_is_left_out_and_columns_follow_the_longest_way() {
        let edges = BTreeSet::from([(0, 1), (1, 2), (0, 2), (0, 3)]);
        let kept = without_implied(&edges, 4);
        assert_eq!(kept, BTreeSet::from([(0, 1), (1, 2), (0, 3)]));
        assert_eq!(columns_of(&kept, 4), [0, 1, 2, 1]);
    }

    #[test]
    fn nodes_of_one_column_have_rows_of_their_own() {
        let mut nodes: Vec<Node> =
            [0, 0, 0, 1, 1].into_iter().map(|column| Node { module: Some(0), column, row: 0.0 }).collect();
        let rows = arrange(&mut nodes, &[vec![2, 3], vec![0, 4]]);
        assert_eq!(rows, 3.0);
        let mut left: Vec<f64> = nodes[..3].iter().map(|node| node.row).collect();
        left.sort_by(f64::total_cmp);
        assert_eq!(left, [0.0, 1.0, 2.0]);
        assert_eq!(
            nodes[0].row < nodes[2].row,
            nodes[4].row < nodes[3].row,
            "arrows that need not cross do not"
        );
    }
}
